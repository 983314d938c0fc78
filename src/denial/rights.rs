//! What a valid credential may not do, and what it would take.

use std::fmt;
use std::sync::Arc;

use crate::registry::{Action, Tag};

/// What a valid credential lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The credential's scopes are known; these would have been needed too.
    Scopes(Vec<String>),
    /// GitLab said what it grants for this repository, and it was not this. It does not say what is
    /// missing.
    GitLabGrant(Action),
    /// The same of another token server, by its name in the config.
    Grant(Arc<str>, Action),
}

/// What the project's rules about tags forbid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagRefusal {
    /// A protected tag, which takes a higher role.
    Protected(Tag, Action),
    /// A tag that is never changed once it exists.
    Immutable(Tag, Action),
    /// A delete by digest takes every tag of it along, and those are not known here.
    DeleteByDigest,
    /// Rules that are not understood, so they forbid everything that they could forbid.
    Unreadable,
}

/// What no rule of the config allows this caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleRefusal {
    /// This, in this repository.
    Action(Action),
    /// The same for this tag; for others there is a rule.
    Tag(Tag, Action),
    /// A delete by digest; by tag there is a rule.
    DeleteByDigest,
}

impl TagRefusal {
    /// What the person at the client reads.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Protected(tag, action) => format!(
                "the tag {} is protected, and this credential may not {} it: take another tag, or ask whoever maintains the project",
                tag.as_str(),
                action.as_str()
            ),
            Self::Immutable(tag, Action::Delete) => {
                format!("the tag {} is immutable in this project: it cannot be deleted", tag.as_str())
            }
            Self::Immutable(tag, _) => {
                format!("the tag {} exists and is immutable in this project: push under another tag", tag.as_str())
            }
            Self::DeleteByDigest => {
                "this project protects tags, and a digest may be what one of them names: delete by tag".to_owned()
            }
            Self::Unreadable => {
                "the project's rules about tags cannot be read here, so nothing is pushed or deleted: ask whoever runs this registry"
                    .to_owned()
            }
        }
    }
}

/// It says nothing of the rules themselves, for they name other callers.
impl fmt::Display for RuleRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(action) => {
                write!(f, "no rule of this registry gives you {} here", action.as_str())
            }
            Self::Tag(tag, action) => {
                write!(
                    f,
                    "no rule of this registry lets you {} the tag {}",
                    action.as_str(),
                    tag.as_str()
                )
            }
            Self::DeleteByDigest => f.write_str(
                "no rule of this registry lets you delete by digest here: delete by tag",
            ),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scopes(scopes) => write!(f, "token lacks {}", scopes.join(" and ")),
            Self::Grant(server, action) => {
                write!(f, "{server} granted no {} for this repository", action.as_str())
            }
            Self::GitLabGrant(action) => {
                let scopes = match action {
                    Action::Pull => "scope read_registry",
                    Action::Push => "scopes read_registry and write_registry",
                    Action::Delete => "scope api",
                };
                write!(
                    f,
                    "GitLab granted no {}: it takes the {scopes}, the role and the project",
                    action.as_str()
                )
            }
        }
    }
}
