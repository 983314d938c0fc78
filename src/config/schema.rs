//! The JSON schema of the configuration file, derived from [`Raw`].

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::{Map, Value};

use super::raw::Raw;

/// Returns the schema of the configuration file as text, as it is printed and committed.
pub fn schema() -> String {
    format!("{:#}\n", derived())
}

/// Returns the schema as a value. It contains no references, so that readers need not resolve any.
pub(super) fn derived() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.transforms.push(Box::new(Required));
    settings.transforms.push(Box::new(Unwrapped));
    settings.into_generator().into_root_schema_for::<Raw>().to_value()
}

/// Returns whether a value of this schema may have the JSON type, including `null`.
pub(super) fn allows(schema: &Value, json_type: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(only)) => only == json_type,
        Some(Value::Array(several)) => several.iter().any(|one| one == json_type),
        _ => variants(schema).iter().any(|variant| allows(variant, json_type)),
    }
}

/// Returns whether a single value may be of this schema. A value that may be one text or a list of
/// texts is such a value too.
pub(super) fn allows_single(schema: &Value) -> bool {
    allows(schema, "string") || !allows(schema, "array") && !allows(schema, "object")
}

/// Returns the sections of a tagged union.
pub(super) fn variants(schema: &Value) -> &[Value] {
    list(schema, "oneOf")
}

/// Returns a list of the schema; empty if the schema does not have it.
pub(super) fn list<'a>(schema: &'a Value, key: &str) -> &'a [Value] {
    schema.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Returns the keys of a section, with their schemas.
pub(super) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

/// Returns whether any section of the schema has a key with this name.
pub(super) fn has_key(schema: &Value, key: &str) -> bool {
    properties(schema).is_some_and(|keys| {
        keys.contains_key(key) || keys.values().any(|schema| has_key(schema, key))
    }) || schema.get("items").is_some_and(|items| has_key(items, key))
        || variants(schema).iter().any(|variant| has_key(variant, key))
}

/// A transform that joins the lines of each description, which the doc comment of its field wraps.
#[derive(Clone, Debug)]
struct Unwrapped;

impl Transform for Unwrapped {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        if let Some(Value::String(description)) = schema.get_mut("description") {
            *description = description.replace('\n', " ");
        }
    }
}

/// A transform that adds the required keys of a section. schemars treats every field of a struct
/// with a default as optional. A key is required if its default is null but it may not be null,
/// and so is a section with required keys. A section that may not be null loses its own default,
/// because its keys have defaults.
#[derive(Clone, Debug)]
struct Required;

impl Transform for Required {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
            return;
        };
        let mut required = Vec::new();
        for (key, property) in properties {
            let default = property.get("default");
            let may_be_null = allows(property, "null");
            let has_no_default = default.is_some_and(Value::is_null) && !may_be_null;
            let is_section = property.get("properties").is_some();
            let has_required = is_section && property.get("required").is_some();
            if has_no_default || has_required && !may_be_null {
                required.push(Value::from(key.as_str()));
            }
            if has_no_default || is_section && !may_be_null {
                property.as_object_mut().and_then(|property| property.remove("default"));
            }
        }
        match schema.get_mut("required").and_then(Value::as_array_mut) {
            _ if required.is_empty() => {}
            Some(present) => present.extend(required),
            None => {
                schema.insert("required".to_owned(), Value::Array(required));
            }
        }
    }
}
