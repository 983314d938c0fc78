//! The refusals that GitLab has besides those of a credential: of networks, of accounts, of single
//! repositories. All are 403 with the code `DENIED`, told apart by their messages alone.
//!
//! The messages are those of GitLab's `Auth::ContainerRegistryAuthenticationService` and of its
//! documentation ("Docker login fails with an authentication error", 2026).

use super::credential::lies_in;
use super::{Question, SampleCredential};

/// A refusal that the stand-in was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many wrong credentials came from a network: everything from there is refused, before the
    /// credential is looked at. The address as GitLab is told it; empty for whoever asks
    /// without telling one.
    Network(String),
    /// An account is used from too many networks, by its user name.
    Sources(String),
    /// Nobody may push to this repository.
    ProtectedPath(String),
    /// Nobody may push to this group or project, which holds too much.
    StorageQuota(String),
}

impl Refusal {
    /// What GitLab says.
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

    /// Whether it is of this question, whoever asks it.
    pub(super) fn is_of_network(&self, question: &Question) -> bool {
        let told = question.forwarded_for.first().map_or("", String::as_str);
        matches!(self, Self::Network(address) if address == told)
    }

    /// Whether it is of this question by a credential that is good. One repository takes the grants
    /// of all others away.
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
