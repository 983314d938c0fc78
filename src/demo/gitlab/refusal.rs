//! The refusals of GitLab that do not concern the credential itself but a network, an account or a
//! repository. All of them are 403 with the code `DENIED` and differ only in their messages.
//!
//! The messages are those of GitLab's `Auth::ContainerRegistryAuthenticationService` and of its
//! documentation ("Docker login fails with an authentication error", 2026).

use super::credential::lies_in;
use super::{Question, SampleCredential};

/// A refusal that the stand-in is configured to apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many wrong credentials came from a network. Every question from there is refused before
    /// the credential is checked. The value is the address in the first line of `X-Forwarded-For`,
    /// or empty for questions without that header.
    Network(String),
    /// The account with this user name is used from too many networks.
    Sources(String),
    /// No caller may push to this repository.
    ProtectedPath(String),
    /// No caller may push to this group or project, because it is over its storage quota.
    StorageQuota(String),
}

impl Refusal {
    /// Returns GitLab's message.
    pub fn message(&self) -> &'static str {
        match self {
            Self::Network(_) => {
                "Access denied: too many failed authentication attempts from this network"
            }
            Self::Sources(_) => "Access denied: too many distinct sources for this account",
            Self::ProtectedPath(_) => "Pushing to protected repository path forbidden",
            Self::StorageQuota(_) => {
                "You are above your storage quota! Remove images that are not needed."
            }
        }
    }

    /// Returns whether the refusal applies to the network of this question, regardless of its
    /// credential.
    pub(super) fn is_of_network(&self, question: &Question) -> bool {
        let told = question.forwarded_for.first().map_or("", String::as_str);
        matches!(self, Self::Network(address) if address == told)
    }

    /// Returns whether the refusal applies to this question with a valid credential. If it applies
    /// to one repository of the question, the others are not granted either.
    pub(super) fn is_of(&self, question: &Question, credential: &SampleCredential) -> bool {
        let pushes_to = |is_it: &dyn Fn(&str) -> bool| {
            question.scopes.iter().any(|scope| {
                let asked =
                    scope.strip_prefix("repository:").and_then(|scope| scope.rsplit_once(':'));
                asked.is_some_and(|(name, actions)| {
                    actions.split(',').any(|action| action == "push") && is_it(name)
                })
            })
        };
        match self {
            Self::Network(_) => false,
            Self::Sources(account) => credential.acts_as() == account,
            Self::ProtectedPath(path) => pushes_to(&|name| name == path),
            Self::StorageQuota(group) => pushes_to(&|name| lies_in(name, group)),
        }
    }
}
