//! The `MOORGATE_…` variables, which override keys: `MOORGATE_HTTP_ADDR` sets `http.addr`.
//!
//! A variable can set every scalar key outside lists, except `policy.mode`. It becomes a node of
//! the tree, so that its value is read and checked exactly like one from the file.

use serde_json::Value;

use super::problem::{Place, Problem, shown};
use super::schema::{allows, allows_single, properties};
use super::shape::nearest;
use super::tree::{Data, Entry, Node, Resolved, Scalar};

/// The prefix of every variable that the gate reads.
const PREFIX: &str = "MOORGATE_";

/// The variable that names the configuration file. It does not set a key.
const FILE: &str = "MOORGATE_CONFIG";

/// The key that the environment cannot set. A reader of the rules must also see there whether they
/// are enforced.
const IN_THE_FILE_ALONE: &str = "policy.mode";

/// A value that the environment sets for a key.
pub(super) struct EnvironmentOverride {
    path: Vec<String>,
    node: Node,
}

/// Returns the overrides in an environment. A variable with the gate's prefix that cannot set a key
/// is a problem.
pub(super) fn overrides(
    schema: &Value,
    environment: impl IntoIterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) -> Vec<EnvironmentOverride> {
    let mut keys = Vec::new();
    collect(schema, &mut Vec::new(), &mut keys);
    let mut overrides = Vec::new();
    for (variable, text) in environment {
        if !variable.starts_with(PREFIX) || variable == FILE {
            continue;
        }
        let place = Place::Environment(shown(&variable).into());
        match keys.iter().find(|key| key.variable == variable) {
            Some(key) if key.path.join(".") == IN_THE_FILE_ALONE => {
                let message = format!(
                    "`{IN_THE_FILE_ALONE}` cannot be set by the environment; write it in the file"
                );
                problems.push(Problem::new(place, message));
            }
            Some(key) if key.is_scalar => {
                let node = Node { place, data: Data::Scalar(scalar(key.schema, text)) };
                overrides.push(EnvironmentOverride { path: key.path.clone(), node });
            }
            Some(key) => {
                let message = format!(
                    "`{}` cannot be set by the environment because it is not a single value; write \
                     it in the file",
                    key.path.join(".")
                );
                problems.push(Problem::new(place, message));
            }
            None if is_of_a_service(&variable, &text) => {}
            None => {
                // The prefix is left out of the comparison, because it makes all variables similar.
                let bare =
                    |variable: &str| variable.strip_prefix(PREFIX).unwrap_or_default().to_owned();
                let known: Vec<String> = keys
                    .iter()
                    .filter(|key| key.is_scalar)
                    .map(|key| bare(&key.variable))
                    .collect();
                // An address has its port in it, so `HTTP_PORT` means `HTTP_ADDR`.
                let meant = bare(&variable);
                let meant = match meant.strip_suffix("_PORT").map(|of| format!("{of}_ADDR")) {
                    Some(address) if known.contains(&address) => address,
                    _ => meant,
                };
                let right = nearest(&meant, known.iter().map(String::as_str)).map_or_else(
                    || "remove the variable".to_owned(),
                    |near| format!("did you mean `{PREFIX}{near}`?"),
                );
                problems.push(Problem::new(place, format!("the variable sets no key; {right}")));
            }
        }
    }
    overrides
}

/// Returns whether Kubernetes injects this variable into every pod of a namespace with a Service
/// called moorgate, or with a name that begins with moorgate-, such as moorgate-metrics. Such a
/// variable names no key. An operator may write `MOORGATE_HTTP_PORT=8443` for a key that does not
/// exist, so the value of `…_PORT` decides too: Kubernetes writes `tcp://10.0.0.1:8443`.
fn is_of_a_service(variable: &str, value: &str) -> bool {
    let words: Vec<&str> = variable.split('_').collect();
    if words.iter().any(|word| word.is_empty()) {
        return false;
    }
    let is_number = |word: &str| word.chars().all(|c| c.is_ascii_digit());
    // The name of the service takes at least the first word.
    (1..words.len()).any(|end| match words.get(end..).unwrap_or_default() {
        ["SERVICE", "HOST" | "PORT"] | ["SERVICE", "PORT", ..] => true,
        ["PORT"] => value.contains("://"),
        ["PORT", number, "TCP" | "UDP" | "SCTP"]
        | ["PORT", number, "TCP" | "UDP" | "SCTP", "PROTO" | "PORT" | "ADDR"] => is_number(number),
        _ => false,
    })
}

/// Puts the overrides into the tree, and creates missing sections.
pub(super) fn apply(root: &mut Node, overrides: Vec<EnvironmentOverride>) {
    for EnvironmentOverride { path, node } in overrides {
        if let Some(slot) = slot(root, &path, &node.place) {
            *slot = node;
        }
    }
}

/// Returns the node for the value of a key, which is created if it is missing. `None` if the file
/// has no section that could hold the key, which was reported when the file was read.
fn slot<'a>(root: &'a mut Node, path: &[String], place: &Place) -> Option<&'a mut Node> {
    let mut slot = root;
    for key in path {
        if slot.is_null() {
            *slot = Node { place: place.clone(), data: Data::Mapping(Vec::new()) };
        }
        let Data::Mapping(entries) = &mut slot.data else { return None };
        let index = entries.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
            let nothing = Data::Scalar(Scalar { text: String::new(), plain: true });
            let value = Node { place: place.clone(), data: nothing };
            entries.push(Entry { key: key.clone(), place: place.clone(), value });
            entries.len() - 1
        });
        slot = &mut entries.get_mut(index)?.value;
    }
    Some(slot)
}

/// A key of the schema and the variable that sets it.
struct Key<'a> {
    variable: String,
    path: Vec<String>,
    schema: &'a Value,
    is_scalar: bool,
}

/// Collects every key of a section and of the sections in it.
fn collect<'a>(section: &'a Value, path: &mut Vec<String>, keys: &mut Vec<Key<'a>>) {
    for (name, schema) in properties(section).into_iter().flatten() {
        path.push(name.clone());
        if properties(schema).is_some() {
            collect(schema, path, keys);
        } else {
            let variable = format!("{PREFIX}{}", path.join("_").to_ascii_uppercase());
            let is_scalar = allows_single(schema);
            keys.push(Key { variable, path: path.clone(), schema, is_scalar });
        }
        path.pop();
    }
}

/// Returns the text of a variable as a scalar of the key's type. Text needs no quotes in a
/// variable.
fn scalar(schema: &Value, text: String) -> Scalar {
    let mut scalar = Scalar { text, plain: true };
    let is_null =
        scalar.resolve() == Resolved::Null && !scalar.text.is_empty() && allows(schema, "null");
    scalar.plain = is_null || !allows(schema, "string");
    scalar
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_variable_names_one_key() {
        let schema = crate::config::schema::derived();
        let mut keys = Vec::new();
        collect(&schema, &mut Vec::new(), &mut keys);
        let variables: HashSet<&str> = keys.iter().map(|key| key.variable.as_str()).collect();
        assert_eq!(variables.len(), keys.len());
        assert!(variables.contains("MOORGATE_HTTP_TLS_MINIMUM_VERSION"));
        assert!(variables.iter().all(|variable| !is_of_a_service(variable, "tcp://x")));
    }

    #[test]
    fn variables_of_kubernetes_are_known_by_their_shape() {
        let address = "tcp://10.0.0.1:9464";
        for service in ["MOORGATE", "MOORGATE_METRICS", "MOORGATE_ADMIN", "MOORGATE_2_HTTP"] {
            for (end, value) in [
                ("SERVICE_HOST", "10.0.0.1"),
                ("SERVICE_PORT", "9464"),
                ("SERVICE_PORT_HTTP_METRICS", "9464"),
                ("PORT", address),
                ("PORT_9464_TCP", address),
                ("PORT_9464_TCP_PROTO", "tcp"),
                ("PORT_9464_TCP_PORT", "9464"),
                ("PORT_9464_TCP_ADDR", "10.0.0.1"),
                ("PORT_53_UDP_ADDR", "10.0.0.1"),
                ("PORT_53_SCTP", "sctp://10.0.0.1:53"),
            ] {
                assert!(is_of_a_service(&format!("{service}_{end}"), value), "{service}_{end}");
            }
        }
        for (other, value) in [
            ("MOORGATE_PORTX", address),
            ("MOORGATE_HTTP_PORT", "8443"),
            ("MOORGATE_PORT", "8443"),
            ("MOORGATE_PORT_X_TCP", address),
            ("MOORGATE_PORT_1_TCP_NAME", "x"),
            ("MOORGATE_PORT_1_ICMP", "x"),
            ("MOORGATE_SERVICE_HOSTS", "10.0.0.1"),
            ("MOORGATE_SERVICE_", "10.0.0.1"),
            ("MOORGATE_SERVICE", "10.0.0.1"),
            ("MOORGATE__PORT", address),
            ("MOORGATE_METRICS", address),
        ] {
            assert!(!is_of_a_service(other, value), "{other}");
        }
    }
}
