//! The members that introspection replies and JWTs share: RFC 7662, 2.2 takes its members from RFC
//! 7519, 4.1. This module performs no I/O.
//!
//! `null` counts as absent, because many servers write it in this sense. A value of another type
//! than the specified one is an error. An odd entry of a list is left out and noted: lists name
//! what a caller has, so the caller has less without the entry.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::identity::model::claim_path::{self, ClaimPath};

/// The largest length of a subject, in bytes. A longer text is not a name, and the cache keeps
/// every subject.
const MAX_SUBJECT_BYTES: usize = 1024;

/// An error in a member. It names the member and the shape of its value, and prints nothing of the
/// value itself.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("`{0}` is missing")]
    Missing(String),
    #[error("`{name}` is {shape}; it must be {needed}")]
    Unreadable { name: String, shape: String, needed: &'static str },
}

/// The oddities of a message that was read nevertheless, for the log. They print no values.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Oddities(Vec<String>);

impl Oddities {
    /// Notes an oddity. The text must not contain a value.
    pub fn note(&mut self, what: String) {
        self.0.push(what);
    }

    /// Returns all notes as one text; `None` if there are none.
    pub fn text(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join("; "))
    }
}

/// Returns the shape of a value in words, without the value itself.
pub fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) if number.is_f64() => "a fraction".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(text) if text.is_empty() => "an empty text".to_owned(),
        Value::String(text) => format!("a text of {} bytes", text.len()),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// Returns a text, such as `iss`.
///
/// # Errors
/// [`ClaimError::Unreadable`] if the value has another type.
pub fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, ClaimError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(value) => Err(unreadable(name, value, "a text")),
    }
}

/// Returns a text that names a subject: not blank, and at most 1 KiB long.
///
/// # Errors
/// [`ClaimError::Unreadable`] if the value is anything else.
pub fn subject<'a>(
    object: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a str>, ClaimError> {
    match (text(object, name)?, object.get(name)) {
        (Some(subject), Some(value))
            if subject.trim().is_empty() || subject.len() > MAX_SUBJECT_BYTES =>
        {
            Err(unreadable(name, value, "a text of 1 to 1024 bytes"))
        }
        (subject, _) => Ok(subject),
    }
}

/// Returns the text at this place that names a subject: not blank, and at most 1 KiB long. A number
/// or a boolean is the text that JSON writes for it.
///
/// # Errors
/// [`ClaimError::Unreadable`] if the value is anything else.
pub fn subject_at<'a>(
    object: &'a Map<String, Value>,
    path: &ClaimPath,
) -> Result<Option<Cow<'a, str>>, ClaimError> {
    let Some(value) = path.find(object).filter(|value| !value.is_null()) else { return Ok(None) };
    claim_path::text(value)
        .filter(|subject| !subject.trim().is_empty() && subject.len() <= MAX_SUBJECT_BYTES)
        .map(Some)
        .ok_or_else(|| {
            let needed = "a text of 1 to 1024 bytes, a number or a boolean";
            unreadable(&path.to_string(), value, needed)
        })
}

/// Returns a point in time as whole seconds of Unix time. A fraction, which RFC 7519 allows, is cut
/// off.
///
/// # Errors
/// [`ClaimError::Unreadable`] if the value is not a number, or is before 1970.
pub fn seconds(object: &Map<String, Value>, name: &str) -> Result<Option<u64>, ClaimError> {
    let Some(value) = object.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    let whole = value.as_u64();
    // `as` saturates at the bounds of `u64`.
    let cut_off = || value.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64);
    whole
        .or_else(cut_off)
        .map(Some)
        .ok_or_else(|| unreadable(name, value, "a number of seconds since 1970"))
}

/// Returns the scopes in `scope`: a text with spaces between them (RFC 6749, 3.3), or the list that
/// some servers send. A text in a list is one scope even if it contains spaces, so that two scopes
/// are never read where the server meant one. A value of any other type contains no scope. Lists
/// and values of other types are noted.
pub fn scopes(object: &Map<String, Value>, odd: &mut Oddities) -> Vec<String> {
    match object.get("scope") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => {
            text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
        }
        Some(value @ Value::Array(items)) => {
            odd.note(format!("`scope` is {}, and each entry is one scope", shape(value)));
            texts_of("scope", items, odd)
        }
        Some(value) => {
            odd.note(format!("`scope` is {}, which holds no scope", shape(value)));
            Vec::new()
        }
    }
}

/// Returns a text or a list of texts, such as `aud`.
///
/// # Errors
/// [`ClaimError::Unreadable`] if the value, or an entry of the list, has another type.
pub fn texts<'a>(
    object: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<Vec<&'a str>>, ClaimError> {
    let needed = "a text or a list of texts";
    let (all, value) = match object.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(value @ Value::Array(list)) => (list.iter().map(Value::as_str).collect(), value),
        Some(value) => (value.as_str().map(|text| vec![text]), value),
    };
    all.map(Some).ok_or_else(|| unreadable(name, value, needed))
}

/// Returns the groups in the list at this place; none if the list is absent or `path` is `None`.
/// Entries that are not texts are left out and noted, and so is a value that is not a list: what
/// separates the names in a single text differs between servers.
pub fn groups(
    object: &Map<String, Value>,
    path: Option<&ClaimPath>,
    odd: &mut Oddities,
) -> Vec<String> {
    match path.and_then(|path| Some((path, path.find(object)?))) {
        None | Some((_, Value::Null)) => Vec::new(),
        Some((path, Value::Array(items))) => texts_of(&path.to_string(), items, odd),
        Some((path, value)) => {
            odd.note(format!("`{path}` is {} and not a list, so it names no group", shape(value)));
            Vec::new()
        }
    }
}

/// Returns a text, or the texts of a list, such as `aud`. Entries of the list that are not texts
/// are left out and noted.
///
/// # Errors
/// [`ClaimError::Unreadable`] if the value has another type.
pub fn texts_among(
    object: &Map<String, Value>,
    name: &str,
    odd: &mut Oddities,
) -> Result<Vec<String>, ClaimError> {
    match object.get(name) {
        Some(Value::Array(items)) => Ok(texts_of(name, items, odd)),
        _ => Ok(text(object, name)?.map(str::to_owned).into_iter().collect()),
    }
}

fn texts_of(name: &str, items: &[Value], odd: &mut Oddities) -> Vec<String> {
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Value::String(text) if !text.is_empty() => texts.push(text.clone()),
            other => odd.note(format!("`{name}` holds {}, which is left out", shape(other))),
        }
    }
    texts
}

fn unreadable(name: &str, value: &Value, needed: &'static str) -> ClaimError {
    ClaimError::Unreadable { name: name.to_owned(), shape: shape(value), needed }
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
        for (value, expected) in
            [(json!(17), 17), (json!(17.9), 17), (json!(0), 0), (json!(1e300), u64::MAX)]
        {
            assert_eq!(seconds(&of(value), "x"), Ok(Some(expected)));
        }
        for value in [json!("17"), json!(-1), json!(-0.5), json!(true), json!([17]), json!({})] {
            assert!(seconds(&of(value.clone()), "x").is_err(), "{value}");
        }
        assert_eq!(seconds(&of(Value::Null), "x"), Ok(None));
    }

    #[test]
    fn scopes_are_a_text_or_a_list_of_words() {
        let words = |value: Value| scopes(&of(value), &mut Oddities::default());
        assert_eq!(
            words(json!("read_registry  write_registry ")),
            ["read_registry", "write_registry"]
        );
        assert_eq!(words(json!("read\tregistry")), ["read\tregistry"]);
        assert!(words(json!("")).is_empty());
        assert_eq!(
            words(json!(["read_registry", "write_registry"])),
            ["read_registry", "write_registry"]
        );
        assert_eq!(words(json!(["a b"])), ["a b"], "one word");
        assert!(words(json!([])).is_empty());
        assert!(words(Value::Null).is_empty());
        assert!(scopes(&Map::new(), &mut Oddities::default()).is_empty());
        for value in [json!(1), json!(true), json!({ "read_registry": true })] {
            let mut odd = Oddities::default();
            assert!(scopes(&of(value.clone()), &mut odd).is_empty(), "{value}");
            assert!(odd.text().unwrap().contains(&shape(&value)), "{odd:?}");
        }
    }

    #[test]
    fn groups_are_a_list_of_texts() {
        let [x, within] = ["x", "/x/roles"].map(|text| text.parse::<ClaimPath>().unwrap());
        let read = |value: Value, path| groups(&of(value), path, &mut Oddities::default());
        assert_eq!(read(json!(["ci", "ops"]), Some(&x)), ["ci", "ops"]);
        assert_eq!(read(json!({ "roles": ["ci"] }), Some(&within)), ["ci"]);
        assert!(read(json!(["ci"]), None).is_empty());
        assert!(read(json!(["ci"]), Some(&within)).is_empty());
        assert!(groups(&Map::new(), Some(&x), &mut Oddities::default()).is_empty());
        for value in [json!("ci"), json!(1), json!({ "ci": true })] {
            let mut odd = Oddities::default();
            assert!(groups(&of(value.clone()), Some(&x), &mut odd).is_empty(), "{value}");
            let text = odd.text().unwrap();
            assert!(text.contains(&shape(&value)) && text.contains("not a list"), "{text}");
        }
    }

    #[test]
    fn an_odd_entry_is_left_out_and_noted_without_its_value() {
        let mut odd = Oddities::default();
        let value = of(json!(["ci", 1, ["canary"], { "canary": 1 }, null, true, ""]));
        assert_eq!(groups(&value, Some(&"x".parse().unwrap()), &mut odd), ["ci"]);
        let text = odd.text().unwrap();
        for shape in ["a number", "a list of 1", "an object", "null", "a boolean", "an empty text"]
        {
            assert!(text.contains(&format!("`x` holds {shape}, which is left out")), "{text}");
        }
        assert!(!text.contains("canary"), "{text}");
        assert_eq!(Oddities::default().text(), None);
    }

    #[test]
    fn an_error_says_the_shape_and_not_the_value() {
        let shown = |value: Value| seconds(&of(value), "x").unwrap_err().to_string();
        assert_eq!(
            shown(json!("canary")),
            "`x` is a text of 6 bytes; it must be a number of seconds since 1970"
        );
        assert!(shown(json!(["canary"])).contains("a list of 1"));
    }

    #[test]
    fn a_subject_is_a_string_that_is_not_blank_and_not_too_long() {
        assert_eq!(subject(&of(json!("alice")), "x"), Ok(Some("alice")));
        assert!(subject(&of(json!("a".repeat(1024))), "x").is_ok());
        for value in [json!(""), json!(" "), json!(5), json!("a".repeat(1025))] {
            assert!(subject(&of(value), "x").is_err());
        }
    }

    #[test]
    fn a_subject_at_a_path_may_be_a_number_or_a_boolean() {
        let path: ClaimPath = "/x/id".parse().unwrap();
        let read = |id: Value| {
            let object = of(json!({ "id": id }));
            subject_at(&object, &path).map(|subject| subject.map(Cow::into_owned))
        };
        for (id, subject) in [
            (json!("alice"), Some("alice")),
            (json!(42), Some("42")),
            (json!(true), Some("true")),
            (Value::Null, None),
        ] {
            assert_eq!(read(id).unwrap().as_deref(), subject);
        }
        for id in
            [json!(""), json!(" "), json!("a".repeat(1025)), json!(["a"]), json!({}), json!(1e16)]
        {
            assert!(read(id.clone()).unwrap_err().to_string().starts_with("`/x/id` is"), "{id}");
        }
        assert_eq!(subject_at(&of(json!("alice")), &path), Ok(None));
    }
}
