//! A JSON object as any other reader might see it: all its members in order, including repeated
//! ones.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// The members of an object.
pub struct Members(pub Vec<(String, Value)>);

impl Members {
    /// Reads an object. Returns `None` for anything else.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Returns the value of a member. Panics if the member is repeated, because readers disagree
    /// about such an object and the gate must not accept it.
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

/// Returns the scopes in `scope`: the words of a text (RFC 6749, 3.3), or the list that some
/// issuers send.
pub fn scopes(value: &Value) -> Vec<String> {
    if value.is_array() {
        return in_list(value);
    }
    let words = value.as_str().unwrap_or_default().split(' ');
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Returns the texts of a list that are not empty. Other elements are ignored.
pub fn in_list(value: &Value) -> Vec<String> {
    texts(value).into_iter().filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

/// Returns the texts of a text or of a list of texts.
pub fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect(),
    }
}
