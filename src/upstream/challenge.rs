//! The challenges in a 401 of the registry (RFC 9110, 11.6.1). Pure functions.

use http::{HeaderMap, header};

/// The longest challenge that is read, in bytes.
const MAX_BYTES: usize = 16 * 1024;

/// A challenge that the gate can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// The registry asks for the user name and the password.
    Basic,
    Bearer(BearerChallenge),
}

/// A challenge to present a token (Distribution, "Token Authentication Specification").
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BearerChallenge {
    /// The address of the token server.
    pub(super) realm: String,
    /// The registry's name for itself. Some registries name none.
    pub(super) service: Option<String>,
    /// The scope that the registry names. It is a hint: the gate asks for what the request needs.
    pub(super) scope: Option<String>,
}

impl Challenge {
    /// Returns the challenge in these headers: the first Bearer challenge with a realm, or else
    /// Basic. Each header line may have several challenges.
    pub(super) fn find(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(header::WWW_AUTHENTICATE).iter();
        let all: Vec<_> = lines
            .filter_map(|line| line.to_str().ok())
            .filter(|line| line.len() <= MAX_BYTES)
            .flat_map(challenges)
            .collect();
        let bearer = all.iter().find_map(|(scheme, parameters)| {
            let value = |name: &str| {
                let mut values = parameters.iter().filter(|(key, _)| key == name);
                // Two values could be read as either of them.
                match (values.next(), values.next()) {
                    (Some((_, value)), None) if !value.is_empty() => Some(value.clone()),
                    _ => None,
                }
            };
            (scheme == "bearer").then(|| value("realm")).flatten().map(|realm| {
                Self::Bearer(BearerChallenge {
                    realm,
                    service: value("service"),
                    scope: value("scope"),
                })
            })
        });
        let is_basic = || all.iter().any(|(scheme, _)| scheme == "basic");
        bearer.or_else(|| is_basic().then_some(Self::Basic))
    }
}

type Parameters = Vec<(String, String)>;

/// Returns the challenges of a header line: their schemes and the names of their parameters in
/// lower case. Reading ends at the first part that is not well-formed.
fn challenges(line: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, behind) = token(rest);
        if word.is_empty() {
            return found;
        }
        let after_word = behind.trim_start_matches([' ', '\t']);
        match (after_word.strip_prefix('='), found.last_mut()) {
            (Some(value), Some((_, parameters))) if !value.starts_with('=') => {
                let Some((value, behind)) = parameter_value(value.trim_start_matches([' ', '\t']))
                else {
                    return found;
                };
                parameters.push((word.to_ascii_lowercase(), value));
                rest = behind;
            }
            (None, _) => {
                found.push((word.to_ascii_lowercase(), Vec::new()));
                // A token68 in place of parameters, such as `Negotiate YII=`, is not read.
                rest = behind;
            }
            _ => return found,
        }
    }
}

/// Splits a token off the text (RFC 9110, 5.6.2).
fn token(text: &str) -> (&str, &str) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    text.split_at(text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len()))
}

/// Splits the value of a parameter off the text. A value without quotes ends at a comma or a blank:
/// some registries write addresses and scopes without quotes.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
        return (!value.contains('"')).then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            character => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn find(lines: &[&str]) -> Option<Challenge> {
        let lines = lines.iter().map(|line| HeaderValue::from_str(line).unwrap());
        Challenge::find(&lines.map(|line| (header::WWW_AUTHENTICATE, line)).collect())
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer(BearerChallenge {
            realm: realm.to_owned(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        }))
    }

    #[test]
    fn the_challenges_that_registries_send_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let all = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:a/b:pull,push"),
        );
        assert_eq!(find(&[hub]), all);
        assert_eq!(find(&[&hub.replace("Bearer", "BEARER").replace("\",", "\" , ")]), all);
        for (lines, expected) in [
            (
                &[r#"Bearer realm="https://gcr.io/v2/token",service=gcr.io"#][..],
                bearer("https://gcr.io/v2/token", Some("gcr.io"), None),
            ),
            (&[r#"Bearer realm="https://a/token""#], bearer("https://a/token", None, None)),
            (
                &[r#"Bearer realm=https://a/token,scope=repository:a/b:pull"#],
                bearer("https://a/token", None, Some("repository:a/b:pull")),
            ),
            (
                &[r#"Bearer realm="https://a/t",service="s",scope="""#],
                bearer("https://a/t", Some("s"), None),
            ),
            (&[r#"Bearer realm="a\"b\\c""#], bearer(r#"a"b\c"#, None, None)),
            (&[r#"BASIC realm="Sonatype Nexus Repository Manager""#], Some(Challenge::Basic)),
            (&["Basic"], Some(Challenge::Basic)),
            (
                &[r#"Basic realm="x", Bearer realm="https://a/t",service="s""#],
                bearer("https://a/t", Some("s"), None),
            ),
            (
                &[r#"Basic realm="x""#, r#"Bearer realm="https://a/t""#],
                bearer("https://a/t", None, None),
            ),
            (&["Negotiate", r#"Basic realm="x""#], Some(Challenge::Basic)),
        ] {
            assert_eq!(find(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_is_not_a_challenge_is_none() {
        for line in [
            "",
            "Negotiate",
            "Bearer",
            r#"Bearer service="s""#,
            r#"Bearer realm="""#,
            r#"Bearer realm="https://a/t"#,
            r#"Bearer realm="https://a/t",realm="https://b/t""#,
            "=",
            "Digest realm=\"x\"",
        ] {
            assert_eq!(find(&[line]), None, "{line}");
        }
        assert_eq!(find(&[]), None);
        assert_eq!(find(&[&format!("Bearer realm=\"{}\"", "a".repeat(MAX_BYTES))]), None);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(line in "[ -~]{0,80}") {
            find(&[&line]);
        }
    }
}
