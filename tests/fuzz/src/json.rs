//! A JSON object as every other reader might see it: all its members in order, those that come
//! twice included.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// The members of an object.
pub struct Members(pub Vec<(String, Value)>);

impl Members {
    /// Reads an object; `None` for anything else.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The value of a member that everybody reads alike. Panics where it stands twice: no such
    /// object may be accepted.
    pub fn value(&self, name: &str) -> &Value {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
        let value = values.next();
        assert!(values.next().is_none(), "`{name}` stands twice");
        value.unwrap_or(&Value::Null)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = entries.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// What `scope` holds: the words of a text (RFC 6749, 3.3), or the list that some issuers send.
pub fn scopes(value: &Value) -> Vec<String> {
    if value.is_array() {
        return in_list(value);
    }
    let words = value.as_str().unwrap_or_default().split(' ');
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The texts of a list that are not empty: what else is in it counts for nothing.
pub fn in_list(value: &Value) -> Vec<String> {
    texts(value).into_iter().filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

/// A text, or a list of texts.
pub fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect(),
    }
}
