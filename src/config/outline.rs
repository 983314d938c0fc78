//! A configuration in a form that can be compared with a later one. It contains no secret: of files
//! it holds only the hash.

use std::path::Path;

use serde_json::Value;

use super::named_file::FileVersion;
use super::shape::join;

/// The values of a configuration, including defaults, and the files that were read for it.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    values: Value,
    files: Vec<FileVersion>,
}

impl Outline {
    pub(super) fn new(values: Value, files: Vec<FileVersion>) -> Self {
        Self { values, files }
    }

    /// Returns whether the section or value at `path`, such as `identity[0]`, equals the one at
    /// `other_path` in the other outline, including the content of the files that it names.
    pub fn is_same(&self, path: &str, other: &Self, other_path: &str) -> bool {
        self.value(path) == other.value(other_path)
            && self.files_below(path).eq(other.files_below(other_path))
    }

    /// Returns the hash of the section or value at `path`, including the content of the files that
    /// it names. It is the same in every process with the same settings.
    pub fn fingerprint(&self, path: &str) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        // A length in front keeps the parts apart.
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        add(self.value(path).cloned().unwrap_or_default().to_string().as_bytes());
        for (key, _, content) in self.files_below(path) {
            add(key.as_bytes());
            add(content.as_ref().map(blake3::Hash::as_bytes).map_or(&[], |hash| &hash[..]));
        }
        hasher.finalize()
    }

    /// Returns the keys whose value, or whose file's content, differs in `newer`.
    pub fn changed(&self, newer: &Self) -> Vec<String> {
        let mut keys = Vec::new();
        differences("", &self.values, &newer.values, &mut keys);
        for file in newer.files.iter().filter(|file| !file.key.is_empty()) {
            let old = self.files.iter().find(|old| old.key == file.key);
            if old.is_some_and(|old| old.content != file.content) && !keys.contains(&file.key) {
                keys.push(file.key.clone());
            }
        }
        keys
    }

    fn value(&self, path: &str) -> Option<&Value> {
        self.values.pointer(&format!("/{}", path.replace(['.', '['], "/").replace(']', "")))
    }

    fn files_below<'a>(
        &'a self,
        path: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Path, Option<blake3::Hash>)> {
        self.files.iter().filter_map(move |file| {
            let rest = file
                .key
                .strip_prefix(path)
                .filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))?;
            Some((rest, &*file.path, file.content))
        })
    }
}

/// Collects the paths of all differences. It descends as long as both values have the same shape.
fn differences(path: &str, old: &Value, new: &Value, keys: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let all = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
            for key in all {
                let value =
                    |of: &serde_json::Map<String, Value>| of.get(key).cloned().unwrap_or_default();
                differences(&join(path, key), &value(old), &value(new), keys);
            }
        }
        (Value::Array(old), Value::Array(new))
            if old.len() == new.len() && old.iter().any(Value::is_object) =>
        {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                differences(&format!("{path}[{index}]"), old, new, keys);
            }
        }
        (old, new) if old != new => keys.push(path.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outline(values: Value, files: &[(&str, &str)]) -> Outline {
        let files = files
            .iter()
            .map(|(key, content)| FileVersion::new(key, "file".into(), Some(content.as_bytes())));
        Outline::new(values, files.collect())
    }

    #[test]
    fn changes_are_reported_by_config_key() {
        let old = json!({ "a": { "b": 1, "c": [1, 2] }, "list": [{ "x": 1 }, { "x": 2 }] });
        let new = json!({ "a": { "b": 2, "c": [1] }, "list": [{ "x": 1 }, { "x": 3, "y": 4 }] });
        let changed = outline(old.clone(), &[]).changed(&outline(new, &[]));
        assert_eq!(changed, ["a.b", "a.c", "list[1].x", "list[1].y"]);
        let longer = json!({ "a": { "b": 1, "c": [1, 2] }, "list": [{ "x": 1 }] });
        assert_eq!(outline(old.clone(), &[]).changed(&outline(longer, &[])), ["list"]);
        let changed = outline(old.clone(), &[("a.c", "1"), ("", "1")])
            .changed(&outline(old, &[("a.c", "2"), ("", "2")]));
        assert_eq!(changed, ["a.c"]);
    }

    #[test]
    fn sections_are_compared_regardless_of_their_position() {
        let old = outline(
            json!({ "list": [{ "x": 1 }, { "x": 2 }] }),
            &[("list[1].x", "1"), ("list[10].x", "1")],
        );
        let moved = outline(json!({ "list": [{ "x": 2 }, { "x": 1 }] }), &[("list[0].x", "1")]);
        assert!(moved.is_same("list[0]", &old, "list[1]"));
        assert!(moved.is_same("list[1]", &old, "list[0]"));
        assert!(!moved.is_same("list[0]", &old, "list[0]"));
        let other_file = outline(json!({ "list": [{ "x": 2 }] }), &[("list[0].x", "2")]);
        assert!(!other_file.is_same("list[0]", &old, "list[1]"));
    }
}
