//! JSON objects from servers and tokens, read so that no two programs can read them differently.
//! This module performs no I/O.
//!
//! If an object has a key twice, serde_json alone takes the last value, and another reader takes
//! the first. One of them could then read `"active": false` and the other `"active": true` (RFC
//! 8259, section 4, calls the outcome unpredictable).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The largest nesting depth of objects and arrays, including the outermost one. The objects that
/// are read here have a depth of two or three.
const MAX_DEPTH: usize = 16;

/// The reason why a text is not accepted as a JSON object. It prints the position of the error, and
/// nothing of the text there.
#[derive(Debug, thiserror::Error)]
pub enum StrictJsonError {
    /// The text is not JSON or not UTF-8, continues after the object, has a key twice, or is nested
    /// too deep.
    #[error(transparent)]
    Unreadable(#[from] serde_json::Error),
    /// The text is a JSON value of another type.
    #[error("it is JSON, but not an object")]
    NotAnObject,
}

/// Reads one JSON object, followed by nothing but white space. The caller bounds the size.
///
/// # Errors
/// [`StrictJsonError`] if the text is not UTF-8 or not a JSON object, has the same key twice in one
/// object at any depth, or is nested deeper than 16.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, StrictJsonError> {
    read(bytes, Strict { depth: 0, odd_parts: false })
}

/// Reads one JSON object from a server that may be odd. An inner object that has the same key
/// twice, such as an entry of a list of keys, counts as `null`, and the other parts remain valid. A
/// byte order mark before the outermost object is ignored (RFC 8259, 8.1).
///
/// # Errors
/// The errors of [`object`], except for a key that occurs twice in an inner object.
pub fn object_with_odd_parts(bytes: &[u8]) -> Result<Map<String, Value>, StrictJsonError> {
    read(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes), Strict { depth: 0, odd_parts: true })
}

fn read(bytes: &[u8], seed: Strict) -> Result<Map<String, Value>, StrictJsonError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = seed.deserialize(&mut reader)?;
    reader.end()?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(StrictJsonError::NotAnObject),
    }
}

/// A reader for a value at this nesting depth. It accepts every type, because an error about a type
/// would print the value.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
    /// `true` if an inner object may have a key twice. It is then read as `null`.
    odd_parts: bool,
}

impl Strict {
    fn inside<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth {
            depth if depth < MAX_DEPTH => Ok(Self { depth: depth + 1, ..self }),
            _ => Err(E::custom(format_args!(
                "objects and arrays are nested more than {MAX_DEPTH} deep"
            ))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let (mut object, mut twice) = (Map::new(), false);
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inside)?;
            twice |= object.insert(key, value).is_some();
            if twice && !(self.odd_parts && self.depth > 0) {
                return Err(A::Error::custom("the same key twice in one object"));
            }
        }
        Ok(if twice { Value::Null } else { Value::Object(object) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn message(text: impl AsRef<[u8]>) -> String {
        object(text.as_ref()).unwrap_err().to_string()
    }

    #[test]
    fn an_object_is_what_serde_json_says_it_is() {
        let text = r#" {"a": [1, -2, 2.5, true, null, "\u00e9\n", {"b": {}}],
            "c": 18446744073709551615} "#;
        let value = object(text.as_bytes()).unwrap();
        assert_eq!(Value::Object(value), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn the_same_key_twice_is_refused_at_every_depth() {
        for text in [
            r#"{"active": false, "active": true}"#,
            r#"{"active": true, "active": true}"#,
            r#"{"active": 1, "\u0061ctive": 2}"#,
            r#"{"a": {"b": 1, "b": 1}}"#,
            r#"{"a": [{}, {"b": [], "c": 1, "b": []}]}"#,
        ] {
            assert!(message(text).contains("twice"), "{text}");
        }
        assert!(object(br#"{"a": {"a": {"a": 1}}, "b": {"a": 1}}"#).is_ok());
    }

    /// The outermost object is not a part, so it must not have a key twice.
    #[test]
    fn a_part_with_the_same_key_twice_is_null() {
        let read = |text: &str| object_with_odd_parts(text.as_bytes());
        let value =
            read(r#"{"a": [{"b": 1, "b": 2}, {"b": 3}], "c": {"d": {"e": 1, "e": 1}}, "f": 1}"#)
                .unwrap();
        assert_eq!(
            Value::Object(value),
            json!({ "a": [null, { "b": 3 }], "c": { "d": null }, "f": 1 })
        );
        assert!(read(r#"{"a": 1, "a": 2}"#).unwrap_err().to_string().contains("twice"));
        assert!(read("\u{feff}{}").is_ok() && read("\u{feff}\u{feff}{}").is_err());
        assert!(read(&format!(r#"{{"a": {}{}}}"#, "[".repeat(16), "]".repeat(16))).is_err());
    }

    #[test]
    fn at_most_sixteen_levels_of_nesting_are_read() {
        let nested = |levels: usize| {
            let inner = levels - 1;
            format!(r#"{{"a":{}{}}}"#, "[".repeat(inner), "]".repeat(inner))
        };
        assert!(object(nested(16).as_bytes()).is_ok());
        assert!(message(nested(17)).contains("16"));
        let objects = format!("{}1{}", r#"{"a":"#.repeat(17), "}".repeat(17));
        assert!(message(objects).contains("16"));
        // Arrays that are never closed are refused by their beginning, with a bounded stack.
        assert!(message("[".repeat(1_000_000)).contains("16"));
    }

    #[test]
    fn input_that_is_not_exactly_one_object_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "{}x",
            "{} {}",
            "{}\0",
            "<html>",
            "{'a': 1}",
            "{\"a\": 1,}",
            "{\"a\": NaN}",
            "\u{feff}{}",
        ] {
            assert!(object(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(object(b"{\"a\": \"\xff\"}").is_err());
        assert!(object(br#"{"a": "\ud800"}"#).is_err());
        for text in ["[]", "1", "null", "true", "\"{}\""] {
            assert_eq!(message(text), "it is JSON, but not an object", "{text}");
        }
    }

    #[test]
    fn errors_give_the_position_and_show_no_value() {
        for text in [
            r#""canary""#,
            r#"{"token": "canary" x"#,
            r#"{"canary": 1, "canary": 2}"#,
            r#"{"a": "canary"} canary"#,
            r#"{"a": canary}"#,
            "{\"a\": \"canary\u{1}\"}",
        ] {
            assert!(!message(text).contains("canary"), "{text}: {}", message(text));
        }
        assert_eq!(
            message("{\"a\": 1,\n \"a\": 2}"),
            "the same key twice in one object at line 2 column 8"
        );
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = object(&bytes);
        }

        #[test]
        fn reads_no_more_than_serde_json(text in r#"[{}\[\],:"a-c0-9\\ ]{0,40}"#) {
            if let Ok(value) = object(text.as_bytes()) {
                prop_assert_eq!(json!(value), serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
