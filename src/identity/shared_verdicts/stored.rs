//! The form in which replicas share a verdict: JSON, which is sealed before it leaves the process.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::hex;
use crate::identity::model::tag_rules::TagRules;
use crate::identity::model::{
    Attributes, Granted, Lifetime, Principal, RepositoryGrant, Source, TokenServerKind,
    UpstreamToken, Verdict, Verified,
};
use crate::registry::{Actions, RepositoryName};

/// A verdict with the times at which it was asked for.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredVerdict {
    /// The time of the question by the clock of the replica that asked (Unix time, microseconds).
    pub asked_unix: u64,
    /// The time of the question by the clock of Redis (Unix time, microseconds).
    pub asked_redis: u64,
    /// The credential, as [`SharedQuestionId`](crate::identity::model::keyed_hash) has it.
    pub credential: [u8; 16],
    said: Said,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum Said {
    NotMine,
    AccountPassword,
    Rejected,
    Unfit,
    Verified(Box<StoredVerified>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredVerified {
    credential_type: Option<String>,
    folds_case: bool,
    subject: String,
    granted: StoredGrant,
    groups: Option<Vec<String>>,
    claims: Map<String, Value>,
    /// The longest time for which the answer is valid, in milliseconds.
    answer_ms: Option<u64>,
    /// The expiry of the credential (Unix time, seconds).
    ends: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum StoredGrant {
    Scopes(Vec<String>),
    Repository(StoredRepository),
    Repositories(Vec<StoredRepository>),
    Catalog(Option<String>),
    Identity,
    Nothing,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRepository {
    name: String,
    pull: bool,
    push: bool,
    delete: bool,
    is_gitlab: bool,
    tags: TagRules,
    token: Option<String>,
}

impl StoredVerdict {
    /// Creates the stored form of a verdict; `None` for verdicts that are not shared: those about
    /// the caller of the moment, and those without an answer.
    pub fn new(
        verdict: &Verdict,
        (asked_unix, asked_redis): (u64, u64),
        credential: [u8; 16],
    ) -> Option<Self> {
        let said = match verdict {
            Verdict::NotMine => Said::NotMine,
            Verdict::AccountPassword => Said::AccountPassword,
            Verdict::Rejected => Said::Rejected,
            Verdict::Verified(verified, lifetime) => {
                Said::Verified(Box::new(StoredVerified::new(verified, *lifetime)))
            }
            Verdict::Unfit => Said::Unfit,
            Verdict::NotNow(..) | Verdict::Unavailable => return None,
        };
        Some(Self { asked_unix, asked_redis, credential, said })
    }

    /// Returns the verdict, as that of the provider with this name.
    pub fn verdict(&self, provider: &Arc<str>) -> Option<Verdict> {
        Some(match &self.said {
            Said::NotMine => Verdict::NotMine,
            Said::AccountPassword => Verdict::AccountPassword,
            Said::Rejected => Verdict::Rejected,
            Said::Unfit => Verdict::Unfit,
            Said::Verified(stored) => {
                let lifetime = Lifetime {
                    answer: stored.answer_ms.map(Duration::from_millis),
                    credential: stored.ends,
                };
                Verdict::Verified(Arc::new(stored.verified(provider)?), lifetime)
            }
        })
    }

    /// Returns the bytes to seal.
    pub fn to_bytes(&self) -> Option<Zeroizing<Vec<u8>>> {
        serde_json::to_vec(self).ok().map(Zeroizing::new)
    }

    /// Reads unsealed bytes. `None` if another version of the gate wrote them.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl StoredVerified {
    fn new(verified: &Verified, lifetime: Lifetime) -> Self {
        let Source { credential_type, folds_case, .. } = &*verified.principal.source;
        let attributes = verified.attributes.as_deref();
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            credential_type: credential_type.as_deref().map(str::to_owned),
            folds_case: *folds_case,
            subject: verified.principal.subject.clone().into(),
            granted: StoredGrant::new(&verified.granted),
            groups: attributes.map(|attributes| attributes.groups.clone()),
            claims: attributes.map(|attributes| attributes.claims.clone()).unwrap_or_default(),
            answer_ms: lifetime.answer.map(milliseconds),
            ends: lifetime.credential,
        }
    }

    fn verified(&self, provider: &Arc<str>) -> Option<Verified> {
        let source = Source {
            provider: provider.clone(),
            credential_type: self.credential_type.as_deref().map(Into::into),
            folds_case: self.folds_case,
        };
        let attributes = self.groups.clone().map(|groups| {
            Attributes { groups, claims: self.claims.clone(), session_ends: None }.into()
        });
        Some(Verified {
            principal: Principal { source: source.into(), subject: self.subject.as_str().into() },
            granted: self.granted.granted()?,
            attributes,
        })
    }
}

impl StoredGrant {
    fn new(granted: &Granted) -> Self {
        let text = |token: &UpstreamToken| token.secret().expose_secret().to_owned();
        match granted {
            Granted::Scopes(scopes) => Self::Scopes(scopes.iter().map(str::to_owned).collect()),
            Granted::Repository(grant) => Self::Repository(StoredRepository::new(grant)),
            Granted::Repositories(grants) => {
                Self::Repositories(grants.iter().map(StoredRepository::new).collect())
            }
            Granted::Catalog(token) => Self::Catalog(token.as_ref().map(text)),
            Granted::Identity => Self::Identity,
            Granted::Nothing => Self::Nothing,
        }
    }

    fn granted(&self) -> Option<Granted> {
        Some(match self {
            Self::Scopes(scopes) => Granted::Scopes(scopes.iter().collect()),
            Self::Repository(stored) => Granted::Repository(Box::new(stored.grant(None)?)),
            Self::Repositories(stored) => {
                let mut grants: Vec<RepositoryGrant> = Vec::new();
                for stored in stored {
                    let before = grants.iter().filter_map(|grant| grant.token.clone()).next();
                    grants.push(stored.grant(before)?);
                }
                Granted::Repositories(grants.into())
            }
            Self::Catalog(token) => Granted::Catalog(token.as_deref().map(upstream_token)),
            Self::Identity => Granted::Identity,
            Self::Nothing => Granted::Nothing,
        })
    }
}

impl StoredRepository {
    fn new(grant: &RepositoryGrant) -> Self {
        let Actions { pull, push, delete } = grant.actions;
        Self {
            name: grant.repository.as_str().to_owned(),
            pull,
            push,
            delete,
            is_gitlab: grant.server == TokenServerKind::GitLab,
            tags: grant.tags.clone(),
            token: grant.token.as_ref().map(|token| token.secret().expose_secret().to_owned()),
        }
    }

    /// Returns the grant. `same` is the token of the grants before, which one for several
    /// repositories shares with them.
    fn grant(&self, same: Option<UpstreamToken>) -> Option<RepositoryGrant> {
        let same =
            same.filter(|token| self.token.as_deref() == Some(token.secret().expose_secret()));
        Some(RepositoryGrant {
            repository: RepositoryName::parse(&self.name)?,
            actions: Actions { pull: self.pull, push: self.push, delete: self.delete },
            server: if self.is_gitlab { TokenServerKind::GitLab } else { TokenServerKind::Other },
            tags: self.tags.clone(),
            token: same.or_else(|| self.token.as_deref().map(upstream_token)),
        })
    }
}

fn upstream_token(text: &str) -> UpstreamToken {
    UpstreamToken::new(SecretString::from(text))
}

/// Returns a hash as text, for the key of a value.
pub(super) fn hex(hash: [u8; 16]) -> String {
    hash.chunks_exact(8)
        .filter_map(|half| half.first_chunk().copied())
        .flat_map(|half| hex::digits(u64::from_be_bytes(half)))
        .map(char::from)
        .collect()
}
