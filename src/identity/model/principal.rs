//! The caller that a credential belongs to.

use std::sync::Arc;

use super::grant::Granted;
use super::question::Vouched;

/// The identity that a credential belongs to. Principals of two providers are never equal, even if
/// their names are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The origin of this identity.
    pub source: Arc<Source>,
    /// The name that the provider gives the caller. Empty exactly if the caller has no credential.
    pub subject: Box<str>,
}

impl Principal {
    /// Returns whether the caller presented no credential.
    pub fn is_anonymous(&self) -> bool {
        self.subject.is_empty()
    }

    /// Returns whether this is a CI job with a GitLab job token. The subject of such a job is the
    /// user who started it, but the job must not be treated as that user.
    pub fn is_job(&self) -> bool {
        matches!(self.source.credential_type.as_deref(), Some("build" | "ci"))
    }
}

/// The origin of principals. Every cached verdict refers to one, so a single value is shared by all
/// callers of a provider with the same kind of credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The name of the provider in the config.
    pub provider: Arc<str>,
    /// The name that the provider gives the kind of credential, such as `deploy_token`.
    pub credential_type: Option<Arc<str>>,
    /// `true` if two subjects that differ only in case are the same user, as in GitLab.
    pub folds_case: bool,
}

/// A credential that a provider vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The identity of the caller.
    pub principal: Principal,
    /// The rights of the credential.
    pub granted: Granted,
    /// Further statements of the provider about the caller, for the policy.
    pub attributes: Option<Box<Attributes>>,
}

impl Verified {
    /// Returns the provider that vouches for the credential, for a token that is sealed; `None` if
    /// the caller has no credential.
    pub fn vouched(&self) -> Option<Vouched> {
        let by = &*self.principal.source.provider;
        let in_session = self.session_ends().is_some();
        let vouched = || Vouched { by: by.into(), alone: false, in_session };
        (!self.principal.is_anonymous()).then(vouched)
    }

    /// Returns the end of the session of a workload token (Unix time, seconds), if it has one.
    pub fn session_ends(&self) -> Option<u64> {
        self.attributes.as_ref()?.session_ends
    }
}

/// The properties of a caller, besides its identity, that policy rules can check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The groups of the caller, as named by the provider.
    pub groups: Vec<String>,
    /// The claims of a workload token.
    pub claims: serde_json::Map<String, serde_json::Value>,
    /// The end of the session of a workload token (Unix time, seconds): the time to which the
    /// token stays valid in what the gate seals. `None` if it has no session.
    pub session_ends: Option<u64>,
}
