//! The claims of tokens, and other JSON objects that describe a caller.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Returns the current time in seconds since 1970, for `iat` and similar claims.
pub(super) fn now() -> io::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?.as_secs())
}

/// Sets a member of an object.
pub(super) fn insert(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(object) = object {
        object.insert(name.into(), value);
    }
}

/// Returns `defaults` with the members of `changes`. A member that is null is removed.
pub(super) fn changed(mut defaults: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().into_iter().flatten() {
        insert(&mut defaults, name, value.clone());
    }
    if let Value::Object(members) = &mut defaults {
        members.retain(|_, value| !value.is_null());
    }
    defaults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_can_be_changed_and_taken_away() {
        let defaults = json!({ "a": 1, "b": 2, "c": 3 });
        assert_eq!(
            changed(defaults, &json!({ "a": null, "b": 4, "d": 5 })),
            json!({ "b": 4, "c": 3, "d": 5 })
        );
    }
}
