//! The effective configuration, printed as YAML that can be read again.

use std::path::Path;

use serde_json::{Map, Value};

use super::raw::Raw;
use super::tree::{Resolved, Scalar};

/// Returns the whole configuration as YAML, including defaults. Paths become absolute, so that the
/// output is correct in every folder.
pub(super) fn print(raw: &Raw, folder: &Path) -> String {
    let mut raw = raw.clone();
    for path in paths(&mut raw) {
        // YAML cannot represent a folder name that is not Unicode. The path then stays as written.
        if let Some(absolute) =
            std::path::absolute(folder.join(&*path)).ok().as_deref().and_then(Path::to_str)
        {
            *path = absolute.to_owned();
        }
    }
    let mut out = String::new();
    if let Ok(Value::Object(sections)) = serde_json::to_value(&raw) {
        for (index, (key, value)) in sections.iter().enumerate() {
            if index > 1 {
                out.push('\n');
            }
            entry(&mut out, "", key, value);
        }
    }
    out
}

/// Returns every path that the configuration names.
fn paths(raw: &mut Raw) -> Vec<&mut String> {
    let mut paths: Vec<&mut String> = Vec::new();
    if let Some(tls) = &mut raw.http.tls {
        paths.extend(&mut tls.certificate);
        paths.extend(&mut tls.key);
    }
    paths.extend(&mut raw.admin.token_file);
    paths.extend(&mut raw.upstream.password_file);
    paths.extend(&mut raw.upstream.ca);
    paths.extend(&mut raw.upstream.proxy_credentials_file);
    paths.extend(&mut raw.upstream.certificate);
    paths.extend(&mut raw.upstream.key);
    for provider in raw.identity.iter_mut().flatten().flatten() {
        paths.extend(provider.files());
    }
    paths.extend(&mut raw.tokens.key_file);
    if let Some(redis) = &mut raw.redis {
        paths.extend(&mut redis.password_file);
        paths.extend(&mut redis.ca);
    }
    if !matches!(raw.log.access.as_str(), "stdout" | "off") {
        paths.push(&mut raw.log.access);
    }
    if raw.log.audit != "off" {
        paths.push(&mut raw.log.audit);
    }
    paths
}

/// Appends a key, its value and a newline.
fn entry(out: &mut String, indent: &str, key: &str, value: &Value) {
    let key = scalar(&Value::from(key));
    match value {
        Value::Object(section) if !section.is_empty() => {
            out.push_str(&format!("{indent}{key}:\n"));
            entries(out, &format!("{indent}  "), section);
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            out.push_str(&format!("{indent}{key}:\n"));
            for item in items {
                let mut lines = String::new();
                if let Value::Object(section) = item {
                    entries(&mut lines, &format!("{indent}    "), section);
                }
                // The dash stands before the first line of an entry.
                out.push_str(&format!("{indent}  - {}", lines.trim_start()));
            }
        }
        value => out.push_str(&format!("{indent}{key}: {}\n", scalar(value))),
    }
}

fn entries(out: &mut String, indent: &str, section: &Map<String, Value>) {
    for (key, value) in section {
        entry(out, indent, key, value);
    }
}

/// Returns a value on one line. A text that YAML could read as anything else is quoted, as in JSON.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(scalar).collect::<Vec<_>>().join(", "))
        }
        Value::Object(keys) if !keys.is_empty() => {
            let keys = keys.iter().map(|(key, value)| format!("{key}: {}", scalar(value)));
            format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
        }
        value => value.to_string(),
    }
}

/// Returns whether a text needs no quotes: YAML reads it as text, and it contains no special
/// character of YAML. Words, numbers with a unit, paths and URLs need none.
fn is_plain(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    let of_words = text.chars().all(|c| c.is_ascii_alphanumeric() || "._/:+@-".contains(c));
    let scalar = Scalar { text: text.to_owned(), plain: true };
    starts && of_words && !text.ends_with(':') && scalar.resolve() == Resolved::Text
}
