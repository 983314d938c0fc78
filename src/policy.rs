//! The decision: whether a verified credential may do what a request wants. Pure.
//!
//! The result is a [`Decision`], and in the end a [`Permit`], which nothing else can build and without which nothing is
//! forwarded.

mod decision;
mod scopes;

use std::collections::BTreeMap;

use crate::denial::{Denial, Missing};
use crate::identity::{Granted, TokenServerKind, Verified};
use crate::registry::{Access, Action, Actions, RegistryRequest, RepositoryName};
use scopes::ScopeNeeds;

pub use decision::{Decision, Permit, TagLookUp};

/// What is allowed to whom.
#[derive(Clone, Debug)]
pub struct Policy {
    scopes: ScopeNeeds,
}

impl Policy {
    /// A policy from the lists of the config.
    pub fn new(
        pull: Vec<String>,
        push: Vec<String>,
        delete: Vec<String>,
        equivalents: BTreeMap<String, Vec<String>>,
    ) -> Self {
        Self { scopes: ScopeNeeds { pull, push, delete, equivalents } }
    }

    /// Decides. `verified` is the answer about what the request [requires](RegistryRequest::required).
    ///
    /// # Errors
    /// [`Denial::InsufficientRights`] says what is missing, [`Denial::NoCredential`] that nothing was presented;
    /// [`Denial::TagRules`] which tag may not be touched; the catalog is closed to everybody.
    pub fn authorize(&self, request: RegistryRequest, verified: &Verified) -> Result<Decision, Denial> {
        self.check(&request.required(), verified)?;
        let grant = request.repository().and_then(|name| verified.granted.repository(name));
        let must_not_exist =
            grant.map(|grant| grant.tags.check(&request)).transpose().map_err(Denial::TagRules)?.unwrap_or_default();
        let grant = verified.granted.token().cloned();
        let (request, mount) = request.split_mount();
        Ok(Decision { request, mount, must_not_exist, grant })
    }

    /// Gives the request its mount where the credential may pull from the source. `verified` is the answer about
    /// [`Decision::mount_source`].
    #[must_use]
    pub fn allow_mount(&self, mut decision: Decision, verified: &Verified) -> Decision {
        let allowed = decision.mount_source().is_some_and(|source| self.check(&source, verified).is_ok());
        if let Some(mount) = decision.mount.take().filter(|_| allowed) {
            decision.request = decision.request.with_mount(mount);
            decision.grant = verified.granted.token().cloned();
        }
        decision
    }

    /// What of this the credential has: never more than was asked, and nothing that a request would be refused. A
    /// repository for which there is nothing is left out. `verified` is the answer about `asked`.
    pub fn granted(&self, asked: &Access, verified: &Verified) -> Vec<(RepositoryName, Actions)> {
        let granted = asked.repositories().map(|(name, actions)| {
            (name.clone(), actions.filter(|action| self.check_action(name, action, verified).is_ok()))
        });
        granted.filter(|(_, actions)| *actions != Actions::default()).collect()
    }

    fn check(&self, access: &Access, verified: &Verified) -> Result<(), Denial> {
        let checked = match access {
            Access::Login => Ok(()),
            Access::Catalog => Err(Denial::CatalogClosed),
            Access::Repository(name, action) => self.check_action(name, *action, verified),
            Access::Repositories(several) => several
                .iter()
                .flat_map(|(name, actions)| actions.each().map(move |action| (name, action)))
                .try_for_each(|(name, action)| self.check_action(name, action, verified)),
        };
        // Who has shown no credential is asked for one, and told nothing of what is there.
        checked.map_err(|denial| if verified.principal.is_anonymous() { Denial::NoCredential } else { denial })
    }

    /// The lines that decide whether a push is allowed, and everything else. What a grant allows is
    /// [`Actions::allow`].
    fn check_action(&self, name: &RepositoryName, action: Action, verified: &Verified) -> Result<(), Denial> {
        let missing = match &verified.granted {
            Granted::Scopes(scopes) => match self.scopes.missing(action, scopes) {
                missing if missing.is_empty() => return Ok(()),
                missing => Missing::Scopes(missing),
            },
            granted => match granted.repository(name) {
                Some(grant) if grant.actions.allow(action) => return Ok(()),
                _ if granted.repositories().iter().any(|grant| grant.server == TokenServerKind::Other) => {
                    Missing::Grant(verified.principal.source.provider.clone(), action)
                }
                _ => Missing::GitLabGrant(action),
            },
        };
        Err(Denial::InsufficientRights(missing))
    }
}

#[cfg(test)]
mod tests;
