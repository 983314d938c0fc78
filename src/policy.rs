//! The decision whether a verified credential may do what a request needs. This module is pure.
//!
//! The result is a [`Decision`], and finally a [`Permit`]. Only this module can build a [`Permit`],
//! and no request is forwarded without one.

mod catalog;
mod decision;
mod index;
mod pattern;
mod rule;
mod rules;
mod scopes;
mod who;

use std::sync::Arc;

use crate::denial::{Denial, Missing};
use crate::identity::{Granted, TokenServerKind, Verified};
use crate::registry::{Access, Action, Actions, RegistryRequest, RepositoryName};
use rules::IndexedRules;

pub use catalog::CatalogFilter;
pub use decision::{Decision, Permit, TagLookUp};
pub use pattern::{RepositoryPattern, TagPattern};
pub use rule::{Mismatch, Need, Rule, TagChoice, Target};
pub use rules::{CatalogEffect, Explained, Mode, RuleNumber, Rules, Ruling};
pub use scopes::RequiredScopes;
pub use who::Who;

/// The scopes and rules that define what each caller may do.
#[derive(Clone, Debug)]
pub struct Policy {
    scopes: RequiredScopes,
    rules: Arc<IndexedRules>,
}

impl Policy {
    /// Creates a policy without rules.
    pub fn new(scopes: RequiredScopes) -> Self {
        Self { scopes, rules: Arc::default() }
    }

    /// Returns this policy with the given rules.
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Self {
        Self { rules: Arc::new(rules.into()), ..self }
    }

    /// Returns whether rules alone decide about callers without a credential, so that no provider
    /// is asked about them.
    pub fn rules_decide_for_anonymous(&self) -> bool {
        self.rules.decide_for_anonymous()
    }

    /// Returns the name of the rule that a ruling of this policy names.
    pub fn rule_name(&self, rule: RuleNumber) -> &str {
        self.rules.name(rule)
    }

    /// Decides about a request. `verified` is the verdict for the access that the request
    /// [requires](RegistryRequest::required). A mount is removed from the request until
    /// [`allow_mount`](Self::allow_mount) has checked it.
    ///
    /// # Errors
    /// - [`Denial::InsufficientRights`] if the credential lacks a right; it names the missing
    ///   right.
    /// - [`Denial::DeniedByPolicy`] if no rule allows something that the request needs, and the
    ///   mode is not shadow.
    /// - [`Denial::NoCredential`] instead of these reasons and of [`Denial::CatalogClosed`] if the
    ///   caller presented no credential.
    /// - [`Denial::TagRules`] if the project's tag rules forbid a tag; it names the tag.
    /// - [`Denial::CatalogClosed`] if a token server did not grant the list of all repositories.
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
        let repository_grant =
            request.repository().and_then(|name| verified.granted.repository(name));
        let must_not_exist = repository_grant
            .map(|grant| grant.tags.check(&request))
            .transpose()
            .map_err(Denial::TagRules)?
            .unwrap_or_default();
        let upstream_token = verified.granted.token().cloned();
        let catalog =
            (required == Access::Catalog).then(|| self.catalog_filter(verified)).flatten();
        let (request, mount) = request.split_mount();
        Ok(Decision {
            request,
            mount,
            mount_refusal: None,
            must_not_exist,
            upstream_token,
            catalog,
            ruling,
        })
    }

    /// Puts the mount back into the request if the credential and the rules allow a pull from its
    /// source; otherwise the request stays a plain upload. `verified` is the verdict for
    /// [`Decision::unchecked_mount_source`].
    #[must_use]
    pub fn allow_mount(&self, mut decision: Decision, verified: &Verified) -> Decision {
        let ruling = decision
            .unchecked_mount_source()
            .map(|source| self.check(&source, needs(&source), verified));
        match (decision.mount.take(), ruling) {
            (Some(mount), Some(Ok(ruling))) => {
                decision.request = decision.request.with_mount(mount);
                decision.upstream_token = verified.granted.token().cloned();
                if let Ruling::ShadowDenied(_) = ruling {
                    decision.ruling = ruling;
                }
            }
            (_, Some(Err(refusal))) => decision.mount_refusal = Some(refusal),
            _ => {}
        }
        decision
    }

    /// Returns the part of `asked` that the caller may do. The result never exceeds `asked`, and it
    /// contains only actions that a request would be allowed, apart from restrictions on its tag. A
    /// repository without an allowed action is left out. `verified` is the verdict for `asked`.
    pub fn granted(&self, asked: &Access, verified: &Verified) -> Vec<(RepositoryName, Actions)> {
        let granted = asked.repositories().map(|(name, actions)| {
            (
                name.clone(),
                actions.filter(|action| self.check_action(name, action, verified).is_ok()),
            )
        });
        granted.filter(|(_, actions)| *actions != Actions::default()).collect()
    }

    /// Returns the actions of `asked` that are not part of [`granted`](Self::granted), each with
    /// the reason.
    pub fn refused<'a>(
        &'a self,
        asked: &'a Access,
        verified: &'a Verified,
    ) -> impl Iterator<Item = (RepositoryName, Action, Denial)> {
        let each = asked
            .repositories()
            .flat_map(|(name, actions)| actions.each().map(move |action| (name, action)));
        each.filter_map(|(name, action)| {
            let allowed = self.check_action(name, action, verified);
            allowed.err().map(|denial| (name.clone(), action, denial))
        })
    }

    /// Checks whether the caller may do an action, apart from restrictions on its tag.
    fn check_action(
        &self,
        name: &RepositoryName,
        action: Action,
        verified: &Verified,
    ) -> Result<(), Denial> {
        self.credential_allows(name, action, verified)?;
        let ruling = self.rules.judge(Need::of_action(name, action), verified);
        ruling.map(drop).map_err(Denial::DeniedByPolicy)
    }

    /// Returns the reason why the caller may not list all repositories. `verified` is the verdict
    /// for [`Access::Catalog`].
    pub fn catalog_refusal(&self, verified: &Verified) -> Option<Denial> {
        self.check(&Access::Catalog, std::iter::empty(), verified).err()
    }

    /// Returns the filter for the list of all repositories. The caller sees everything (`None`)
    /// without rules, or if a rule allows the catalog; otherwise it sees what the rules let it
    /// pull. Shadow mode makes no difference.
    fn catalog_filter(&self, verified: &Verified) -> Option<CatalogFilter> {
        let everything = self.rules.is_empty() || self.rules.allow_catalog(verified);
        let pullable = || (self.rules.clone(), Box::new(verified.clone()));
        (!everything).then(|| CatalogFilter { pullable: Some(pullable()), at_most: None })
    }

    /// Returns the result of each rule for each need of a request, by the comparison that
    /// [`authorize`](Self::authorize) uses, independent of what the credential allows. The list is
    /// empty if the request does not concern a repository.
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

    /// Returns the result of each rule for each need of an access: of a token request, or of the
    /// source of a mount.
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

    /// Returns the effect of each rule on the list of all repositories, independent of what the
    /// credential allows and of the mode. Empty without rules: then the list is not filtered.
    pub fn explain_catalog(&self, verified: &Verified) -> Vec<(&str, CatalogEffect<'_>)> {
        self.rules.explain_catalog(verified)
    }

    /// Checks the rights of the credential first, because a rule cannot replace them, and then what
    /// the rules say about `needs`.
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
        // A caller without a credential is asked for one, and learns nothing about what exists.
        ruling.map_err(|denial| {
            if verified.principal.is_anonymous() { Denial::NoCredential } else { denial }
        })
    }

    /// Checks whether the credential allows an action, such as a push, on a repository. For a grant
    /// of a token server, [`Actions::allow`] decides.
    fn credential_allows(
        &self,
        name: &RepositoryName,
        action: Action,
        verified: &Verified,
    ) -> Result<(), Denial> {
        if verified.principal.is_anonymous() && self.rules.decide_for_anonymous() {
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

    /// Checks whether the credential allows listing all repositories. Scopes hold for every
    /// repository, so the list takes the scopes of a pull. A token server grants the list
    /// explicitly.
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

/// Returns everything that must be allowed for an access, independent of tags.
fn needs(access: &Access) -> impl Iterator<Item = Need<'_>> {
    let each = access
        .repositories()
        .flat_map(|(name, actions)| actions.each().map(move |action| (name, action)));
    each.flat_map(|(name, action)| Need::of_action(name, action))
}

#[cfg(test)]
mod tests;
