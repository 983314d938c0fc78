//! One rule: whom it is for, where, and what it allows.

use std::fmt;
use std::sync::Arc;

use super::pattern::{RepositoryPattern, TagPattern};
use super::who::Who;
use crate::identity::Verified;
use crate::registry::{Action, Actions, Reference, RegistryRequest, RepositoryName, Tag};

/// A rule of the config. It allows; nothing that a rule says forbids what another one allows.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Unique.
    pub name: Arc<str>,
    /// Where: one of these.
    pub repositories: Vec<RepositoryPattern>,
    /// Whom it is for: one of these.
    pub who: Vec<Who>,
    /// What it allows.
    pub allow: Actions,
    /// Whether it allows to list all repositories, wherever else it holds.
    pub catalog: bool,
    /// The tags that may be written or deleted; `None`: whatever the tag, and by digest.
    pub tags: Option<TagChoice>,
}

/// Tags that a rule is for.
#[derive(Clone, Debug)]
pub struct TagChoice {
    /// One of these,
    pub tags: Vec<TagPattern>,
    /// and none of these.
    pub except: Vec<TagPattern>,
}

/// One thing that has to be allowed. A request may need several, each of which another rule may
/// allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need<'a> {
    pub repository: &'a RepositoryName,
    pub action: Action,
    pub target: Target<'a>,
}

/// What a write or a delete is about, as far as rules with tags ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// No tag, or not known yet: reads, uploads, a manifest by its digest, what a token is for.
    Untagged,
    Tag(&'a Tag),
    /// A delete by digest takes every tag of it along, and a blob is in whatever manifest.
    Digest,
}

/// Why a rule does not allow something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    Who,
    Repository,
    Action,
    Tag,
    DeleteByDigest,
}

impl Rule {
    /// Whether it allows this to this caller.
    ///
    /// # Errors
    /// The first thing that does not match, in the order in which people ask.
    pub fn allows(&self, need: &Need<'_>, caller: &Verified) -> Result<(), Mismatch> {
        if !self.is_for(caller) {
            return Err(Mismatch::Who);
        }
        if !self.repositories.iter().any(|pattern| pattern.matches(need.repository, caller)) {
            return Err(Mismatch::Repository);
        }
        let only_pull = caller.principal.is_anonymous() && need.action != Action::Pull;
        if only_pull || !self.allow.lists(need.action) {
            return Err(Mismatch::Action);
        }
        match (need.target, &self.tags) {
            (Target::Tag(tag), Some(choice)) if !choice.includes(tag) => Err(Mismatch::Tag),
            (Target::Digest, Some(_)) => Err(Mismatch::DeleteByDigest),
            _ => Ok(()),
        }
    }

    /// Whether it is for this caller at all.
    pub fn is_for(&self, caller: &Verified) -> bool {
        self.who.iter().any(|who| who.matches(caller))
    }
}

impl TagChoice {
    fn includes(&self, tag: &Tag) -> bool {
        let one_of = |patterns: &[TagPattern]| patterns.iter().any(|pattern| pattern.matches(tag));
        one_of(&self.tags) && !one_of(&self.except)
    }
}

impl<'a> Need<'a> {
    /// What an action takes, whatever the tag: a write takes pull and push.
    pub fn of_action(repository: &'a RepositoryName, action: Action) -> impl Iterator<Item = Self> {
        action.needs().each().map(move |action| Self {
            repository,
            action,
            target: Target::Untagged,
        })
    }

    /// What a request takes: for a write pull, and push for each tag that it names.
    pub fn of_request(
        request: &'a RegistryRequest,
        repository: &'a RepositoryName,
        action: Action,
    ) -> impl Iterator<Item = Self> {
        let besides = Self::of_action(repository, action).filter(move |need| need.action != action);
        besides.chain(targets(request).map(move |target| Self { repository, action, target }))
    }
}

fn targets(request: &RegistryRequest) -> impl Iterator<Item = Target<'_>> {
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
            Self::Who => "it is for others (`who`)",
            Self::Repository => "it is for other repositories (`repositories`)",
            Self::Action => "it does not allow this (`allow`)",
            Self::Tag => "it is for other tags (`tags`, `except_tags`)",
            Self::DeleteByDigest => "it names tags, and a digest may have any",
        })
    }
}
