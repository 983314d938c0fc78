//! Reads the tree by the schema: well-formed values are passed on, and every other value is a
//! problem.
//!
//! The result holds only keys that the schema knows, with values of their type and format. Serde
//! can therefore build the raw configuration from it even if other parts of the file are wrong, and
//! the checks that follow still run.

mod file_name;
mod hint;

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::format;
use super::problem::{Place, Problem, shown};
use super::schema::{allows, allows_single, list, properties, variants};
use super::tree::{Data, Entry, Node, Resolved, Scalar};

pub(super) use hint::nearest;

/// The place of each value that was read, by its path, such as `identity[0].url`.
pub(super) type Places = HashMap<String, Place>;

/// Returns the place of a value, or of the nearest section around it if the value is a default.
pub(super) fn place_of(places: &Places, start: &Place, path: &str) -> Place {
    let sections = path.match_indices(['.', '[']).map(|(end, _)| end).chain([path.len()]).rev();
    let mut written = sections.filter_map(|end| places.get(path.get(..end)?));
    written.next().or_else(|| places.get("")).unwrap_or(start).clone()
}

/// The result of reading a file.
pub(super) struct Reading {
    pub(super) value: Value,
    pub(super) places: Places,
    pub(super) problems: Vec<Problem>,
}

/// The treatment of a required key that is missing.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum MissingKeys {
    Reported,
    /// The environment may still supply the key.
    Ignored,
}

/// Reads a whole file. `start` is the place of a problem that concerns the whole file, such as a
/// missing key at the top level.
pub(super) fn read(schema: &Value, root: &Node, start: &Place, missing: MissingKeys) -> Reading {
    let mut walk = Walk { schema, missing, places: Places::new(), problems: Vec::new() };
    let value = walk.value(schema, root, start, "").unwrap_or(Value::Null);
    Reading { value, places: walk.places, problems: walk.problems }
}

/// Returns the path of a key in a section.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

struct Walk<'a> {
    schema: &'a Value,
    missing: MissingKeys,
    places: Places,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    /// Returns the value of a node; `None` if it does not have the right form, which is then
    /// reported. `key` is the place of the node's key.
    fn value(&mut self, schema: &Value, node: &Node, key: &Place, path: &str) -> Option<Value> {
        let place = if matches!(node.data, Data::Mapping(_)) { key } else { &node.place };
        self.places.insert(path.to_owned(), place.clone());
        if node.is_null() {
            if allows(schema, "null") {
                return Some(Value::Null);
            }
            // A key without a value is, for example, a section whose keys are all commented out.
            let or_remove = if may_be_absent(schema) { ", or remove the key" } else { "" };
            let message = format!("`{path}` has no value; write {}{or_remove}", hint::form(schema));
            self.problem(key, message);
            return None;
        }
        if let Data::Scalar(scalar) = &node.data
            && allows(schema, "null")
            && scalar.unquoted() == Resolved::Null
        {
            let null = &scalar.text;
            let message =
                format!("`{path}`: \"{null}\" in quotes is text; write {null} without quotes");
            self.problem(&node.place, message);
            return None;
        }
        match &node.data {
            Data::Mapping(entries) if !variants(schema).is_empty() => {
                self.tagged(schema, entries, key, path)
            }
            Data::Mapping(entries) if allows(schema, "object") => {
                Some(self.mapping(schema, entries, key, path))
            }
            Data::List(items) if allows(schema, "array") => {
                self.list(schema, items, &node.place, path)
            }
            Data::Scalar(scalar) if allows_single(schema) => self
                .scalar(schema, scalar, path)
                .map_err(|message| self.problem(&node.place, message))
                .ok(),
            data => {
                let path = if path.is_empty() { "the file" } else { &format!("`{path}`") };
                let message = format!("{path} is {}; write {}", kind(data), hint::form(schema));
                self.problem(&node.place, message);
                None
            }
        }
    }

    /// Reads the section of the variant that `type` names.
    fn tagged(
        &mut self,
        union: &Value,
        entries: &[Entry],
        key: &Place,
        path: &str,
    ) -> Option<Value> {
        let name_of =
            |variant: &Value| Some(variant.pointer("/properties/type/const")?.as_str()?.to_owned());
        let names: Vec<String> = variants(union).iter().filter_map(name_of).collect();
        let right = hint::alternatives(&names);
        let Some(entry) = entries.iter().find(|entry| entry.key == "type") else {
            self.problem(key, format!("`{path}.type` is missing; write {right}"));
            return None;
        };
        if entry.value.is_null() {
            self.problem(&entry.place, format!("`{path}.type` has no value; write {right}"));
            return None;
        }
        let Data::Scalar(Scalar { text, .. }) = &entry.value.data else {
            let message = format!("`{path}.type` is {}; write {right}", kind(&entry.value.data));
            self.problem(&entry.value.place, message);
            return None;
        };
        match variants(union)
            .iter()
            .find(|variant| name_of(variant).is_some_and(|name| name == *text))
        {
            Some(variant) => Some(self.mapping(variant, entries, key, path)),
            None => {
                let near = hint::did_you_mean(text, names.iter().map(String::as_str));
                let message =
                    format!("`{path}.type`: `{}` is not known; {near}write {right}", shown(text));
                self.problem(&entry.value.place, message);
                None
            }
        }
    }

    fn mapping(&mut self, section: &Value, entries: &[Entry], key: &Place, path: &str) -> Value {
        let mut read = Map::new();
        for entry in entries {
            let path = join(path, &shown(&entry.key));
            let known = properties(section).and_then(|properties| properties.get(&entry.key));
            let of_any_name = section.get("additionalProperties").filter(|any| any.is_object());
            let Some(schema) = known.or(of_any_name) else {
                self.problem(
                    &entry.place,
                    hint::unknown_key(self.schema, section, &path, &entry.key),
                );
                continue;
            };
            let format_of_names = section.pointer("/propertyNames/format").and_then(Value::as_str);
            if let Some(Err(message)) =
                format_of_names.and_then(|format| format::check(format, &entry.key))
            {
                self.problem(&entry.place, format!("`{path}`: {message}"));
                continue;
            }
            if let Some(value) = self.value(schema, &entry.value, &entry.place, &path) {
                read.insert(entry.key.clone(), value);
            }
        }
        if self.missing == MissingKeys::Reported {
            self.report_missing(section, entries, key, path);
        }
        Value::Object(read)
    }

    /// Reports the required keys that are missing. If a required section is missing, all keys that
    /// it requires are missing too.
    fn report_missing(&mut self, schema: &Value, entries: &[Entry], key: &Place, path: &str) {
        for name in list(schema, "required").iter().filter_map(Value::as_str) {
            let Some(property) = properties(schema).and_then(|properties| properties.get(name))
            else {
                continue;
            };
            let path = join(path, name);
            if entries.iter().any(|entry| entry.key == name) {
                continue;
            }
            if properties(property).is_some() {
                self.report_missing(property, &[], key, &path);
            } else {
                self.problem(
                    key,
                    format!("`{path}` is missing; write {name}: {}", hint::example(property)),
                );
            }
        }
    }

    fn list(&mut self, schema: &Value, items: &[Node], place: &Place, path: &str) -> Option<Value> {
        let bound = |name| {
            schema.get(name).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok())
        };
        if bound("minItems").is_some_and(|least| items.len() < least) {
            self.problem(place, format!("`{path}` is an empty list; write {}", hint::form(schema)));
            return None;
        }
        let most = bound("maxItems").unwrap_or(usize::MAX);
        if let Some(extra) = items.get(most) {
            let message = format!(
                "`{path}` has {} entries, but may have at most {most}; remove the rest",
                items.len()
            );
            self.problem(&extra.place, message);
        }
        let schema = schema.get("items").unwrap_or(&Value::Null);
        let mut read = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match self.value(schema, item, &item.place, &format!("{path}[{index}]")) {
                Some(value) => read.push(value),
                // A null in place of the item keeps the index of the later items right.
                None if !variants(schema).is_empty() || properties(schema).is_some() => {
                    read.push(Value::Null)
                }
                None => {}
            }
        }
        Some(Value::Array(read))
    }

    /// Returns the value of a scalar. The error is the message that says what is wrong.
    fn scalar(&self, schema: &Value, scalar: &Scalar, path: &str) -> Result<Value, String> {
        let text = scalar.text.as_str();
        let wrong = |what: &str| {
            format!("`{path}`: `{}` {what}; write {}", shown(text), hint::form(schema))
        };
        let format = schema.get("format").and_then(Value::as_str);
        if let Some(result) = format.and_then(|format| format::check(format, text)) {
            return result
                .map(|()| Value::from(text))
                .map_err(|message| format!("`{path}`: {message}"));
        }
        if file_name::is_file_name(format) {
            return file_name::read(schema, scalar, path);
        }
        if let Some(known) = schema.get("enum").or_else(|| schema.get("const")) {
            return self.one_of(known, schema, scalar, path);
        }
        let resolved = scalar.resolve();
        let in_quotes_is_text = || {
            let value = text.trim();
            format!("`{path}`: \"{value}\" in quotes is text; write {value} without quotes")
        };
        if allows(schema, "boolean") {
            return match resolved {
                Resolved::Boolean(value) => Ok(value.into()),
                _ if matches!(scalar.unquoted(), Resolved::Boolean(_)) => Err(in_quotes_is_text()),
                _ => Err(wrong("is neither true nor false")),
            };
        }
        if allows(schema, "integer") {
            let bound = |name| schema.get(name).and_then(Value::as_i64);
            return match resolved {
                Resolved::Integer(value) if bound("minimum").is_some_and(|least| value < least) => {
                    Err(wrong("is too small"))
                }
                Resolved::Integer(value) if bound("maximum").is_some_and(|most| value > most) => {
                    Err(wrong("is too large"))
                }
                Resolved::Integer(value) => Ok(value.into()),
                _ if matches!(scalar.unquoted(), Resolved::Integer(_)) => Err(in_quotes_is_text()),
                _ => Err(wrong("is not a whole number")),
            };
        }
        if allows(schema, "number") {
            let bound = |name| schema.get(name).and_then(Value::as_f64);
            let is_number = |it| matches!(it, Resolved::Integer(_) | Resolved::Float);
            return match text.parse::<f64>() {
                Ok(value) if is_number(resolved) => {
                    if bound("minimum").is_some_and(|least| value < least) {
                        Err(wrong("is too small"))
                    } else if bound("maximum").is_some_and(|most| value > most) {
                        Err(wrong("is too large"))
                    } else {
                        Ok(value.into())
                    }
                }
                _ if is_number(scalar.unquoted()) => Err(in_quotes_is_text()),
                _ => Err(wrong("is not a number")),
            };
        }
        match resolved {
            Resolved::Text if text.is_empty() && schema.get("minLength").is_some() => {
                Err(format!("`{path}` is empty; write {}", hint::form(schema)))
            }
            Resolved::Text => Ok(text.into()),
            Resolved::Null => Err(wrong("is null")),
            Resolved::Boolean(_) | Resolved::Integer(_) | Resolved::Float => {
                Err(needs_quotes(path, text))
            }
        }
    }

    fn one_of(
        &self,
        known: &Value,
        schema: &Value,
        scalar: &Scalar,
        path: &str,
    ) -> Result<Value, String> {
        let text = scalar.text.as_str();
        let known = known.as_array().map_or(std::slice::from_ref(known), Vec::as_slice);
        // Numbers can be compared as text, because JSON and YAML write them in the same way.
        let texts = known
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let found =
            known.iter().zip(texts).find(|(_, known)| known == text).map(|(value, _)| value);
        match found {
            Some(Value::String(_)) if scalar.resolve() != Resolved::Text => {
                Err(needs_quotes(path, text))
            }
            Some(value) => Ok(value.clone()),
            None => {
                let near = hint::did_you_mean(text, known.iter().filter_map(Value::as_str));
                Err(format!(
                    "`{path}`: `{}` is not known; {near}write {}",
                    shown(text),
                    hint::form(schema)
                ))
            }
        }
    }

    fn problem(&mut self, place: &Place, message: String) {
        self.problems.push(Problem::new(place.clone(), message));
    }
}

/// Returns the kind of a value, in words.
fn kind(data: &Data) -> &'static str {
    match data {
        Data::Mapping(_) => "a section of keys",
        Data::List(_) => "a list",
        Data::Scalar(_) => "a single value",
    }
}

/// Returns whether a key has a default, either its own or the defaults of all keys in it.
fn may_be_absent(schema: &Value) -> bool {
    schema.get("default").is_some()
        || properties(schema).is_some() && list(schema, "required").is_empty()
}

/// Returns the message for a text that needs quotes, because YAML reads a bare 1.2 as a number and
/// a bare true as a boolean.
fn needs_quotes(path: &str, text: &str) -> String {
    format!("`{path}`: `{}` without quotes is not text; write \"{}\"", shown(text), shown(text))
}
