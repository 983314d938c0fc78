//! What would be right: the second half of a message, from the schema.

use serde_json::{Map, Value};

use super::join;
use crate::config::print::scalar;
use crate::config::schema::{allows, list, properties, variants};

/// How alike two words are before one is taken for a slip of the other, by Jaro and Winkler, from 0
/// to 1.
const ALIKE: f64 = 0.82;

/// The form of a value, to stand behind "write".
pub(super) fn form(schema: &Value) -> String {
    if let Some(known) = schema.get("enum") {
        let known: Vec<String> =
            known.as_array().map_or(&[][..], Vec::as_slice).iter().map(scalar).collect();
        return known.join(" or ");
    }
    if allows(schema, "array") {
        return format!("a list such as {}", example(schema));
    }
    if !variants(schema).is_empty() {
        return example(schema);
    }
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => return format!("a whole number from {least} to {most}"),
        (Some(least), None) => return format!("a whole number from {least}"),
        _ => {}
    }
    if let Some(example) = list(schema, "examples").first() {
        let or_none =
            if allows(schema, "object") && allows(schema, "null") { ", or null" } else { "" };
        return format!("e.g. {}{or_none}", scalar(example));
    }
    if allows(schema, "object") {
        return "keys and values, indented below it".to_owned();
    }
    if allows(schema, "boolean") {
        return "true or false".to_owned();
    }
    "text".to_owned()
}

/// A value of the schema.
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

/// The message for a key that its section does not have.
pub(super) fn unknown_key(root: &Value, section: &Value, path: &str, key: &str) -> String {
    let none = Map::new();
    let known = properties(section).unwrap_or(&none);
    // A key of a section around this one is no slip of another one here.
    let around = find(root, "", key).filter(|found| {
        found
            .strip_suffix(key)
            .is_some_and(|section| !section.is_empty() && path.starts_with(section))
    });
    let right = if let Some(around) = around {
        format!("did you mean `{around}`?")
    } else if let Some(near) = nearest(key, known.keys().map(String::as_str)) {
        format!("did you mean `{near}`?")
    } else if let Some(elsewhere) = find(root, "", key) {
        format!("did you mean `{elsewhere}`?")
    } else {
        format!("known here are {}", known.keys().cloned().collect::<Vec<_>>().join(", "))
    };
    format!("`{path}` is not a known key; {right}")
}

/// A question to stand before what would be right, where the text is a slip of a candidate.
pub(super) fn did_you_mean<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    // Numbers that look alike say nothing: 1.1 is no slip of 1.3.
    let near = nearest(text, candidates)
        .filter(|near| near.starts_with(|c: char| c.is_ascii_alphabetic()));
    near.map_or_else(String::new, |near| format!("did you mean {near}? "))
}

/// The candidate that the text most likely meant.
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

/// Where the schema has this very key.
fn find(section: &Value, path: &str, key: &str) -> Option<String> {
    let properties = properties(section)?;
    if properties.contains_key(key) {
        return Some(join(path, key));
    }
    properties.iter().find_map(|(name, property)| find(property, &join(path, name), key))
}
