//! The question about a credential that a provider is asked.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::credential::Credential;
use super::keyed_hash::{CredentialId, HashKey, KnownAs, SecretId};
use super::revocation::Revocation;
use crate::registry::{Access, Action};
use crate::request_id::RequestId;
use crate::telemetry::QuestionTrace;

/// A question to a provider: one credential and one access.
#[derive(Clone, Debug)]
pub struct Question {
    /// The credential of the caller.
    pub credential: Credential,
    /// The keyed hash of the credential, which is another one in a session.
    pub id: CredentialId,
    /// The keyed hash of the secret alone.
    pub secret: SecretId,
    /// The identifiers of the credential for operators.
    pub known_as: KnownAs,
    /// The access that the caller requests.
    pub access: Access,
    /// The address of the client.
    pub client: IpAddr,
    /// The id of the request that led to the question.
    pub request_id: RequestId,
    /// The provider that vouched for the credential when the token of the request was sealed.
    pub vouched: Option<Vouched>,
    /// The revocations of the credential so far.
    pub revocation: Revocation,
    /// The waits of the request for other replicas; `None` if there are none, or if it has not had
    /// to wait yet.
    pub waits: Option<Arc<ReplicaWaits>>,
    /// The trace of the request, if it is sampled.
    pub trace: Option<Arc<QuestionTrace>>,
}

/// The provider that vouched for a credential when the gate sealed it in a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// The name of the provider in the config. It is asked before its turn, unless a provider
    /// before it knows the user.
    pub by: Box<str>,
    /// `true` if no other provider is asked.
    pub alone: bool,
    /// `true` if the credential is a workload token whose provider had checked its signature, and
    /// lets it live as long as a session. No other provider is asked.
    pub in_session: bool,
}

impl Vouched {
    /// Returns whether no other provider than this one may be asked.
    pub fn excludes(&self, provider: &str) -> bool {
        (self.alone || self.in_session) && *self.by != *provider
    }
}

/// The time that a request has waited for other replicas, at all stages together. It has as much
/// time as one answer may take, and then goes on without them.
#[derive(Debug, Default)]
pub struct ReplicaWaits {
    /// In microseconds.
    so_far: AtomicU64,
}

impl ReplicaWaits {
    /// Returns how much of this time is left.
    pub fn left_of(&self, time: Duration) -> Duration {
        time.saturating_sub(Duration::from_micros(self.so_far.load(Ordering::Relaxed)))
    }

    /// Adds a wait that began at `begun`.
    pub fn add_since(&self, begun: Instant) {
        let waited = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.so_far.fetch_add(waited, Ordering::Relaxed);
    }
}

/// The kinds of questions. A provider may answer one kind well and fail at another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuestionKind {
    Login,
    Catalog,
    /// About pulls alone.
    Pull,
    /// About a push or a delete too.
    Change,
}

impl Question {
    /// Returns the kind of the question.
    pub fn kind(&self) -> QuestionKind {
        let is_pull = |access: &Access| {
            access.repositories().all(|(_, actions)| actions == Action::Pull.needs())
        };
        match &self.access {
            Access::Login => QuestionKind::Login,
            Access::Catalog => QuestionKind::Catalog,
            access if is_pull(access) => QuestionKind::Pull,
            _ => QuestionKind::Change,
        }
    }

    /// Returns whether this provider must not be asked.
    pub fn excludes(&self, provider: &str) -> bool {
        self.vouched.as_ref().is_some_and(|vouched| vouched.excludes(provider))
    }

    /// Returns the keyed hash of the credential as it is presented by itself.
    pub fn credential_by_itself(&self) -> CredentialId {
        let in_session = self.vouched.as_ref().filter(|vouched| vouched.in_session);
        in_session.map_or(self.id, |vouched| self.id.in_session(&vouched.by))
    }

    /// Notes in the trace of the request that the question takes this request to a server.
    pub fn sends<B>(&self, request: &http::Request<B>) {
        if let Some(trace) = &self.trace {
            trace.sends(request.method(), request.uri());
        }
    }

    /// Notes the status of its response.
    pub fn receives(&self, status: http::StatusCode) {
        if let Some(trace) = &self.trace {
            trace.receives(status);
        }
    }

    /// Creates a question about a credential and computes its hashes with the key of the process.
    pub fn new(
        key: &HashKey,
        credential: Credential,
        access: Access,
        client: IpAddr,
        request_id: RequestId,
    ) -> Self {
        let (id, secret) = (key.credential(&credential), key.secret(&credential));
        let known_as = key.known_as(&credential, id, secret);
        let revocation = Revocation::default();
        Self {
            credential,
            id,
            secret,
            known_as,
            access,
            client,
            request_id,
            vouched: None,
            waits: None,
            trace: None,
            revocation,
        }
    }
}
