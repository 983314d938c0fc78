//! The id of a request, which the client, the registry, the providers and the logs see.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::hex;

/// The longest id of a client that is kept, in bytes.
const MAX_BYTES: usize = 64;

/// The id of a request: 1 to 64 letters, digits, `.`, `_` or `-`. It is cheap to clone, because
/// each message about the request carries it in a header.
#[derive(Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Returns the client's id if it is valid, otherwise a random one.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let allowed =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let sent = headers
            .get("x-request-id")
            .filter(|id| (1..=MAX_BYTES).contains(&id.len()) && id.as_bytes().iter().all(allowed));
        // The value is copied, because a part of the head's buffer would keep all of it in memory.
        match sent.and_then(|id| HeaderValue::from_bytes(id.as_bytes()).ok()) {
            Some(id) => Self(id),
            None => Self::random(),
        }
    }

    /// Creates a random id of 16 hexadecimal digits.
    pub fn random() -> Self {
        let digits = Bytes::from_owner(hex::digits(fastrand::u64(..)));
        // Digits are valid in a header.
        let value = HeaderValue::from_maybe_shared(digits);
        Self(value.unwrap_or_else(|_| HeaderValue::from_static("0")))
    }

    /// Returns the id as the value of a header.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// An id of the gate's own.
impl From<&'static str> for RequestId {
    fn from(id: &'static str) -> Self {
        Self(HeaderValue::from_static(id))
    }
}

impl Deref for RequestId {
    type Target = str;

    fn deref(&self) -> &str {
        // An id is ASCII.
        self.0.to_str().unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sent: &'static str) -> String {
        let headers = HeaderMap::from_iter([(
            "x-request-id".parse().unwrap(),
            HeaderValue::from_static(sent),
        )]);
        RequestId::from_headers(&headers).to_string()
    }

    #[test]
    fn a_valid_id_of_a_client_is_kept() {
        let longest = "a".repeat(MAX_BYTES).leak();
        for id in ["a", "A-1_b.c", longest] {
            assert_eq!(of(id), id);
        }
    }

    #[test]
    fn any_other_id_is_replaced_by_a_random_one() {
        let too_long = "a".repeat(MAX_BYTES + 1).leak();
        for id in ["", "a b", "a/b", "a\"b", too_long] {
            let random = of(id);
            assert!(random.len() == 16 && random != id, "{random}");
            assert!(random.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')));
        }
        assert_ne!(*RequestId::random(), *RequestId::random());
    }
}
