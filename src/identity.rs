//! Who is calling: what a credential proves, and what it allows by itself.
//!
//! The types here are pure. [`chain`] asks the providers in order and keeps their verdicts in [`cache`].

pub mod cache;
pub mod chain;
pub mod credential;
pub mod fingerprint;
pub mod gitlab;
pub mod htpasswd;
pub mod htpasswd_file;
pub mod provider_client;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use credential::Credential;
use fingerprint::CredentialId;

use crate::registry::{Access, Actions, RepositoryName};

/// Who a credential belongs to. Two providers never share a principal, whatever the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The provider's name in the config.
    pub provider: Arc<str>,
    /// What the provider calls the caller.
    pub subject: Arc<str>,
    /// What the provider calls the kind of credential, such as `deploy_token`.
    pub credential_type: Option<Arc<str>>,
}

/// What a credential allows by itself. Policy can only narrow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// Scopes that hold for every repository; the `scopes` section of the config reads them.
    Scopes(Arc<[String]>),
    /// What the provider granted for the one repository that was asked about, and for no other.
    Actions(RepositoryName, Actions),
    /// No repository was asked about: it proves who the caller is.
    Identity,
    /// The provider vouches for the credential, and lets it do nothing.
    Nothing,
}

/// A credential that a provider vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who it is.
    pub principal: Principal,
    /// What it allows.
    pub granted: Granted,
}

impl Granted {
    /// Whether there is nothing that it allows.
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Actions(_, actions) => *actions == Actions::default(),
            Self::Nothing => true,
            Self::Scopes(_) | Self::Identity => false,
        }
    }
}

/// What a provider says of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not one of its own: the next provider is asked.
    NotMine,
    /// Valid, and at most for so long from now on (where the provider says).
    Verified(Arc<Verified>, Option<Duration>),
    /// One of its own, and wrong: no other provider is asked.
    Rejected,
    /// It could not be asked or did not make sense. Never cached, never a refusal, and no other provider is asked.
    Unavailable,
}

/// What a provider is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The caller's credential.
    pub credential: Credential,
    /// Its keyed hash.
    pub id: CredentialId,
    /// What the caller wants to do.
    pub access: Access,
    /// Where the caller is.
    pub client: IpAddr,
    /// The id of the request that led to the question.
    pub request_id: Arc<str>,
}
