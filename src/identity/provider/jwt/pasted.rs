//! Finds workload tokens in pasted text: with spaces, quotes or `Bearer ` around them, wrapped,
//! padded or escaped. This module performs no I/O.
//!
//! Such a text is not a valid token, but the next provider must not be shown it. The lenient
//! decoding serves only this purpose and never admits a caller. A token is recognized by its
//! claims, which stand between its first two dots.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use zeroize::Zeroizing;

/// A decoder for base64url that accepts any padding and any trailing bits, because pasted text may
/// be damaged.
const GENEROUS: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The prefix of GitLab's job tokens. It stands before a JWT that names the same issuer, and such a
/// token is not an id_token.
const JOB_TOKEN: &str = "glcbt-";

/// Returns every `iss` in the text that may belong to a JWT, complete or without its signature.
pub(super) fn issuers(text: &str) -> impl Iterator<Item = String> {
    let unescaped = Zeroizing::new(percent_decode_str(text).decode_utf8_lossy().into_owned());
    let mut found = Vec::new();
    for text in [text, &unescaped] {
        // `+` is either a character of the other alphabet of base64, or a space that a form
        // escaped.
        for plus_is_of_token in [true, false] {
            let is_of_token = |c: char| is_of_token(c) && (plus_is_of_token || c != '+');
            of_runs(text.split(|c: char| !is_of_token(c)), &mut found);
            // The capacity is the largest possible length, because a reallocation would leave a
            // copy.
            let mut in_one = Zeroizing::new(String::with_capacity(text.len()));
            in_one.extend(text.chars().filter(|c| is_of_token(*c)));
            of_runs([&**in_one].into_iter(), &mut found);
        }
    }
    found.into_iter()
}

/// Returns whether `c` is in either alphabet of base64 (RFC 4648, 4 and 5), or is the dot between
/// the parts.
fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '/' | '.')
}

/// Adds the issuers that runs of such characters name. Each part after a dot may be the claims,
/// because other text may be attached to the header before it.
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

/// Returns the `iss` of claims. The gate does not trust it, and uses it only to withhold the secret
/// from other providers. If the claims are not JSON, every text that looks like an `iss` counts.
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
    fn a_token_is_found_inside_surrounding_text() {
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
            // Escaped for a URL or a form.
            format!("%20{token}"),
            format!("%22{token}%22"),
            format!("Bearer%20{token}"),
            format!("token%3D{token}"),
            format!("+{token}"),
            format!("Bearer+{token}+"),
            token.replace('.', "%2E"),
            token.replace('.', "%2e"),
            format!("\\u0022{token}"),
            // Attached to other text.
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
            // Claims that not every parser accepts as JSON.
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
    fn text_without_a_token_yields_no_issuer() {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let (header, claims) = (encode(r#"{"alg":"ES256"}"#), encode(CLAIMS));
        for text in [
            String::new(),
            "glpat-demo.personal".to_owned(),
            // A job token of GitLab names the same issuer and is not an id_token.
            format!("glcbt-64_{header}.{claims}.c2ln"),
            claims.clone(),
            format!("{claims}.{header}.c2ln"),
            format!("{header}.{}.c2ln", encode(r#"{"sub":"a"}"#)),
            // An encrypted token (RFC 7516, 7.1).
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
