//! The decision: whether a verified credential may do what a request wants. Pure.
//!
//! The result is a [`Decision`], and in the end a [`Permit`], which nothing else can build and
//! without which nothing is forwarded.

mod catalog;
mod decision;
mod pattern;
mod rule;
mod rules;
mod scopes;
mod who;

use std::sync::Arc;

use crate::denial::{Denial, Missing};
use crate::identity::{Granted, TokenServerKind, Verified};
use crate::registry::{Access, Action, Actions, RegistryRequest, RepositoryName};

pub use catalog::CatalogFilter;
pub use decision::{Decision, Permit, TagLookUp};
pub use pattern::{RepositoryPattern, TagPattern};
pub use rule::{Mismatch, Need, Rule, TagChoice, Target};
pub use rules::{Explained, Mode, Rules, Ruling};
pub use scopes::RequiredScopes;
pub use who::Who;

/// What is allowed to whom.
#[derive(Clone, Debug)]
pub struct Policy {
    scopes: RequiredScopes,
    rules: Arc<Rules>,
}

impl Policy {
    /// Creates a policy without rules.
    pub fn new(scopes: RequiredScopes) -> Self {
        Self { scopes, rules: Arc::default() }
    }

    /// The same with rules.
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Self {
        Self { rules: rules.into(), ..self }
    }

    /// Whether rules alone decide about callers without a credential, so that no provider is asked
    /// about them.
    pub fn decides_for_nobody(&self) -> bool {
        self.rules.decide_for_nobody()
    }

    /// Decides. `verified` is the answer about what the request
    /// [requires](RegistryRequest::required).
    ///
    /// # Errors
    /// [`Denial::InsufficientRights`] says what the credential lacks, [`Denial::DeniedByPolicy`]
    /// what no rule allows, [`Denial::NoCredential`] that nothing was presented;
    /// [`Denial::TagRules`] which tag may not be touched; [`Denial::CatalogClosed`] that a
    /// token server did not grant the list of all repositories.
    pub fn authorize(
        &self,
        request: RegistryRequest,
        verified: &Verified,
    ) -> Result<Decision, Denial> {
        let required = request.required();
        let ruling = match &required {
            Access::Repository(name, action) => {
                self.check(&required, Need::of_request(&request, name, *action), verified)
            }
            _ => self.check(&required, std::iter::empty(), verified),
        }?;
        let grant = request.repository().and_then(|name| verified.granted.repository(name));
        let must_not_exist = grant
            .map(|grant| grant.tags.check(&request))
            .transpose()
            .map_err(Denial::TagRules)?
            .unwrap_or_default();
        let grant = verified.granted.token().cloned();
        let catalog =
            (required == Access::Catalog).then(|| self.catalog_filter(verified)).flatten();
        let (request, mount) = request.split_mount();
        Ok(Decision { request, mount, mount_refusal: None, must_not_exist, grant, catalog, ruling })
    }

    /// Gives the request its mount where the credential may pull from the source. `verified` is the
    /// answer about [`Decision::unchecked_mount_source`].
    #[must_use]
    pub fn allow_mount(&self, mut decision: Decision, verified: &Verified) -> Decision {
        let ruling = decision
            .unchecked_mount_source()
            .map(|source| self.check(&source, needs(&source), verified));
        match (decision.mount.take(), ruling) {
            (Some(mount), Some(Ok(ruling))) => {
                decision.request = decision.request.with_mount(mount);
                decision.grant = verified.granted.token().cloned();
                if let Ruling::ShadowDenied(_) = ruling {
                    decision.ruling = ruling;
                }
            }
            (_, Some(Err(refusal))) => decision.mount_refusal = Some(refusal),
            _ => {}
        }
        decision
    }

    /// What of this the caller may do: never more than was asked, and nothing that a request would
    /// be refused, unless for its tag. A repository for which there is nothing is left out.
    /// `verified` is the answer about `asked`.
    pub fn granted(&self, asked: &Access, verified: &Verified) -> Vec<(RepositoryName, Actions)> {
        let may = |name: &RepositoryName, action| {
            self.credential_allows(name, action, verified).is_ok()
                && self.rules.judge(Need::of_action(name, action), verified).is_ok()
        };
        let granted = asked
            .repositories()
            .map(|(name, actions)| (name.clone(), actions.filter(|action| may(name, action))));
        granted.filter(|(_, actions)| *actions != Actions::default()).collect()
    }

    /// Whether the caller may see the list of all repositories, be it filtered. `verified` is the
    /// answer about [`Access::Catalog`].
    pub fn may_list_catalog(&self, verified: &Verified) -> bool {
        self.check(&Access::Catalog, std::iter::empty(), verified).is_ok()
    }

    /// Without rules, and with one that gives the catalog, the caller sees everything; else what
    /// the rules let it pull. Shadow mode makes no difference.
    fn catalog_filter(&self, verified: &Verified) -> Option<CatalogFilter> {
        let everything = self.rules.is_empty() || self.rules.allow_catalog(verified);
        let pullable = || (self.rules.clone(), Box::new(verified.clone()));
        (!everything).then(|| CatalogFilter { pullable: Some(pullable()), at_most: None })
    }

    /// What each rule says of each thing that a request needs: the comparison by which
    /// [`authorize`](Self::authorize) decides, whatever the credential allows. Empty where no
    /// repository is concerned.
    pub fn explain<'a>(
        &'a self,
        request: &'a RegistryRequest,
        verified: &Verified,
    ) -> Vec<Explained<'a>> {
        match (request.repository(), request.required()) {
            (Some(name), Access::Repository(_, action)) => {
                self.rules.explain(Need::of_request(request, name, action), verified)
            }
            _ => Vec::new(),
        }
    }

    /// The same of what a token is asked for, or a mount reads.
    pub fn explain_access<'a>(
        &'a self,
        access: &'a Access,
        verified: &Verified,
    ) -> Vec<Explained<'a>> {
        let mut distinct: Vec<Need<'a>> = Vec::new();
        for need in needs(access) {
            if !distinct.contains(&need) {
                distinct.push(need);
            }
        }
        self.rules.explain(distinct.into_iter(), verified)
    }

    /// First what the credential lacks, for no rule can help there, then what the rules say of
    /// `needs`.
    fn check<'a>(
        &self,
        access: &Access,
        needs: impl Iterator<Item = Need<'a>>,
        verified: &Verified,
    ) -> Result<Ruling, Denial> {
        let checked = match access {
            Access::Login => Ok(()),
            Access::Catalog => self.credential_allows_catalog(verified),
            Access::Repository(name, action) => self.credential_allows(name, *action, verified),
            Access::Repositories(several) => several
                .iter()
                .flat_map(|(name, actions)| actions.each().map(move |action| (name, action)))
                .try_for_each(|(name, action)| self.credential_allows(name, action, verified)),
        };
        let ruling = checked
            .and_then(|()| self.rules.judge(needs, verified).map_err(Denial::DeniedByPolicy));
        // Who has shown no credential is asked for one, and told nothing of what is there.
        ruling.map_err(|denial| {
            if verified.principal.is_anonymous() { Denial::NoCredential } else { denial }
        })
    }

    /// The lines that decide whether a credential allows a push, and everything else. What a grant
    /// allows is [`Actions::allow`].
    fn credential_allows(
        &self,
        name: &RepositoryName,
        action: Action,
        verified: &Verified,
    ) -> Result<(), Denial> {
        if verified.principal.is_anonymous() && self.rules.decide_for_nobody() {
            return if action == Action::Pull { Ok(()) } else { Err(Denial::NoCredential) };
        }
        let missing = match &verified.granted {
            Granted::Scopes(scopes) => match self.scopes.missing(action, scopes) {
                missing if missing.is_empty() => return Ok(()),
                missing => Missing::Scopes(missing),
            },
            granted => match granted.repository(name) {
                Some(grant) if grant.actions.allow(action) => return Ok(()),
                _ if granted
                    .repositories()
                    .iter()
                    .any(|grant| grant.server == TokenServerKind::Other) =>
                {
                    Missing::Grant(verified.principal.source.provider.clone(), action)
                }
                _ => Missing::GitLabGrant(action),
            },
        };
        Err(Denial::InsufficientRights(missing))
    }

    /// Scopes hold for every repository, so it takes what a pull takes. A token server says so
    /// itself.
    fn credential_allows_catalog(&self, verified: &Verified) -> Result<(), Denial> {
        match &verified.granted {
            Granted::Catalog(_) => Ok(()),
            Granted::Scopes(scopes) => match self.scopes.missing(Action::Pull, scopes) {
                missing if missing.is_empty() => Ok(()),
                missing => Err(Denial::InsufficientRights(Missing::Scopes(missing))),
            },
            _ => Err(Denial::CatalogClosed),
        }
    }
}

/// What has to be allowed for this, whatever the tags.
fn needs(access: &Access) -> impl Iterator<Item = Need<'_>> {
    let each = access
        .repositories()
        .flat_map(|(name, actions)| actions.each().map(move |action| (name, action)));
    each.flat_map(|(name, action)| Need::of_action(name, action))
}

#[cfg(test)]
mod tests;
