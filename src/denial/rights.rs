//! The rights that a valid credential lacks, and the rights that would be needed.

use std::fmt;
use std::sync::Arc;

use crate::registry::{Action, Tag};

/// The right that a valid credential lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The scopes that the credential lacks. The credential's own scopes are known.
    Scopes(Vec<String>),
    /// GitLab's grant for this repository does not contain this action. GitLab does not report what
    /// is missing.
    GitLabGrant(Action),
    /// The grant of another token server, named as in the config, does not contain this action.
    Grant(Arc<str>, Action),
}

/// A refusal by the project's tag rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagRefusal {
    /// The tag is protected and requires a higher role.
    Protected(Tag, Action),
    /// The tag exists and is immutable, so it must not be changed or deleted.
    Immutable(Tag, Action),
    /// A delete by digest would also delete every tag of the manifest, and the gate does not know
    /// these tags.
    DeleteByDigest,
    /// The gate does not understand the rules, so it refuses every action that they could forbid.
    Unreadable,
}

/// An access that no rule of the config allows this caller, or that a rule makes immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleRefusal {
    /// No rule allows this action in this repository.
    Action(Action),
    /// A rule allows this action for other tags, but not for this one.
    Tag(Tag, Action),
    /// A rule allows deletes by tag, but none allows deletes by digest.
    DeleteByDigest,
    /// A rule makes the tag immutable, and it exists or would be deleted.
    Immutable(Tag, Action),
    /// A rule makes tags of the repository immutable, and a digest may have any of them.
    ImmutableDigest,
}

/// The reason why a gate token does not cover an access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uncovered {
    /// The token was issued to a caller without a credential.
    Anonymous,
    /// The client did not ask for the access when it fetched the token.
    NotRequested,
    /// The client asked for the access, and was refused with this message.
    Refused(Box<str>),
}

impl Uncovered {
    /// Returns the message for the user at the client. Another token of GitLab or of another
    /// provider would not help, so the message must not read as if it would.
    pub(super) fn message(&self, service: &str) -> String {
        match self {
            Self::Anonymous => format!("authentication required; run docker login {service}"),
            Self::NotRequested => "the client fetched its token from this registry for another \
                                   repository or action; the client must repeat the request with \
                                   a token for the scope in WWW-Authenticate"
                .to_owned(),
            Self::Refused(message) => message.to_string(),
        }
    }
}

impl TagRefusal {
    /// Returns the message for the user at the client.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Protected(tag, action) => format!(
                "the tag {} is protected, and this credential may not {} it; use another tag, or \
                 ask a maintainer of the project",
                tag.as_str(),
                action.as_str()
            ),
            Self::Immutable(tag, Action::Delete) => {
                format!(
                    "the tag {} is immutable in this project: it cannot be deleted",
                    tag.as_str()
                )
            }
            Self::Immutable(tag, _) => {
                format!(
                    "the tag {} exists and is immutable in this project; push under another tag",
                    tag.as_str()
                )
            }
            Self::DeleteByDigest => {
                "this project protects tags, and a protected tag may refer to this digest; delete \
                 by tag"
                    .to_owned()
            }
            Self::Unreadable => {
                "the gate does not understand the project's tag rules, so it refuses every push \
                 and delete; ask the operator of this registry"
                    .to_owned()
            }
        }
    }
}

/// The message does not describe the rules themselves, because they name other callers.
impl fmt::Display for RuleRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(action) => {
                let action = action.as_str();
                write!(f, "no rule of this registry lets you {action} in this repository")
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
                "no rule of this registry lets you delete by digest in this repository; delete by \
                 tag",
            ),
            Self::Immutable(tag, Action::Delete) => write!(
                f,
                "the tag {} is immutable by a rule of this registry: it cannot be deleted",
                tag.as_str()
            ),
            Self::Immutable(tag, _) => write!(
                f,
                "the tag {} exists and is immutable by a rule of this registry; push under another \
                 tag",
                tag.as_str()
            ),
            Self::ImmutableDigest => f.write_str(
                "a rule of this registry makes tags of this repository immutable, and any tag may \
                 refer to this digest: nothing can be deleted by digest here",
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
