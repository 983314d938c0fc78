//! The scopes that each action needs, for credentials whose provider reports scopes (section
//! `scopes` of the config).

use std::collections::{BTreeMap, BTreeSet};

use crate::identity::PackedScopes;
use crate::registry::Action;

/// The scopes that a credential needs for each action. All listed scopes are needed, and each of
/// the lists `pull`, `push` and `delete` has at least one.
#[derive(Clone, Debug)]
pub struct RequiredScopes {
    /// The scopes for reading.
    pub pull: Vec<String>,
    /// The scopes for writing.
    pub push: Vec<String>,
    /// The scopes for deleting.
    pub delete: Vec<String>,
    /// The scopes that a scope includes, by the name of the including scope.
    pub equivalents: BTreeMap<String, Vec<String>>,
}

impl RequiredScopes {
    /// Returns the scopes that `action` needs and that `scopes` do not include.
    pub(super) fn missing(&self, action: Action, scopes: &PackedScopes) -> Vec<String> {
        let needed = self.needed(action);
        if needed.iter().all(|scope| scopes.contains(scope)) {
            return Vec::new();
        }
        let held = self.closure(scopes);
        needed.iter().filter(|scope| !held.contains(scope.as_str())).cloned().collect()
    }

    fn needed(&self, action: Action) -> &[String] {
        match action {
            Action::Pull => &self.pull,
            Action::Push => &self.push,
            Action::Delete => &self.delete,
        }
    }

    /// Returns the scopes together with everything that they include.
    fn closure<'a>(&'a self, scopes: &'a PackedScopes) -> BTreeSet<&'a str> {
        let mut held = BTreeSet::new();
        let mut open: Vec<&str> = scopes.iter().collect();
        while let Some(scope) = open.pop() {
            if held.insert(scope) {
                open.extend(self.equivalents.get(scope).into_iter().flatten().map(String::as_str));
            }
        }
        held
    }
}
