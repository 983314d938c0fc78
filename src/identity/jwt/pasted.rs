//! Finds workload tokens in what people paste: with blanks, quotes or `Bearer ` around them, wrapped, padded. Pure.
//!
//! Such a text is no token, and the next provider must not be shown it for that. It is read generously for this alone:
//! nothing is let in by it.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;
use zeroize::Zeroizing;

/// Base64url as people spoil it.
const GENEROUS: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the `iss` of everything in the text that looks like a JWT, whole or without its signature.
pub(super) fn issuers(text: &str) -> impl Iterator<Item = String> {
    // As long as it can get, so that growing leaves no copy.
    let mut in_one = Zeroizing::new(String::with_capacity(text.len()));
    in_one.extend(text.chars().filter(|c| !c.is_whitespace() && *c != '='));
    let of_runs = |text: &str| -> Vec<String> { text.split(|c: char| !is_of_token(c)).filter_map(issuer).collect() };
    let mut found = of_runs(text);
    found.extend(of_runs(&in_one));
    found.into_iter()
}

/// A character of either alphabet of base64 (RFC 4648, 4 and 5), or the dot between the parts.
fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '/' | '.')
}

/// The `iss` of a run of such characters, if its first two parts are a JWT's. With a prefix of another issuer before it
/// (GitLab's job tokens are JWTs behind `glcbt-`) it is none.
fn issuer(run: &str) -> Option<String> {
    let mut parts = run.trim_matches('.').split('.');
    let (header, claims) = (object(parts.next()?)?, object(parts.next()?)?);
    if !header.is_object() || parts.count() > 1 {
        return None;
    }
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// The JSON in a part. One with a key twice is read too: it is not to be believed, only not to be shown.
fn object(part: &str) -> Option<Value> {
    let part = Zeroizing::new(part.replace('+', "-").replace('/', "_"));
    let json = Zeroizing::new(GENEROUS.decode(&*part).ok()?);
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    const CLAIMS: &str = r#"{"iss":"https://issuer.example","sub":"?>?>a"}"#;

    fn found(text: &str) -> Vec<String> {
        let mut found: Vec<_> = issuers(text).collect();
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
            format!("{header}.{}.x", encode(r#"{"iss":"https://issuer.example","sub":"a","sub":"b"}"#)),
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
            format!("{header}.{claims}.a.b.c"),
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
