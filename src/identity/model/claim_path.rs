//! The place of a claim in the claims of a caller: a plain name, or a JSON pointer (RFC 6901) into
//! the objects and lists within them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

/// The largest magnitude of a fraction that has a text. From here on, several numbers that a token
/// can hold are read as one (IEEE 754 has 53 bits), so a text would not tell them apart.
const MAX_FRACTION: f64 = 9_007_199_254_740_992.0;

/// The name of a claim, such as `project_path`, or a JSON pointer, such as
/// `/kubernetes.io/namespace`, which names the member `namespace` of the claim `kubernetes.io`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath {
    /// The path as the config has it.
    text: Box<str>,
    /// The name of the claim, and the members within it that lead to the value.
    members: Box<[Box<str>]>,
}

/// The reason why a text is not a [`ClaimPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimPathError {
    #[error("it is empty; write the name of a claim, or a JSON pointer such as /kubernetes.io/pod")]
    Empty,
    #[error(
        "it begins with `/` and is not a JSON pointer, which has `~` only in ~0 and ~1; in the \
         name of a member, write ~0 for `~` and ~1 for `/`"
    )]
    Tilde,
}

impl ClaimPath {
    /// Returns the names of the objects' members, from the claim to the value.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| &**member)
    }

    /// Returns the path of a value, given the names that [`members`](Self::members) returns: a
    /// pointer if there are several of them, or if a name alone would be read as a pointer.
    pub fn of<'a>(members: impl IntoIterator<Item = &'a str>) -> Self {
        let members: Box<[Box<str>]> = members.into_iter().map(Box::from).collect();
        let text = match &*members {
            [name] if !name.starts_with('/') && !name.is_empty() => name.clone(),
            members => {
                let escaped = |member: &str| member.replace('~', "~0").replace('/', "~1");
                members.iter().map(|member| format!("/{}", escaped(member))).collect::<String>()
            }
            .into(),
        };
        Self { text, members }
    }

    /// Returns the value at this place; `None` if there is none. In a list, the name of a member is
    /// the number of an entry, from 0.
    pub fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let (name, within) = self.members.split_first()?;
        within.iter().try_fold(claims.get(&**name)?, |value, member| match value {
            Value::Object(members) => members.get(&**member),
            Value::Array(items) => items.get(index(member)?),
            _ => None,
        })
    }

    /// Returns the value at this place as a text that can be compared; `None` if there is none.
    pub fn text<'a>(&self, claims: &'a Map<String, Value>) -> Option<Cow<'a, str>> {
        text(self.find(claims)?)
    }
}

/// Returns a value as a text that can be compared: a text itself, a number or a boolean as JSON
/// writes it. Lists, objects and null have none. A number has none either if another number is read
/// as the same one.
pub fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(_) => Some(Cow::Owned(value.to_string())),
        Value::Number(number) => {
            let is_exact = !number.is_f64()
                || number.as_f64().is_some_and(|number| number.abs() < MAX_FRACTION);
            is_exact.then(|| Cow::Owned(number.to_string()))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Returns the number of an entry of a list (RFC 6901, 4): digits without a leading zero.
fn index(member: &str) -> Option<usize> {
    let is_number = member.bytes().all(|byte| byte.is_ascii_digit());
    let has_leading_zero = member.len() > 1 && member.starts_with('0');
    (is_number && !has_leading_zero).then(|| member.parse().ok()).flatten()
}

impl FromStr for ClaimPath {
    type Err = ClaimPathError;

    fn from_str(text: &str) -> Result<Self, ClaimPathError> {
        if text.is_empty() {
            return Err(ClaimPathError::Empty);
        }
        let members = match text.strip_prefix('/') {
            None => [text.into()].into(),
            Some(pointer) => pointer
                .split('/')
                .map(|member| unescaped(member).map(Box::from))
                .collect::<Option<_>>()
                .ok_or(ClaimPathError::Tilde)?,
        };
        Ok(Self { text: text.into(), members })
    }
}

/// Returns the name of a member from its form in a pointer; `None` if a `~` is not followed by 0 or
/// 1.
fn unescaped(member: &str) -> Option<String> {
    let mut pieces = member.split('~');
    let mut name = pieces.next()?.to_owned();
    for piece in pieces {
        let (sign, rest) = match piece.split_at_checked(1)? {
            ("0", rest) => ('~', rest),
            ("1", rest) => ('/', rest),
            _ => return None,
        };
        name.push(sign);
        name.push_str(rest);
    }
    Some(name)
}

/// Writes the path as the config has it.
impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> ClaimPath {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The example of RFC 6901, 5, which has a name for each odd case.
    #[test]
    fn pointers_name_what_rfc_6901_says() {
        let claims = json!({
            "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5,
            "k\"l": 6, " ": 7, "m~n": 8,
        });
        let claims = claims.as_object().unwrap();
        for (pointer, value) in [
            ("/foo", json!(["bar", "baz"])),
            ("/foo/0", json!("bar")),
            ("/", json!(0)),
            ("/a~1b", json!(1)),
            ("/c%d", json!(2)),
            ("/e^f", json!(3)),
            ("/g|h", json!(4)),
            ("/i\\j", json!(5)),
            ("/k\"l", json!(6)),
            ("/ ", json!(7)),
            ("/m~0n", json!(8)),
        ] {
            assert_eq!(path(pointer).find(claims), Some(&value), "{pointer}");
        }
        for pointer in ["/foo/2", "/foo/-", "/foo/00", "/foo/+1", "/foo/", "/foo/0/x", "/none/x"] {
            assert_eq!(path(pointer).find(claims), None, "{pointer}");
        }
    }

    #[test]
    fn a_plain_name_names_a_claim_even_with_slashes_and_dots_in_it() {
        let claims = json!({
            "kubernetes.io": { "namespace": "team-a", "pod": { "name": "x" } },
            "https://example.com/roles": "ops", "a~b": "c",
        });
        let claims = claims.as_object().unwrap();
        for (text, value) in [
            ("https://example.com/roles", Some("ops")),
            ("a~b", Some("c")),
            ("kubernetes.io/namespace", None),
            ("/kubernetes.io/namespace", Some("team-a")),
            ("/kubernetes.io/pod/name", Some("x")),
            ("/kubernetes.io/pod", None),
            ("/kubernetes.io/pod/uid", None),
            ("/namespace", None),
        ] {
            assert_eq!(path(text).text(claims).as_deref(), value, "{text}");
        }
    }

    #[test]
    fn texts_numbers_and_booleans_are_compared_and_nothing_else() {
        for (value, text) in [
            (json!("x"), Some("x")),
            (json!(""), Some("")),
            (json!(42), Some("42")),
            (json!(-1), Some("-1")),
            (json!(u64::MAX), Some("18446744073709551615")),
            (json!(1.5), Some("1.5")),
            (json!(1e16), None),
            (json!(true), Some("true")),
            (json!(false), Some("false")),
            (Value::Null, None),
            (json!([]), None),
            (json!(["x"]), None),
            (json!({}), None),
            (json!({ "x": "x" }), None),
        ] {
            assert_eq!(super::text(&value).as_deref(), text, "{value}");
        }
        // Both are read as 2^64.
        for large in ["18446744073709551616", "18446744073709551617"] {
            assert_eq!(super::text(&serde_json::from_str(large).unwrap()), None, "{large}");
        }
    }

    #[test]
    fn a_text_that_is_not_a_path_is_refused_with_the_right_form() {
        for text in ["", "/~", "/a~", "/a~2b", "/~~0", "/a/b~/c"] {
            let error = text.parse::<ClaimPath>().unwrap_err().to_string();
            assert!(error.contains("; "), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_path_of_members_finds_them_and_reads_as_it_is_written(
            members in prop::collection::vec("[a~/0é.]{0,3}", 1..4),
        ) {
            let path = ClaimPath::of(members.iter().map(String::as_str));
            prop_assert_eq!(&path.to_string().parse::<ClaimPath>().unwrap(), &path);
            let nested = members.iter().rev().fold(json!("x"), |it, name| json!({ name: it }));
            prop_assert_eq!(path.find(nested.as_object().unwrap()), Some(&json!("x")));
        }

        #[test]
        fn every_pointer_is_read_as_serde_json_reads_it(text in "(/[a~01]{0,3}){1,3}") {
            let claims = json!({
                "a": { "0": 1, "~": 2, "/": { "a": 3 } }, "0": [4, { "1": 5 }], "": { "": 6 },
            });
            if let Ok(path) = text.parse::<ClaimPath>() {
                prop_assert_eq!(path.find(claims.as_object().unwrap()), claims.pointer(&text));
            }
        }
    }
}
