//! Which names of the list of all repositories a caller sees.

use std::sync::Arc;

use super::rules::Rules;
use crate::identity::Verified;
use crate::registry::RepositoryName;

/// What is shown to a caller who does not see everything.
#[derive(Clone, Debug)]
pub struct CatalogFilter {
    /// What the rules let this caller pull.
    pub(super) pullable: Option<(Arc<Rules>, Box<Verified>)>,
    /// These at most.
    pub(super) at_most: Option<Vec<RepositoryName>>,
}

impl CatalogFilter {
    /// Whether the caller sees this name.
    pub fn shows(&self, name: &RepositoryName) -> bool {
        self.at_most.as_ref().is_none_or(|names| names.contains(name))
            && self.pullable.as_ref().is_none_or(|(rules, caller)| rules.allow_pull(name, caller))
    }
}
