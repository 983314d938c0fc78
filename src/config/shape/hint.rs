//! Hints about what would be right, made from the schema. They are the second half of a message.

use serde_json::{Map, Value};

use super::join;
use crate::config::print::scalar;
use crate::config::schema::{allows, has_key, list, properties, variants};

/// The smallest Jaro-Winkler similarity, from 0 to 1, at which a word is taken for a misspelling of
/// another word.
const ALIKE: f64 = 0.82;

/// Describes the form of a value, in words that follow "write".
pub(super) fn form(schema: &Value) -> String {
    match schema.get("format").and_then(Value::as_str) {
        Some("file") => return format!("the name of a file, e.g. {}", example(schema)),
        Some("access-log-target") => return "stdout, off or a file".to_owned(),
        Some("audit-log-target") => return "off or a file".to_owned(),
        _ => {}
    }
    if let Some(known) = schema.get("enum") {
        let known: Vec<String> =
            known.as_array().map_or(&[][..], Vec::as_slice).iter().map(scalar).collect();
        return alternatives(&known);
    }
    if allows(schema, "array") && allows(schema, "string") {
        return format!("e.g. {}, or a list of such values", example(schema));
    }
    if allows(schema, "array") {
        return format!("a list such as {}", example(schema));
    }
    if !variants(schema).is_empty() {
        return example(schema);
    }
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) if allows(schema, "number") => {
            return format!("a number from {least} to {most}");
        }
        (Some(least), Some(most)) => return format!("a whole number from {least} to {most}"),
        (Some(least), None) => return format!("a whole number of at least {least}"),
        _ => {}
    }
    if let Some(example) = list(schema, "examples").first() {
        let or_none =
            if allows(schema, "object") && allows(schema, "null") { ", or null" } else { "" };
        return format!("e.g. {}{or_none}", scalar(example));
    }
    if allows(schema, "object") {
        return "a section of keys and values".to_owned();
    }
    if allows(schema, "boolean") {
        return "true or false".to_owned();
    }
    "text".to_owned()
}

/// Joins words for a choice: `a`, `a or b`, `a, b or c`.
pub(super) fn alternatives(words: &[String]) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// Returns an example value of the schema.
pub(super) fn example(schema: &Value) -> String {
    if let Some(example) = list(schema, "examples").first().or_else(|| list(schema, "enum").first())
    {
        return scalar(example);
    }
    if let Some(kind) =
        variants(schema).first().and_then(|variant| variant.pointer("/properties/type/const"))
    {
        return format!("{{ type: {}, … }}", scalar(kind));
    }
    match schema.get("items") {
        Some(items) => format!("[{}]", example(items)),
        None => "…".to_owned(),
    }
}

/// Returns the message for a key that its section does not have.
pub(super) fn unknown_key(root: &Value, section: &Value, path: &str, key: &str) -> String {
    let none = Map::new();
    let known = properties(section).unwrap_or(&none);
    // A key of an enclosing section is not a misspelling of a key in this section, so it is
    // suggested first.
    let around = find(root, "", key).filter(|found| {
        found
            .strip_suffix(key)
            .is_some_and(|section| !section.is_empty() && path.starts_with(section))
    });
    let right = if let Some(around) = around {
        format!("did you mean `{around}`?")
    } else if let Some(near) = nearest(key, known.keys().map(String::as_str)) {
        format!("did you mean `{near}`?")
    } else if let Some(elsewhere) = find(root, "", key).filter(|_| !is_of_entries(root, key)) {
        format!("did you mean `{elsewhere}`?")
    } else {
        format!("known keys here are {}", known.keys().cloned().collect::<Vec<_>>().join(", "))
    };
    format!("`{path}` is not a known key; {right}")
}

/// Returns a question that precedes the hint, if the text is a misspelling of a candidate;
/// otherwise an empty text.
pub(super) fn did_you_mean<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    // A similar number is not a misspelling: 1.1 does not mean 1.3.
    let near = nearest(text, candidates)
        .filter(|near| near.starts_with(|c: char| c.is_ascii_alphabetic()));
    near.map_or_else(String::new, |near| format!("did you mean `{near}`? "))
}

/// Returns the candidate that the text most likely means; `None` if no candidate is similar enough.
pub(in crate::config) fn nearest<'a>(
    text: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .map(|candidate| {
            (
                strsim::jaro_winkler(&text.to_ascii_lowercase(), &candidate.to_ascii_lowercase()),
                candidate,
            )
        })
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Returns whether entries of a list have a key with this name. A key with a name that is common to
/// many servers, such as `url`, in a wrong section says nothing about the section that was meant.
fn is_of_entries(root: &Value, key: &str) -> bool {
    let mut lists = properties(root).into_iter().flat_map(Map::values);
    lists.any(|list| list.get("items").is_some_and(|items| has_key(items, key)))
}

/// Returns the path of the first key in the schema that has exactly this name.
fn find(section: &Value, path: &str, key: &str) -> Option<String> {
    let properties = properties(section)?;
    if properties.contains_key(key) {
        return Some(join(path, key));
    }
    properties.iter().find_map(|(name, property)| find(property, &join(path, name), key))
}
