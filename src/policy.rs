//! The decision whether a verified credential may do what a request needs. This module is pure.
//!
//! The result is a [`Decision`], and finally a [`Permit`]. Only this module can build a [`Permit`],
//! and no request is forwarded without one.

mod caller;
mod catalog;
mod decision;
mod immutable;
mod index;
mod pattern;
mod rule;
mod rules;
mod scopes;
mod tag_pattern;
mod who;

use std::sync::Arc;

use crate::denial::{Denial, Missing};
use crate::identity::{Granted, TokenServerKind, Verified};
use crate::registry::{Access, Action, Actions, RegistryRequest, RepositoryName, Tag};
use catalog::Pullable;
use immutable::{ImmutableBy, ImmutableTag};
use rules::IndexedRules;

pub use caller::Caller;
pub use catalog::CatalogFilter;
pub use decision::{Decision, Permit, TagLookUp};
pub use pattern::RepositoryPattern;
pub use rule::{Mismatch, Need, Rule, TagChoice, Target};
pub use rules::{CatalogEffect, Explained, Mode, RuleNumber, Rules, Ruling};
pub use scopes::RequiredScopes;
pub use tag_pattern::TagPattern;
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

    /// Returns whether a rule is only for some addresses. Without such a rule, the address of a
    /// [`Caller`] makes no difference.
    pub fn looks_at_addresses(&self) -> bool {
        self.rules.look_at_addresses()
    }

    /// Checks whether requests of this kind are served at all now. No caller is needed for it.
    ///
    /// # Errors
    /// [`Denial::ReadOnly`] for a write or a delete, if `policy.read_only` is set.
    pub fn check_read_only(&self, request: &RegistryRequest) -> Result<(), Denial> {
        if self.rules.are_read_only() && !request.is_read() {
            return Err(Denial::ReadOnly);
        }
        Ok(())
    }

    /// Decides about a request. `caller` has the verdict for the access that the request
    /// [requires](RegistryRequest::required). A mount is removed from the request until
    /// [`allow_mount`](Self::allow_mount) has checked it.
    ///
    /// # Errors
    /// - [`Denial::InsufficientRights`] if the credential lacks a right; it names the missing
    ///   right.
    /// - [`Denial::DeniedByPolicy`] if no rule allows something that the request needs, or a rule
    ///   makes what it would delete immutable, and the mode is not shadow.
    /// - [`Denial::NoCredential`] instead of these reasons and of [`Denial::CatalogClosed`] if the
    ///   caller presented no credential.
    /// - [`Denial::TagRules`] if the project's tag rules forbid a tag; it names the tag.
    /// - [`Denial::CatalogClosed`] if a token server did not grant the list of all repositories.
    pub fn authorize<'a>(
        &self,
        request: RegistryRequest,
        caller: impl Into<Caller<'a>>,
    ) -> Result<Decision, Denial> {
        let caller = caller.into();
        let verified = caller.verified;
        let required = request.required();
        let mut ruling = match &required {
            Access::Repository(name, action) => {
                self.check(&required, Need::of_request(&request, name, *action), caller)
            }
            _ => self.check(&required, std::iter::empty(), caller),
        }?;
        let repository_grant =
            request.repository().and_then(|name| verified.granted.repository(name));
        let of_project = repository_grant
            .map(|grant| grant.tags.check(&request))
            .transpose()
            .map_err(Denial::TagRules)?
            .unwrap_or_default();
        let must_not_exist = self.immutable_tags(&request, of_project, &mut ruling)?;
        let upstream_token = verified.granted.token().cloned();
        let catalog = (required == Access::Catalog).then(|| self.catalog_filter(caller)).flatten();
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

    /// Returns the tags that must not exist in the upstream: those of the project's tag rules, and
    /// those that rules make immutable. The rules change the ruling in shadow mode.
    ///
    /// # Errors
    /// [`Denial::DeniedByPolicy`] if a rule makes what the request would delete immutable.
    fn immutable_tags(
        &self,
        request: &RegistryRequest,
        of_project: Vec<Tag>,
        ruling: &mut Ruling,
    ) -> Result<Vec<ImmutableTag>, Denial> {
        let immutable = |by| move |tag| ImmutableTag { tag, by };
        let mut tags: Vec<_> =
            of_project.into_iter().map(immutable(ImmutableBy::Project)).collect();
        let is_shadow = self.rules.mode() == Mode::Shadow;
        let by = if is_shadow { ImmutableBy::ShadowRule } else { ImmutableBy::Rule };
        match self.rules.check_immutable(request) {
            // The request is logged as denied in any case.
            _ if matches!(ruling, Ruling::ShadowDenied(_)) => {}
            Ok(of_rules) => {
                let more = of_rules.into_iter().filter(|tag| tags.iter().all(|it| it.tag != *tag));
                let more: Vec<_> = more.map(immutable(by)).collect();
                tags.extend(more);
            }
            Err(refusal) if is_shadow => *ruling = Ruling::ShadowDenied(refusal),
            Err(refusal) => return Err(Denial::DeniedByPolicy(refusal)),
        }
        Ok(tags)
    }

    /// Puts the mount back into the request if the credential and the rules allow a pull from its
    /// source; otherwise the request stays a plain upload. `caller` has the verdict for
    /// [`Decision::unchecked_mount_source`].
    #[must_use]
    pub fn allow_mount<'a>(
        &self,
        mut decision: Decision,
        caller: impl Into<Caller<'a>>,
    ) -> Decision {
        let caller = caller.into();
        let ruling = decision
            .unchecked_mount_source()
            .map(|source| self.check(&source, needs(&source), caller));
        match (decision.mount.take(), ruling) {
            (Some(mount), Some(Ok(ruling))) => {
                decision.request = decision.request.with_mount(mount);
                decision.upstream_token = caller.verified.granted.token().cloned();
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
    /// repository without an allowed action is left out. `caller` has the verdict for `asked`.
    pub fn granted<'a>(
        &self,
        asked: &Access,
        caller: impl Into<Caller<'a>>,
    ) -> Vec<(RepositoryName, Actions)> {
        let caller = caller.into();
        let granted = asked.repositories().map(|(name, actions)| {
            (name.clone(), actions.filter(|action| self.check_action(name, action, caller).is_ok()))
        });
        granted.filter(|(_, actions)| *actions != Actions::default()).collect()
    }

    /// Returns the actions of `asked` that are not part of [`granted`](Self::granted), each with
    /// the reason.
    pub fn refused<'a>(
        &'a self,
        asked: &'a Access,
        caller: impl Into<Caller<'a>>,
    ) -> impl Iterator<Item = (RepositoryName, Action, Denial)> {
        let caller = caller.into();
        let each = asked
            .repositories()
            .flat_map(|(name, actions)| actions.each().map(move |action| (name, action)));
        each.filter_map(move |(name, action)| {
            let allowed = self.check_action(name, action, caller);
            allowed.err().map(|denial| (name.clone(), action, denial))
        })
    }

    /// Checks whether the caller may do an action, apart from restrictions on its tag.
    fn check_action(
        &self,
        name: &RepositoryName,
        action: Action,
        caller: Caller<'_>,
    ) -> Result<(), Denial> {
        self.credential_allows(name, action, caller.verified)?;
        let ruling = self.rules.judge(Need::of_action(name, action), caller);
        ruling.map(drop).map_err(Denial::DeniedByPolicy)
    }

    /// Returns the reason why the caller may not list all repositories. `caller` has the verdict
    /// for [`Access::Catalog`].
    pub fn catalog_refusal<'a>(&self, caller: impl Into<Caller<'a>>) -> Option<Denial> {
        self.check(&Access::Catalog, std::iter::empty(), caller.into()).err()
    }

    /// Returns the filter for the list of all repositories. The caller sees everything (`None`)
    /// without rules, or if a rule allows the catalog; otherwise it sees what the rules let it
    /// pull. Shadow mode makes no difference.
    fn catalog_filter(&self, caller: Caller<'_>) -> Option<CatalogFilter> {
        let everything = self.rules.is_empty() || self.rules.allow_catalog(caller);
        let pullable = || Pullable {
            rules: self.rules.clone(),
            verified: caller.verified.clone(),
            address: caller.address,
        };
        (!everything).then(|| CatalogFilter { pullable: Some(Box::new(pullable())), at_most: None })
    }

    /// Returns the result of each rule for each need of a request, by the comparison that
    /// [`authorize`](Self::authorize) uses, independent of what the credential allows. The list is
    /// empty if the request does not concern a repository.
    pub fn explain<'a, 'c>(
        &'a self,
        request: &'a RegistryRequest,
        caller: impl Into<Caller<'c>>,
    ) -> Vec<Explained<'a>> {
        match (request.repository(), request.required()) {
            (Some(name), Access::Repository(_, action)) => {
                self.rules.explain(Need::of_request(request, name, action), caller.into())
            }
            _ => Vec::new(),
        }
    }

    /// Returns the result of each rule for each need of an access: of a token request, or of the
    /// source of a mount.
    pub fn explain_access<'a, 'c>(
        &'a self,
        access: &'a Access,
        caller: impl Into<Caller<'c>>,
    ) -> Vec<Explained<'a>> {
        let mut distinct: Vec<Need<'a>> = Vec::new();
        for need in needs(access) {
            if !distinct.contains(&need) {
                distinct.push(need);
            }
        }
        self.rules.explain(distinct.into_iter(), caller.into())
    }

    /// Returns the effect of each rule on the list of all repositories, independent of what the
    /// credential allows and of the mode. Empty without rules: then the list is not filtered.
    pub fn explain_catalog<'c>(
        &self,
        caller: impl Into<Caller<'c>>,
    ) -> Vec<(&str, CatalogEffect<'_>)> {
        self.rules.explain_catalog(caller.into())
    }

    /// Returns the tags and digests of a request that rules make immutable, each with the name of
    /// such a rule.
    pub fn explain_immutable<'a>(
        &'a self,
        request: &'a RegistryRequest,
    ) -> impl Iterator<Item = (&'a str, Target<'a>)> {
        self.rules.immutable(request).map(|(rule, target)| (&*rule.name, target))
    }

    /// Checks the rights of the credential first, because a rule cannot replace them, and then what
    /// the rules say about `needs`.
    fn check<'a>(
        &self,
        access: &Access,
        needs: impl Iterator<Item = Need<'a>>,
        caller: Caller<'_>,
    ) -> Result<Ruling, Denial> {
        let verified = caller.verified;
        let checked = match access {
            Access::Login => Ok(()),
            Access::Catalog => self.credential_allows_catalog(verified),
            Access::Repository(name, action) => self.credential_allows(name, *action, verified),
            Access::Repositories(several) => several
                .iter()
                .flat_map(|(name, actions)| actions.each().map(move |action| (name, action)))
                .try_for_each(|(name, action)| self.credential_allows(name, action, verified)),
        };
        let ruling =
            checked.and_then(|()| self.rules.judge(needs, caller).map_err(Denial::DeniedByPolicy));
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
