//! The names that a caller sees in the list of all repositories.

use std::sync::Arc;

use super::rules::IndexedRules;
use crate::identity::Verified;
use crate::registry::RepositoryName;

/// A filter for a caller that does not see the whole list of repositories.
#[derive(Clone, Debug)]
pub struct CatalogFilter {
    /// The rules, and the caller whose pull permission they decide; `None`: the rules hide
    /// nothing.
    pub(super) pullable: Option<(Arc<IndexedRules>, Box<Verified>)>,
    /// The only names that may be shown; `None`: any name.
    pub(super) at_most: Option<Vec<RepositoryName>>,
}

impl CatalogFilter {
    /// Returns whether the caller sees this name.
    pub fn shows(&self, name: &RepositoryName) -> bool {
        self.at_most.as_ref().is_none_or(|names| names.contains(name))
            && self.pullable.as_ref().is_none_or(|(rules, caller)| rules.allow_pull(name, caller))
    }
}
