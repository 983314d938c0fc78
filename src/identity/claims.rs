//! The members that introspection replies and JWTs share: RFC 7662, 2.2 takes its own from RFC 7519, 4.1. Pure.
//!
//! `null` counts as absent, as many servers write it; any other type than the specified one is an error.

use serde_json::{Map, Value};

/// A larger subject is no name, and each is kept in the cache.
const MAX_SUBJECT_BYTES: usize = 1024;

/// What is wrong with a member. Names it, and prints nothing of its value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("`{0}` is missing")]
    Missing(String),
    #[error("`{0}` is not {1}")]
    Unreadable(String, &'static str),
}

/// Text, such as `iss`.
///
/// # Errors
/// Another type.
pub fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, ClaimError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(unreadable(name, "a text")),
    }
}

/// Text that names somebody: neither empty nor over 1 KiB.
///
/// # Errors
/// Anything else that is there.
pub fn subject<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, ClaimError> {
    match text(object, name)? {
        Some(subject) if subject.is_empty() || subject.len() > MAX_SUBJECT_BYTES => {
            Err(unreadable(name, "a text of 1 to 1024 bytes"))
        }
        subject => Ok(subject),
    }
}

/// A point in time as whole seconds of Unix time; a fraction, which RFC 7519 allows, is cut off.
///
/// # Errors
/// What is no number, or before 1970.
pub fn seconds(object: &Map<String, Value>, name: &str) -> Result<Option<u64>, ClaimError> {
    let Some(value) = object.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    let whole = value.as_u64();
    // `as` ends at the bounds of u64.
    let cut_off = || value.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64);
    whole.or_else(cut_off).map(Some).ok_or_else(|| unreadable(name, "a number of seconds"))
}

/// `scope`: words with spaces between them (RFC 6749, 3.3).
///
/// # Errors
/// Another type than text.
pub fn scopes(object: &Map<String, Value>) -> Result<Option<Vec<String>>, ClaimError> {
    let words = |text: &str| text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Ok(text(object, "scope")?.map(words))
}

/// A text or a list of texts, such as `aud` or a claim that names groups.
///
/// # Errors
/// Another type, also within the list.
pub fn texts<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<Vec<&'a str>>, ClaimError> {
    let all = match object.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
        Some(value) => value.as_str().map(|text| vec![text]),
    };
    all.map(Some).ok_or_else(|| unreadable(name, "a text or a list of texts"))
}

/// The groups that the member `name` lists; none where it is absent, or `name` is.
///
/// # Errors
/// Another type than a text or a list of texts.
pub fn groups(object: &Map<String, Value>, name: Option<&str>) -> Result<Vec<String>, ClaimError> {
    let Some(name) = name else { return Ok(Vec::new()) };
    let groups = texts(object, name)?.unwrap_or_default();
    Ok(groups.into_iter().map(str::to_owned).collect())
}

fn unreadable(name: &str, what: &'static str) -> ClaimError {
    ClaimError::Unreadable(name.to_owned(), what)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: Value) -> Map<String, Value> {
        Map::from_iter([("x".to_owned(), value.clone()), ("scope".to_owned(), value)])
    }

    #[test]
    fn seconds_are_numbers() {
        for (value, expected) in [(json!(17), 17), (json!(17.9), 17), (json!(0), 0), (json!(1e300), u64::MAX)] {
            assert_eq!(seconds(&of(value), "x"), Ok(Some(expected)));
        }
        for value in [json!("17"), json!(-1), json!(-0.5), json!(true), json!([17]), json!({})] {
            assert!(seconds(&of(value.clone()), "x").is_err(), "{value}");
        }
        assert_eq!(seconds(&of(Value::Null), "x"), Ok(None));
    }

    #[test]
    fn scopes_are_one_text() {
        let words = |text: &str| scopes(&of(json!(text))).unwrap().unwrap();
        assert_eq!(words("read_registry  write_registry "), ["read_registry", "write_registry"]);
        assert_eq!(words("read\tregistry"), ["read\tregistry"]);
        assert!(words("").is_empty());
        assert_eq!(scopes(&Map::new()), Ok(None));
        for value in [json!(["read_registry"]), json!(1), json!({ "read_registry": true })] {
            assert!(scopes(&of(value.clone())).is_err(), "{value}");
        }
    }

    #[test]
    fn groups_are_a_text_or_a_list_of_texts() {
        assert_eq!(groups(&of(json!("ci")), Some("x")), Ok(vec!["ci".to_owned()]));
        assert_eq!(groups(&of(json!(["ci", "ops"])), Some("x")), Ok(vec!["ci".to_owned(), "ops".to_owned()]));
        assert_eq!(groups(&of(json!(["ci"])), None), Ok(Vec::new()));
        assert_eq!(groups(&Map::new(), Some("x")), Ok(Vec::new()));
        for value in [json!(["ci", 1]), json!(1), json!({ "ci": true }), json!([["ci"]])] {
            assert!(groups(&of(value.clone()), Some("x")).is_err(), "{value}");
        }
    }

    #[test]
    fn a_subject_is_a_name() {
        assert_eq!(subject(&of(json!("alice")), "x"), Ok(Some("alice")));
        assert!(subject(&of(json!("a".repeat(1024))), "x").is_ok());
        for value in [json!(""), json!(5), json!("a".repeat(1025))] {
            assert!(subject(&of(value), "x").is_err());
        }
    }
}
