//! Who is calling: what a credential proves, and what it allows by itself.
//!
//! The types here are pure. [`chain`] asks the providers in order and keeps their verdicts in [`cache`].

pub mod breaker;
pub mod cache;
pub mod chain;
pub mod claims;
pub mod clock;
pub mod credential;
pub mod failed_logins;
pub mod failure_budget;
pub mod fingerprint;
pub mod gitlab;
pub mod health;
pub mod htpasswd;
pub mod htpasswd_file;
pub mod introspection;
pub mod jwks;
pub mod jwt;
pub mod log_pace;
pub mod provider_client;
pub mod question_rate;
pub mod registry_token;
pub mod revoked;
pub mod scope_lists;
pub mod sources;
pub mod strict_json;
pub mod tag_rules;
#[cfg(test)]
mod test_server;
pub mod turns;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use credential::Credential;
use fingerprint::{CredentialId, HashKey, KnownAs, SecretId};
use revoked::Revocation;
use secrecy::SecretString;
use tag_rules::TagRules;

use crate::registry::{Access, Actions, RepositoryName};

/// Who a credential belongs to. Two providers never share a principal, whatever the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Who says so.
    pub source: Arc<Source>,
    /// What the provider calls the caller. Empty for callers without a credential, and for nobody else.
    pub subject: Box<str>,
}

impl Principal {
    /// Whether it is nobody: a caller without a credential.
    pub fn is_anonymous(&self) -> bool {
        self.subject.is_empty()
    }

    /// Whether it is a CI job with GitLab's job token: its subject is whoever started it, and it is not that person.
    pub fn is_job(&self) -> bool {
        matches!(self.source.credential_type.as_deref(), Some("build" | "ci"))
    }
}

/// Where principals come from. One value serves all callers of a provider who have the same kind of credential, for
/// each of them is kept in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The provider's name in the config.
    pub provider: Arc<str>,
    /// What the provider calls the kind of credential, such as `deploy_token`.
    pub credential_type: Option<Arc<str>>,
    /// Whether two subjects that differ in case alone are one, as users of GitLab are.
    pub folds_case: bool,
}

/// What a credential allows by itself. Policy can only narrow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// Scopes that hold for every repository; the `scopes` section of the config reads them. One list serves all whose
    /// scopes are the same.
    Scopes(Arc<Vec<String>>),
    /// What a token server granted for the one repository that was asked about, and for no other.
    Repository(Box<RepositoryGrant>),
    /// The same for each of several repositories, possibly nothing. One pointer, for all verdicts are as large as this.
    Repositories(Arc<Vec<RepositoryGrant>>),
    /// The list of all repositories, with the token that says so where it is kept.
    Catalog(Option<IssuedToken>),
    /// No repository was asked about: it proves who the caller is.
    Identity,
    /// The provider vouches for the credential, and lets it do nothing.
    Nothing,
}

/// What a token server granted for one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryGrant {
    /// The repository that was asked about.
    pub repository: RepositoryName,
    /// What was granted of what was asked.
    pub actions: Actions,
    /// Who granted it, for the words of a refusal.
    pub server: TokenServerKind,
    /// Which tags may not be written or deleted, where that was asked about. As old as the grant itself.
    pub tags: TagRules,
    /// The token that says so, where the server's own tokens are sent upstream and there is something in it. A token for
    /// several repositories is in each of their grants.
    pub token: Option<IssuedToken>,
}

/// The very token that a token server issued for one question, whatever it was about. Equal to itself alone.
#[derive(Clone, Debug)]
pub struct IssuedToken(Arc<SecretString>);

impl IssuedToken {
    /// Keeps a token.
    pub fn new(token: SecretString) -> Self {
        Self(Arc::new(token))
    }

    /// The token.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }
}

impl PartialEq for IssuedToken {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for IssuedToken {}

/// The kinds of server that speak the registry token protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenServerKind {
    /// What a grant takes there is known.
    GitLab,
    /// Any other.
    Other,
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

impl Granted {
    /// Whether there is nothing that it allows.
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Repository(_) | Self::Repositories(_) => {
                self.repositories().iter().all(|grant| grant.actions == Actions::default())
            }
            Self::Scopes(scopes) => scopes.is_empty(),
            Self::Nothing => true,
            Self::Catalog(_) | Self::Identity => false,
        }
    }

    /// What was granted repository by repository. Empty where it was not asked so.
    pub fn repositories(&self) -> &[RepositoryGrant] {
        match self {
            Self::Repository(grant) => std::slice::from_ref(grant),
            Self::Repositories(grants) => grants,
            Self::Scopes(_) | Self::Catalog(_) | Self::Identity | Self::Nothing => &[],
        }
    }

    /// What was granted for this repository, where that was asked.
    pub fn repository(&self, name: &RepositoryName) -> Option<&RepositoryGrant> {
        self.repositories().iter().find(|grant| grant.repository == *name)
    }

    /// The token to send upstream, where it was kept.
    pub fn token(&self) -> Option<&IssuedToken> {
        match self {
            Self::Catalog(token) => token.as_ref(),
            granted => granted.repositories().first()?.token.as_ref(),
        }
    }
}

/// What a provider says of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not one of its own: the next provider is asked.
    NotMine,
    /// Valid, for so long.
    Verified(Arc<Verified>, Lifetime),
    /// One of its own, and wrong: no other provider is asked.
    Rejected,
    /// It vouches for the secret, and this is no credential for a registry, such as a refresh token. Refused like a wrong
    /// one, but asked about anew each time.
    Unfit,
    /// It is well, and gives this caller no answer now. Says nothing about the provider, and nothing is cached.
    NotNow(NotNow, Duration),
    /// It could not be asked or did not make sense. Never cached, never a refusal, and no other provider is asked.
    Unavailable,
}

impl Verdict {
    /// Returns the word for the verdict in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotMine => "not_mine",
            Self::Verified(..) => "verified",
            Self::Rejected => "rejected",
            Self::Unfit => "unfit",
            Self::NotNow(..) => "not_now",
            Self::Unavailable => "unavailable",
        }
    }
}

/// How long a verdict holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// The answer is not good for longer than this from now on. The credential may well be.
    pub answer: Option<Duration>,
    /// When the credential itself ends (Unix time, seconds).
    pub credential: Option<u64>,
}

/// Why a provider that is well gives one caller no answer. The duration beside it says when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// 429. Known callers pull on.
    Busy,
    /// It was not asked: as many questions as it is asked at the same time have no answer yet. Known callers pull on.
    NoTurn,
    /// It refuses to be asked by this caller, from this address: a ban.
    Barred,
    /// It does not know what it is asked for: the config names a wrong service or path.
    Misconfigured,
    /// As many wrong credentials as it may be asked about were asked of it.
    FailureBudgetSpent,
    /// It was not asked: too many wrong credentials came from the caller's address.
    FailedLogins,
    /// It was not asked: too many callers of the same address wait for it already.
    Crowded,
    /// It was not asked: the same secret, or the address of a caller without one, was asked about too often. Known
    /// callers pull on.
    TooOften,
}

/// What a provider is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The caller's credential.
    pub credential: Credential,
    /// Its keyed hash.
    pub id: CredentialId,
    /// The keyed hash of its secret alone.
    pub secret: SecretId,
    /// By what operators know it.
    pub known_as: KnownAs,
    /// What the caller wants to do.
    pub access: Access,
    /// Where the caller is.
    pub client: IpAddr,
    /// The id of the request that led to the question.
    pub request_id: Arc<str>,
    /// The provider that vouched for the credential before, as a gate token says: it is asked first.
    pub vouched_by: Option<Box<str>>,
    /// What operators have revoked of the credential so far.
    pub revocation: Revocation,
}

impl Question {
    /// A question about a credential, whose hashes are made with the process's key.
    pub fn new(key: &HashKey, credential: Credential, access: Access, client: IpAddr, request_id: Arc<str>) -> Self {
        let (id, secret) = (key.credential(&credential), key.secret(&credential));
        let known_as = key.known_as(&credential, id, secret);
        let revocation = Revocation::default();
        Self { credential, id, secret, known_as, access, client, request_id, vouched_by: None, revocation }
    }
}
