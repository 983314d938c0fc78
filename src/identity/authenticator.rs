//! The providers in the order of the config: each is asked only if all providers before it answered
//! "not mine".
//!
//! Three rules take precedence over that order, so that a secret is not shown to a provider if it
//! is known to belong to another one. A JWT goes to the provider of its issuer only. A provider
//! that can tell by itself that the user is its own is asked early, and providers behind it are not
//! asked about that user, with any secret. The provider that last verified the secret is asked
//! before its turn, unless a provider before it knows the user; a gate token names it if the cache
//! does not.

mod asking;
mod cache_use;
mod lookup;
mod managed_provider;
mod order;
mod revoking;
mod search;
mod settled;
mod trail;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use tokio::runtime::Handle;

use super::cache::{CacheLimits, CachedVerdict, InFlight, VerdictCache};
use super::guard::failed_logins::FailedLogins;
use super::guard::question_rate::QuestionRate;
use super::guard::shared_guards::SharedGuards;
use super::model::credential::Credential;
use super::model::keyed_hash::HashKey;
use super::model::revocation::Revocations;
use super::model::{Granted, Principal, Question, Source, UpstreamToken, Verified, Vouched};
use super::shared_verdicts::SharedVerdicts;
use crate::denial::{Denial, Limit};
use crate::metrics::Metrics;
use crate::rate_limit::Quota;
use crate::registry::Access;
use crate::request_id::RequestId;
use lookup::SharedState;
use settled::CredentialFacts;
use trail::Trail;

pub use cache_use::CacheUse;
pub use managed_provider::{Accepts, ManagedProvider};
pub use revoking::Revoker;

/// All providers of the config and their recent verdicts.
pub struct Authenticator {
    shared: Arc<SharedState>,
    /// The number of this chain of providers, unique in the process.
    number: u64,
    providers: Vec<Arc<ManagedProvider>>,
    /// The number of wrong credentials that one address may send; `None` if it is not limited.
    failed_logins: Option<Quota>,
    /// The verdict for a caller without a credential who is granted nothing. Attributed to the
    /// first provider with `anonymous: true`; the provider name is empty if there is none.
    anonymous: Arc<Verified>,
    /// The statements of the providers; unset in the gate that serves.
    trail: OnceLock<Trail>,
}

impl Authenticator {
    /// Creates a chain of providers. `runtime` runs the questions to them.
    pub fn new(
        providers: Vec<Arc<ManagedProvider>>,
        limits: CacheLimits,
        key: HashKey,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Self {
        Self::of_replica(providers, limits, key, metrics, runtime, None)
    }

    /// Creates a chain of providers in one of several replicas, which share their verdicts.
    pub fn of_replica(
        providers: Vec<Arc<ManagedProvider>>,
        limits: CacheLimits,
        key: HashKey,
        metrics: Arc<Metrics>,
        runtime: Handle,
        shared: Option<(Arc<SharedVerdicts>, Arc<SharedGuards>)>,
    ) -> Self {
        for provider in &providers {
            metrics.provider_known(&provider.name);
        }
        let (cache, in_flight) = (VerdictCache::new(limits), InFlight::default());
        let (shared_verdicts, guards) = shared.unzip();
        let logins = guards.map_or_else(FailedLogins::default, FailedLogins::of_replica);
        let (logins, question_rate) = (Arc::new(logins), QuestionRate::default());
        let revocations = Revocations::default();
        let shared = SharedState {
            cache,
            in_flight,
            revocations,
            logins,
            question_rate,
            metrics,
            key,
            runtime,
            shared_verdicts,
            other_keys: RwLock::default(),
        };
        Self::with_shared(shared.into(), providers)
    }

    /// Creates a chain of other providers with the same shared state: the verdicts of providers in
    /// both chains stay valid.
    #[must_use]
    pub fn with_providers(&self, providers: Vec<Arc<ManagedProvider>>) -> Self {
        Self::with_shared(self.shared.clone(), providers)
    }

    /// Sets the limit on wrong credentials by address.
    #[must_use]
    pub fn with_failed_logins(self, failed_logins: Option<Quota>) -> Self {
        Self { failed_logins, ..self }
    }

    /// Replaces `old`, with which this value shares its state. The verdicts of providers that do
    /// not exist any more are dropped. New verdicts are kept as `limits` says, except for the
    /// capacities, which do not change.
    pub fn take_over(&self, old: &Self, limits: CacheLimits) {
        let SharedState { cache, metrics, .. } = &*self.shared;
        cache.set_limits(limits);
        for provider in &self.providers {
            metrics.provider_known(&provider.name);
        }
        for gone in old
            .providers
            .iter()
            .filter(|old| self.providers.iter().all(|it| it.number != old.number))
        {
            cache.forget_provider(gone.number);
            if self.provider(&gone.name).is_none() {
                metrics.provider_gone(&gone.name);
            }
        }
    }

    /// Returns the providers in the order of the config.
    pub fn providers(&self) -> &[Arc<ManagedProvider>] {
        &self.providers
    }

    fn with_shared(shared: Arc<SharedState>, providers: Vec<Arc<ManagedProvider>>) -> Self {
        let asked = providers.iter().find(|provider| provider.answers_anonymous());
        let provider = asked.map_or_else(|| "".into(), |provider| provider.name.clone());
        let principal = Principal {
            source: Source { provider, credential_type: None, folds_case: false }.into(),
            subject: "".into(),
        };
        let anonymous =
            Arc::new(Verified { principal, granted: Granted::Nothing, attributes: None });
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { shared, number, providers, failed_logins: None, anonymous, trail: OnceLock::new() }
    }

    /// Creates a question for [`verify`](Self::verify) about a credential that the caller presents.
    pub fn question(
        &self,
        credential: Credential,
        access: Access,
        client: IpAddr,
        request_id: RequestId,
    ) -> Question {
        self.question_about((credential, None), access, client, request_id)
    }

    /// Creates a question for [`verify`](Self::verify) about a credential, and about the word of
    /// the provider that was sealed with it in a token.
    pub fn question_about(
        &self,
        (credential, vouched): (Credential, Option<Vouched>),
        access: Access,
        client: IpAddr,
        request_id: RequestId,
    ) -> Question {
        let SharedState { key, revocations, .. } = &*self.shared;
        let by_itself = key.credential(&credential);
        let in_session = vouched.as_ref().filter(|vouched| vouched.in_session);
        let id = in_session.map_or(by_itself, |vouched| by_itself.in_session(&vouched.by));
        let CredentialFacts { secret, known_as, revocation } =
            settled::facts(id, revocations.revision()).unwrap_or_else(|| {
                let secret = key.secret(&credential);
                let known_as = key.known_as(&credential, by_itself, secret);
                let revocation = self.shared.revocation(&credential, &known_as);
                CredentialFacts { secret, known_as, revocation }
            });
        Question {
            credential,
            id,
            secret,
            known_as,
            access,
            client,
            request_id,
            vouched,
            revocation,
            waits: None,
            trace: None,
        }
    }

    /// Returns the approximate number of live cache entries.
    pub fn cache_entries(&self) -> u64 {
        self.shared.cache.entries()
    }

    /// Returns the identity of the caller and the rights of the credential. Does not wait if the
    /// answer is cached. A caller without a credential is anonymous and is granted what is public,
    /// if a provider answers that question.
    ///
    /// `cache_use` is set to the use of the cache, even if the result is an error.
    ///
    /// # Errors
    /// - [`Denial::WrongCredential`] if no provider verifies the credential.
    /// - [`Denial::ProviderUnavailable`] if a provider gives no answer.
    /// - [`Denial::FailureBudgetSpent`] if a provider was asked about too many wrong credentials.
    /// - [`Denial::Limited`] if too many wrong credentials came from the address, if there were too
    ///   many questions about one credential, or if too many callers of the address wait for a
    ///   password check.
    /// - [`Denial::MalformedCredential`] if a workload token has extra characters around it.
    pub async fn verify(
        &self,
        question: &Question,
        cache_use: &mut CacheUse,
    ) -> Result<Arc<Verified>, Denial> {
        if matches!(question.credential, Credential::Anonymous) {
            return Box::pin(self.verify_anonymous(question, cache_use)).await;
        }
        if let Some(verified) = self.settled(question) {
            *cache_use = CacheUse::Hit;
            return Ok(verified);
        }
        let mut waits = None;
        let mut login = match self.failed_logins {
            None => None,
            Some(quota) => {
                let mut login =
                    self.shared.logins.admit(quota, question).map_err(too_many_failures)?;
                if login.is_for_others() {
                    let waits = waits.insert(Arc::default());
                    Box::pin(login.enter(question, waits)).await.map_err(too_many_failures)?;
                }
                Some(login)
            }
        };
        // Both are read before what they stand for.
        let version = self.shared.cache.version(question.secret);
        let revision = self.shared.revocations.revision();
        let known = self.shared.cache.known(question.secret);
        let last = known.as_ref().and_then(|known| known.last_provider());
        let last = last.and_then(|last| self.providers.iter().find(|it| it.number == last));
        let last = last.filter(|it| !question.excludes(&it.name));
        if let (Some(known), Some(provider)) = (&known, last)
            && !self.earlier_provider_knows_user(provider, &question.credential)
            && let Some(answer) = known.fresh(
                &self.shared.question_id(provider, question),
                question.revocation.floor.map(|floor| floor.at),
            )
            && self.refreshed_if_revoked(question).is_none()
        {
            *cache_use = CacheUse::Hit;
            if let Some(login) = &login {
                login.verified(question);
            }
            let good_login = login.and_then(|login| login.good());
            self.settle(question, provider, answer, version, revision, good_login);
            return Ok(answer.value().clone());
        }
        // The search is rare. Boxing it keeps the future of every request small.
        let found = Box::pin(self.search(question, waits, last, login.as_mut(), cache_use)).await;
        match (&found, login) {
            // A stale answer does not verify the credential again.
            (Ok(_), Some(login)) if *cache_use != CacheUse::Stale => login.verified(question),
            (Err(Denial::WrongCredential | Denial::AccountPassword), Some(login)) => {
                login.wrong(question)
            }
            _ => {}
        }
        found
    }

    /// Returns the expiry of the credential of a question that was just verified (Unix time,
    /// seconds), if its provider stated one and the answer is still cached.
    pub fn credential_expiry(&self, question: &Question) -> Option<u64> {
        let known = self.shared.cache.known(question.secret)?;
        // An issued token for upstream has an expiry of its own, which is not that of the
        // credential.
        let mut of_credential =
            known.answers().iter().rev().filter(|answer| answer.value().granted.token().is_none());
        of_credential.find_map(CachedVerdict::ends)
    }

    /// Drops the answer to a question if it carries this token, because the registry refuses the
    /// token. The next request asks the question again. A later answer is kept.
    pub async fn forget(&self, question: &Question, refused: &UpstreamToken) {
        for provider in &self.providers {
            // The answer must not come back from the other replicas.
            if let (Some(shared), Some(provider)) =
                (&self.shared.shared_verdicts, provider.shared())
            {
                shared.void(provider, question, refused).await;
            }
        }
        self.forget_here(question, refused);
    }

    fn forget_here(&self, question: &Question, refused: &UpstreamToken) {
        for provider in &self.providers {
            self.shared.cache.forget(&self.shared.asked(provider, question), refused);
        }
    }

    /// Returns whether this provider may be asked alone about a credential: the config has it, and
    /// no provider before it knows the user as its own.
    pub fn may_ask(&self, provider: &str, credential: &Credential) -> bool {
        let provider = self.provider(provider);
        provider.is_some_and(|it| !self.earlier_provider_knows_user(it, credential))
    }

    fn provider(&self, name: &str) -> Option<&Arc<ManagedProvider>> {
        self.providers.iter().find(|provider| &*provider.name == name)
    }
}

fn too_many_failures(retry_after: Duration) -> Denial {
    Denial::Limited { limit: Limit::FailedLogins, retry_after }
}
