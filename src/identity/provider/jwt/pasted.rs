//! Finds workload tokens in what people paste: with blanks, quotes or `Bearer ` around them,
//! wrapped, padded, escaped. Pure.
//!
//! Such a text is no token, and the next provider must not be shown it for that. It is read
//! generously for this alone: nothing is let in by it. What gives a token away are its claims,
//! between the first two of its dots.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use zeroize::Zeroizing;

/// Base64url as people spoil it.
const GENEROUS: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How GitLab's job tokens begin. Such a prefix stands before a JWT that names the issuer too, and
/// is no id_token.
const JOB_TOKEN: &str = "glcbt-";

/// Returns every `iss` in the text that a JWT may have, whole or without its signature.
pub(super) fn issuers(text: &str) -> impl Iterator<Item = String> {
    let unescaped = Zeroizing::new(percent_decode_str(text).decode_utf8_lossy().into_owned());
    let mut found = Vec::new();
    for text in [text, &unescaped] {
        // `+` is of the other alphabet of base64, or a blank that a form escaped.
        for plus_is_of_token in [true, false] {
            let is_of_token = |c: char| is_of_token(c) && (plus_is_of_token || c != '+');
            of_runs(text.split(|c: char| !is_of_token(c)), &mut found);
            // As long as it can get, so that growing leaves no copy.
            let mut in_one = Zeroizing::new(String::with_capacity(text.len()));
            in_one.extend(text.chars().filter(|c| is_of_token(*c)));
            of_runs([&**in_one].into_iter(), &mut found);
        }
    }
    found.into_iter()
}

/// A character of either alphabet of base64 (RFC 4648, 4 and 5), or the dot between the parts.
fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '/' | '.')
}

/// Adds what runs of such characters name. Each part behind a dot may be the claims, whatever is
/// glued to the header before it.
fn of_runs<'a>(runs: impl Iterator<Item = &'a str>, found: &mut Vec<String>) {
    for run in runs {
        let mut parts = run.split('.');
        let mut header = parts.next().unwrap_or_default();
        for part in parts {
            if !header.is_empty() && !header.starts_with(JOB_TOKEN) {
                found.extend(issuers_of(part));
            }
            header = part;
        }
    }
}

/// The `iss` of claims. They are not to be believed, only not to be shown: where they are no JSON,
/// what looks like it.
fn issuers_of(part: &str) -> Vec<String> {
    let part = Zeroizing::new(part.replace('+', "-").replace('/', "_"));
    let Ok(json) = GENEROUS.decode(&*part).map(Zeroizing::new) else { return Vec::new() };
    match serde_json::from_slice::<Value>(&json) {
        Ok(claims) => {
            claims.get("iss").and_then(Value::as_str).map(str::to_owned).into_iter().collect()
        }
        Err(_) => {
            let text = Zeroizing::new(String::from_utf8_lossy(&json).replace("\\/", "/"));
            let values = text.split("\"iss\"").skip(1);
            let values = values.filter_map(|after| {
                after.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')
            });
            values.filter_map(|value| Some(value.split_once('"')?.0.to_owned())).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    const CLAIMS: &str = r#"{"iss":"https://issuer.example","sub":"?>?>a"}"#;

    fn found(text: &str) -> Vec<String> {
        let mut found: Vec<_> = issuers(text).collect();
        found.sort();
        found.dedup();
        found
    }

    #[test]
    fn a_token_is_found_whatever_stands_around_it() {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let (header, claims) = (encode(r#"{"alg":"ES256"}"#), encode(CLAIMS));
        let token = format!("{header}.{claims}.c2lnbmF0dXJl");
        let padded = |text: &str| BASE64_STANDARD.encode(text);
        let wrapped = format!("{} {}", &token[..30], &token[30..]);
        for text in [
            token.clone(),
            format!(" {token}"),
            format!("{token} "),
            format!("\u{a0}{token}\u{200b}"),
            format!("\"{token}\""),
            format!("'{token}'"),
            format!("\u{201c}{token}\u{201d}"),
            format!("`{token}`"),
            format!("Bearer {token}"),
            format!("bearer  {token}"),
            format!("Bearer:{token}"),
            format!("Authorization: Bearer {token}"),
            format!("token={token}"),
            format!("{{\"token\":\"{token}\"}}"),
            format!("{token},"),
            format!("{token};"),
            format!("{token}."),
            format!("x {token} y"),
            wrapped,
            format!("{}.{}.c2lnbmF0dXJl", padded(r#"{"alg":"ES256"}"#), padded(CLAIMS)),
            format!("{header}.{claims}"),
            format!("{header}.{claims}."),
            format!(
                "{header}.{}.x",
                encode(r#"{"iss":"https://issuer.example","sub":"a","sub":"b"}"#)
            ),
            // Escaped for an address or a form.
            format!("%20{token}"),
            format!("%22{token}%22"),
            format!("Bearer%20{token}"),
            format!("token%3D{token}"),
            format!("+{token}"),
            format!("Bearer+{token}+"),
            token.replace('.', "%2E"),
            token.replace('.', "%2e"),
            format!("\\u0022{token}"),
            // Glued to something.
            format!("Bearer{token}"),
            format!("Bearer-{token}"),
            format!("oidc_{token}"),
            format!("/{token}"),
            format!("{token}.x"),
            format!("{token}{token}"),
            format!("{token}.{token}"),
            format!("Bearer {} {}", &token[..30], &token[30..]),
            format!("{}\u{200b}{}", &token[..50], &token[50..]),
            format!("{}\u{ad}{}", &token[..9], &token[9..]),
            // Claims that are no JSON to some.
            format!("{header}.{}.x", encode(r#"{"a":"\ud800","iss":"https:\/\/issuer.example"}"#)),
            format!("{header}.{}.x", encode(r#"{"iss" : "https://issuer.example","a":1e999}"#)),
            format!("{header}.{}.x", encode("\u{feff}{\"iss\":\"https://issuer.example\"}")),
            format!(
                "{header}.{}.x",
                BASE64_URL_SAFE_NO_PAD
                    .encode(b"{\"iss\":\"https://issuer.example\",\"a\":\"\xe9\"}")
            ),
        ] {
            assert_eq!(found(&text), ["https://issuer.example"], "{text}");
        }
    }

    #[test]
    fn what_is_no_token_is_not_taken_for_one() {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let (header, claims) = (encode(r#"{"alg":"ES256"}"#), encode(CLAIMS));
        for text in [
            String::new(),
            "glpat-demo.personal".to_owned(),
            // GitLab's job tokens, which name the same issuer and are not its id_tokens.
            format!("glcbt-64_{header}.{claims}.c2ln"),
            claims.clone(),
            format!("{claims}.{header}.c2ln"),
            format!("{header}.{}.c2ln", encode(r#"{"sub":"a"}"#)),
            // An encrypted one (RFC 7516, 7.1).
            format!("{header}.ZW5jcnlwdGVk.a.b.c"),
            format!("{header}.{}.c2ln", encode(r#"{"iss":5}"#)),
        ] {
            assert!(found(&text).is_empty(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text: String) {
            let _ = found(&text);
        }
    }
}
