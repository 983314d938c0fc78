//! The caller that a credential belongs to.

use std::sync::Arc;

use super::grant::Granted;

/// Who a credential belongs to. Two providers never share a principal, whatever the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Who says so.
    pub source: Arc<Source>,
    /// What the provider calls the caller. Empty for callers without a credential, and for nobody
    /// else.
    pub subject: Box<str>,
}

impl Principal {
    /// Whether it is nobody: a caller without a credential.
    pub fn is_anonymous(&self) -> bool {
        self.subject.is_empty()
    }

    /// Whether it is a CI job with GitLab's job token: its subject is whoever started it, and it is
    /// not that person.
    pub fn is_job(&self) -> bool {
        matches!(self.source.credential_type.as_deref(), Some("build" | "ci"))
    }
}

/// Where principals come from. One value serves all callers of a provider who have the same kind of
/// credential, for each of them is kept in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The provider's name in the config.
    pub provider: Arc<str>,
    /// What the provider calls the kind of credential, such as `deploy_token`.
    pub credential_type: Option<Arc<str>>,
    /// Whether two subjects that differ in case alone are one, as users of GitLab are.
    pub folds_case: bool,
}

/// A credential that a provider vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who it is.
    pub principal: Principal,
    /// What it allows.
    pub granted: Granted,
    /// What else the provider says of the caller, for policy.
    pub attributes: Option<Box<Attributes>>,
}

impl Verified {
    /// The provider that knows the credential, where there is one.
    pub fn vouching_provider(&self) -> Option<Box<str>> {
        (!self.principal.is_anonymous()).then(|| (&*self.principal.source.provider).into())
    }
}

/// What rules may ask of a caller besides who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The groups that the provider names.
    pub groups: Vec<String>,
    /// The claims of a workload token.
    pub claims: serde_json::Map<String, serde_json::Value>,
}
