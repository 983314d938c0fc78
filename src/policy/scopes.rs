//! What each action needs of a credential whose provider speaks in scopes (section `scopes` of the
//! config).

use std::collections::{BTreeMap, BTreeSet};

use crate::registry::Action;

/// The scopes that a credential needs for each action: every one that is listed. No list is empty.
#[derive(Clone, Debug)]
pub struct RequiredScopes {
    /// For reading.
    pub pull: Vec<String>,
    /// For writing.
    pub push: Vec<String>,
    /// For deleting.
    pub delete: Vec<String>,
    /// The scopes that a scope stands for, by its name.
    pub equivalents: BTreeMap<String, Vec<String>>,
}

impl RequiredScopes {
    /// What of it the scopes lack.
    pub(super) fn missing(&self, action: Action, scopes: &[String]) -> Vec<String> {
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

    /// The scopes with everything that they stand for.
    fn closure<'a>(&'a self, scopes: &'a [String]) -> BTreeSet<&'a str> {
        let mut held = BTreeSet::new();
        let mut open: Vec<&str> = scopes.iter().map(String::as_str).collect();
        while let Some(scope) = open.pop() {
            if held.insert(scope) {
                open.extend(self.equivalents.get(scope).into_iter().flatten().map(String::as_str));
            }
        }
        held
    }
}
