//! The names that a caller sees in the list of all repositories.

use std::net::IpAddr;
use std::sync::Arc;

use super::caller::Caller;
use super::rules::IndexedRules;
use crate::identity::Verified;
use crate::registry::RepositoryName;

/// A filter for a caller that does not see the whole list of repositories.
#[derive(Clone, Debug)]
pub struct CatalogFilter {
    /// The rules about what the caller may pull; `None`: they hide nothing.
    pub(super) pullable: Option<Box<Pullable>>,
    /// The only names that may be shown; `None`: any name.
    pub(super) at_most: Option<Vec<RepositoryName>>,
}

/// The rules, and the caller whose pull permission they decide.
#[derive(Clone, Debug)]
pub(super) struct Pullable {
    pub(super) rules: Arc<IndexedRules>,
    pub(super) verified: Verified,
    /// The address of the [`Caller`].
    pub(super) address: Option<IpAddr>,
}

impl CatalogFilter {
    /// Returns whether the caller sees this name.
    pub fn shows(&self, name: &RepositoryName) -> bool {
        self.at_most.as_ref().is_none_or(|names| names.contains(name))
            && self.pullable.as_ref().is_none_or(|pullable| pullable.contains(name))
    }
}

impl Pullable {
    fn contains(&self, name: &RepositoryName) -> bool {
        let caller = Caller { verified: &self.verified, address: self.address };
        self.rules.allow_pull(name, caller)
    }
}
