//! The oracle for the parser of the `Authorization` header.

use http::{HeaderMap, HeaderValue, header};
use moorgate::identity::model::credential::{Credential, basic};
use secrecy::ExposeSecret;

/// Checks that a second reader finds the same credential or also finds none, that a credential
/// which was read can be written and read again, and that no part of a secret is printed.
pub fn check(input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else { return };
    let credential = parts(read(value.clone()));
    assert_eq!(credential, second_reader(input), "{value:?}");
    let again = match &credential {
        Some(Parts::Basic(user, password)) => basic(user, &password.as_str().into())
            .expect("what was read from a header can be written to one"),
        Some(Parts::Bearer(token)) => {
            HeaderValue::try_from(format!("Bearer {token}")).expect("the same")
        }
        Some(Parts::Anonymous) | None => return,
    };
    assert_eq!(parts(read(again)), credential);
}

/// The content of an `Authorization` header.
#[derive(Debug, PartialEq)]
pub enum Parts {
    Anonymous,
    Basic(String, String),
    Bearer(String),
}

fn read(value: HeaderValue) -> Option<Credential> {
    Credential::from_headers(&HeaderMap::from_iter([(header::AUTHORIZATION, value)])).ok()
}

fn parts(credential: Option<Credential>) -> Option<Parts> {
    let printed = format!("{credential:?}");
    assert!(
        ["None", "Some(anonymous)", "Some(basic)", "Some(bearer)"].contains(&&*printed),
        "{printed}"
    );
    Some(match credential? {
        Credential::Anonymous => Parts::Anonymous,
        Credential::Basic { user, password } => {
            Parts::Basic(user, password.expose_secret().to_owned())
        }
        Credential::Bearer(token) => Parts::Bearer(token.expose_secret().to_owned()),
    })
}

/// Reads the header by RFC 9110, 11.6.2; RFC 7617, 2; RFC 6750, 2.1.
pub fn second_reader(value: &[u8]) -> Option<Parts> {
    let value = std::str::from_utf8(value)
        .ok()
        .filter(|value| value.bytes().all(|byte| (b' '..=b'~').contains(&byte)))?;
    let end = value.find(' ')?;
    let (scheme, rest) = (value[..end].to_lowercase(), value[end..].trim_matches(' '));
    match &*scheme {
        "bearer" => {
            let padding = rest.len() - rest.trim_end_matches('=').len();
            let word = &rest[..rest.len() - padding];
            let is_token = !word.is_empty()
                && word.chars().all(|c| c.is_ascii_alphanumeric() || "-._~+/".contains(c));
            is_token.then(|| Parts::Bearer(rest.to_owned()))
        }
        "basic" => {
            let text = String::from_utf8(base64(rest)?).ok()?;
            let colon = text.find(':')?;
            let (user, password) = (&text[..colon], &text[colon + 1..]);
            match (user, password) {
                _ if text.chars().any(char::is_control) => None,
                ("", "") => Some(Parts::Anonymous),
                (_, "") => None,
                _ => Some(Parts::Basic(user.to_owned(), password.to_owned())),
            }
        }
        _ => None,
    }
}

/// Decodes base64 (RFC 4648, 4) with padding. Rejects set bits after the end of the value, so each
/// value has one spelling.
fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let word = text.strip_suffix("==").or(text.strip_suffix('=')).unwrap_or(text);
    let mut bits: u32 = 0;
    let mut have = 0;
    let mut bytes = Vec::new();
    for byte in word.bytes() {
        bits =
            bits << 6 | u32::try_from(ALPHABET.iter().position(|letter| *letter == byte)?).ok()?;
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
            bits &= (1 << have) - 1;
        }
    }
    (bits == 0).then_some(bytes)
}
