//! One rule: the callers and repositories that it is for, and the actions that it allows.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::caller::Caller;
use super::pattern::RepositoryPattern;
use super::tag_pattern::TagPattern;
use super::who::Who;
use crate::registry::{Action, Actions, Reference, RegistryRequest, RepositoryName, Tag};

/// A rule of the config. Rules only allow: no rule forbids what another rule allows, but for what
/// an `immutable` rule forbids to all. The default is for no caller and no repository.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// The name of the rule. It is unique.
    pub name: Arc<str>,
    /// The repositories that the rule is for: one of these patterns must match.
    pub repositories: Vec<RepositoryPattern>,
    /// The callers that the rule is for: one of these entries must match.
    pub who: Vec<Who>,
    /// The networks from one of which the request must come; empty: from any address.
    pub from: Vec<IpNet>,
    /// The actions that the rule allows.
    pub allow: Actions,
    /// `true` if the rule also allows listing all repositories, independent of `repositories`.
    pub catalog: bool,
    /// The tags that may be written or deleted; `None`: any tag, and deletes by digest too.
    pub tags: Option<TagChoice>,
    /// `true` if no rule lets a caller move or delete the tags of the repositories. The
    /// `repositories` have no template then.
    pub immutable: bool,
}

/// The tags that a rule is for.
#[derive(Clone, Debug)]
pub struct TagChoice {
    /// The tags that the rule is for: one of these patterns must match.
    pub tags: Vec<TagPattern>,
    /// The exceptions: none of these patterns may match.
    pub except: Vec<TagPattern>,
}

/// One thing that must be allowed. A request may have several needs, and a different rule may allow
/// each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need<'a> {
    pub repository: &'a RepositoryName,
    pub action: Action,
    pub target: Target<'a>,
}

/// The object of a write or a delete, as far as rules with tags distinguish it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// No tag, or a tag that is not known yet: reads, uploads, a manifest by its digest, token
    /// requests.
    Untagged,
    Tag(&'a Tag),
    /// A delete by digest. It deletes every tag of the manifest too, and any manifest may use a
    /// blob.
    Digest,
}

/// The reason why a rule does not allow something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    Who,
    From,
    Repository,
    Action,
    Tag,
    DeleteByDigest,
}

impl Rule {
    /// Checks whether the rule allows a need to this caller.
    ///
    /// # Errors
    /// The first mismatch, in the order in which a person would check the rule.
    pub fn allows(&self, need: &Need<'_>, caller: Caller<'_>) -> Result<(), Mismatch> {
        self.check_caller(caller)?;
        let verified = caller.verified;
        if !self.repositories.iter().any(|pattern| pattern.matches(need.repository, verified)) {
            return Err(Mismatch::Repository);
        }
        let only_pull = verified.principal.is_anonymous() && need.action != Action::Pull;
        if only_pull || !self.allow.lists(need.action) {
            return Err(Mismatch::Action);
        }
        match (need.target, &self.tags) {
            (Target::Tag(tag), Some(choice)) if !choice.includes(tag) => Err(Mismatch::Tag),
            (Target::Digest, Some(_)) => Err(Mismatch::DeleteByDigest),
            _ => Ok(()),
        }
    }

    /// Checks whether the rule is for this caller at all.
    ///
    /// # Errors
    /// [`Mismatch::Who`] or [`Mismatch::From`].
    pub fn check_caller(&self, caller: Caller<'_>) -> Result<(), Mismatch> {
        if !self.who.iter().any(|who| who.matches(caller.verified)) {
            return Err(Mismatch::Who);
        }
        if !self.from.is_empty() && !caller.is_in(&self.from) {
            return Err(Mismatch::From);
        }
        Ok(())
    }
}

impl TagChoice {
    /// Returns whether a tag is one of the choice, for a rule that allows it. The exceptions hold
    /// in any case of letters, because some registries take two such tags for one.
    pub(super) fn includes(&self, tag: &Tag) -> bool {
        self.tags.iter().any(|pattern| pattern.matches(tag))
            && !self.except.iter().any(|pattern| pattern.matches_in_any_case(tag))
    }

    /// Returns whether a tag is one of the choice, for a rule that restricts it.
    pub(super) fn restricts(&self, tag: &Tag) -> bool {
        self.tags.iter().any(|pattern| pattern.matches_in_any_case(tag))
            && !self.except.iter().any(|pattern| pattern.matches(tag))
    }
}

impl<'a> Need<'a> {
    /// Returns the needs of an action, independent of tags: a write needs pull and push.
    pub fn of_action(repository: &'a RepositoryName, action: Action) -> impl Iterator<Item = Self> {
        action.needs().each().map(move |action| Self {
            repository,
            action,
            target: Target::Untagged,
        })
    }

    /// Returns the needs of a request. A write needs pull, and push for each tag that it names.
    pub fn of_request(
        request: &'a RegistryRequest,
        repository: &'a RepositoryName,
        action: Action,
    ) -> impl Iterator<Item = Self> {
        let besides = Self::of_action(repository, action).filter(move |need| need.action != action);
        besides.chain(targets(request).map(move |target| Self { repository, action, target }))
    }
}

/// Returns the objects of a request.
pub(super) fn targets(request: &RegistryRequest) -> impl Iterator<Item = Target<'_>> {
    use RegistryRequest as R;
    let (first, tags): (_, &[Tag]) = match request {
        R::ManifestPut { reference: Reference::Tag(tag), tags, .. } => {
            (Some(Target::Tag(tag)), tags)
        }
        R::ManifestPut { tags, .. } if !tags.is_empty() => (None, tags),
        R::ManifestDelete { reference: Reference::Tag(tag), .. } => (Some(Target::Tag(tag)), &[]),
        R::ManifestDelete { .. } | R::BlobDelete { .. } => (Some(Target::Digest), &[]),
        _ => (Some(Target::Untagged), &[]),
    };
    first.into_iter().chain(tags.iter().map(Target::Tag))
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Who => "it is for other callers (`who`)",
            Self::From => "it is for other addresses (`from`)",
            Self::Repository => "it is for other repositories (`repositories`)",
            Self::Action => "it does not allow this (`allow`)",
            Self::Tag => "it is for other tags (`tags`, `except_tags`)",
            Self::DeleteByDigest => "it is limited to tags, and a digest may have any tag",
        })
    }
}
