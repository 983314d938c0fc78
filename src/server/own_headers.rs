//! The headers of HTTP/2 responses in memory of their own. HTTP/2 keeps some of the values in a
//! table for as long as the connection is open, and a value from the registry is a part of the
//! buffer that it was read into. Without a copy, each idle connection would keep such a buffer.

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};

/// Copies the values into one piece of memory that has their size.
pub(super) fn own_headers(headers: &mut HeaderMap) {
    let mut memory = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    for value in headers.values_mut() {
        memory.extend_from_slice(value.as_bytes());
        // The bytes are valid, because they come from a value.
        if let Ok(mut own) = HeaderValue::from_maybe_shared(memory.split().freeze()) {
            own.set_sensitive(value.is_sensitive());
            *value = own;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_values_stay_and_the_buffer_that_they_were_read_into_is_freed() {
        let buffer = Bytes::from(b"first second \xff".to_vec());
        let mut headers = HeaderMap::new();
        for (range, sensitive) in [(0..5, false), (6..12, true), (13..14, false), (5..5, false)] {
            let mut value = HeaderValue::from_maybe_shared(buffer.slice(range)).unwrap();
            value.set_sensitive(sensitive);
            headers.append("x", value);
        }
        let before = headers.clone();
        own_headers(&mut headers);
        assert_eq!(headers, before);
        let sensitive: Vec<bool> = headers.values().map(HeaderValue::is_sensitive).collect();
        assert_eq!(sensitive, [false, true, false, false]);
        drop(before);
        assert!(buffer.is_unique());
    }
}
