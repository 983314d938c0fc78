//! The HTTP helpers of the stand-ins: bodies, answers, query strings, credentials and random names.

use std::fmt::Write;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use serde_json::Value;

/// The body of an answer, from memory or from a file.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Creates a body from bytes in memory. It may be empty.
pub(super) fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Creates an answer with these headers. A value that is not a valid header value is left out.
pub(super) fn answer(
    status: StatusCode,
    headers: &[(HeaderName, &str)],
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name.clone(), value);
        }
    }
    response
}

/// Creates an answer in JSON.
pub(super) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    answer(status, &[(CONTENT_TYPE, "application/json; charset=utf-8")], body(value.to_string()))
}

/// Creates an error in the format that registries and GitLab's token endpoint share.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    json(status, &serde_json::json!({ "errors": [{ "code": code, "message": message }] }))
}

/// Returns the lines of a header, as the client sent them.
pub(super) fn lines(headers: &HeaderMap, name: &'static str) -> impl Iterator<Item = String> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Returns the user name and password of an `Authorization: Basic` line. Every other scheme is
/// ignored, as GitLab does.
pub(super) fn basic_credential(headers: &HeaderMap) -> Option<(String, SecretString)> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).unwrap_or_default();
    let decoded = String::from_utf8_lossy(&decoded);
    let (user, password) = decoded.split_once(':').unwrap_or((&decoded, ""));
    Some((user.to_owned(), SecretString::from(password)))
}

/// The decoded parameters of a query string or a form. Unlike the gate, a stand-in is lenient: an
/// escape that cannot be decoded is kept unchanged.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let query = query.unwrap_or_default();
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// Returns the first value of a key.
    pub(super) fn first(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Returns all values of a key that may repeat.
    pub(super) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Creates a random UUID (version 4), which registries use as names of uploads and GitLab as token
/// IDs.
pub(super) fn uuid() -> io::Result<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random numbers"))?;
    let number = u128::from_be_bytes(bytes) & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let mut text = format!("{number:032x}");
    for dash in [8, 13, 18, 23] {
        text.insert(dash, '-');
    }
    Ok(text)
}

/// Returns the bytes in lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Decodes `%XX` and `+` in a part of a form.
pub(super) fn unescape(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_unescaped_and_may_repeat_a_key() {
        let query =
            Query::parse(Some("scope=repository%3Aa%2Fb%3Apull&scope=c+d&x&%6e=1&odd=%zz%4"));
        assert_eq!(query.all("scope").collect::<Vec<_>>(), ["repository:a/b:pull", "c d"]);
        assert_eq!(query.first("x"), Some(""));
        assert_eq!(query.first("n"), Some("1"));
        assert_eq!(query.first("odd"), Some("%zz%4"));
        assert_eq!(query.first("y"), None);
    }

    #[test]
    fn uuids_are_of_version_4() {
        let uuid = uuid().unwrap();
        let parts: Vec<_> = uuid.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(parts[2].starts_with('4'));
        assert!(parts[3].starts_with(['8', '9', 'a', 'b']));
    }
}
