//! Keys whose value is the name of a file. A secret is easily written there in place of the name of
//! its file, so no message quotes such a value.

use serde_json::Value;

use super::hint;
use crate::config::tree::{Resolved, Scalar};

/// The formats of keys that name a file.
const FORMATS: [&str; 3] = ["file", "access-log-target", "audit-log-target"];

/// Returns whether the value of a key with this format names a file.
pub(super) fn is_file_name(format: Option<&str>) -> bool {
    format.is_some_and(|format| FORMATS.contains(&format))
}

/// Returns the name of a file as written. The error is the message about a value that cannot be
/// the name of a file.
pub(super) fn read(schema: &Value, scalar: &Scalar, path: &str) -> Result<Value, String> {
    let form = hint::form(schema);
    let wrong = match scalar.resolve() {
        Resolved::Text if scalar.text.is_empty() => "is empty",
        // The lines of an unquoted value are joined, so a key pasted there has no line breaks.
        Resolved::Text if scalar.text.contains(['\n', '\r']) => {
            "contains line breaks, so it is the content of a file and not its name"
        }
        Resolved::Text if scalar.text.contains("-----BEGIN ") => {
            "is the content of a PEM file and not its name"
        }
        Resolved::Text if scalar.text.contains('\0') => {
            "contains a NUL character, which no file name contains"
        }
        Resolved::Text => return Ok(scalar.text.as_str().into()),
        Resolved::Null => "is null",
        Resolved::Boolean(_) => "is true or false without quotes",
        Resolved::Integer(_) | Resolved::Float => {
            "is a number without quotes, and the name of a file is text"
        }
    };
    Err(format!("`{path}` {wrong}; write {form}"))
}
