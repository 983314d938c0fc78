//! The providers in the order of the config: each is asked only when all before it said "not mine".
//!
//! Three things come before that order, so that no provider is shown a secret that another one is
//! known to know: a JWT goes to its issuer's provider alone, what verified a secret last is asked
//! first (a gate token tells, where the cache does not), and so is a provider that can tell by
//! itself that the user is one of its own. Nobody behind that one is asked, whatever secret stands
//! beside the user's name.

mod lookup;
mod managed_provider;
mod order;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::cache::{CacheLimits, CachedAnswer, InFlight, VerdictCache};
use super::guard::failed_logins::{FailedLogins, Login};
use super::guard::question_rate::QuestionRate;
use super::model::credential::Credential;
use super::model::keyed_hash::{Fingerprint, HashKey};
use super::model::revocation::{Moment, Revocations, Revoked};
use super::model::{Granted, IssuedToken, NotNow, Principal, Question, Source, Verdict, Verified};
use crate::denial::{Denial, Limit};
use crate::metrics::Metrics;
use crate::rate_limit::Quota;
use crate::registry::Access;
use lookup::SharedState;
use order::sooner;

pub use managed_provider::{Accepts, Provider, ProviderKind};

/// When callers should try again whose credential could not be checked.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Every provider of the config, and what they said lately.
pub struct Identity {
    shared: Arc<SharedState>,
    providers: Vec<Arc<Provider>>,
    /// How many wrong credentials an address may have asked about; `None`: any number.
    failed_logins: Option<Quota>,
    /// A caller without a credential who is granted nothing. Its provider is the first that is
    /// asked about such callers, and has no name where none is.
    nobody: Arc<Verified>,
}

/// What the cache did for a request (`cache` in the access log).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheUse {
    /// It was not asked.
    #[default]
    None,
    Hit,
    Miss,
    Negative,
    /// The provider could not be asked, and had answered before.
    Stale,
    /// Another caller was asking the same.
    Coalesced,
}

impl CacheUse {
    /// What is logged of a verdict that was kept.
    fn from_verdict(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Verified(verified, _) if !verified.granted.is_nothing() => Self::Hit,
            _ => Self::Negative,
        }
    }

    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Negative => "negative",
            Self::Stale => "stale",
            Self::Coalesced => "coalesced",
        }
    }
}

impl Identity {
    /// A chain. `runtime` is where providers are asked.
    pub fn new(
        providers: Vec<Arc<Provider>>,
        limits: CacheLimits,
        key: HashKey,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Self {
        for provider in &providers {
            metrics.provider_known(&provider.name);
        }
        let (cache, in_flight) = (VerdictCache::new(limits), InFlight::default());
        let (logins, question_rate) = (Arc::new(FailedLogins::default()), QuestionRate::default());
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
        };
        Self::with_shared(shared.into(), providers)
    }

    /// Other providers with the same memory: the verdicts of those that stay live on.
    #[must_use]
    pub fn with_providers(&self, providers: Vec<Arc<Provider>>) -> Self {
        Self::with_shared(self.shared.clone(), providers)
    }

    /// The same with a bound on wrong credentials by address.
    #[must_use]
    pub fn with_failed_logins(self, failed_logins: Option<Quota>) -> Self {
        Self { failed_logins, ..self }
    }

    /// Takes the place of `old`, whose memory this shares: what was said by providers that are no
    /// more is forgotten, and new verdicts are kept as `limits` say, but for the capacities,
    /// which stay as they are.
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

    /// The providers, in the order of the config.
    pub fn providers(&self) -> &[Arc<Provider>] {
        &self.providers
    }

    fn with_shared(shared: Arc<SharedState>, providers: Vec<Arc<Provider>>) -> Self {
        let asked = providers.iter().find(|provider| provider.answers_anonymous());
        let provider = asked.map_or_else(|| "".into(), |provider| provider.name.clone());
        let principal = Principal {
            source: Source { provider, credential_type: None, folds_case: false }.into(),
            subject: "".into(),
        };
        let nobody = Arc::new(Verified { principal, granted: Granted::Nothing, attributes: None });
        Self { shared, providers, failed_logins: None, nobody }
    }

    /// A question that can be [verified](Self::verify) here.
    pub fn question(
        &self,
        credential: Credential,
        access: Access,
        client: IpAddr,
        request_id: Arc<str>,
    ) -> Question {
        let mut question = Question::new(&self.shared.key, credential, access, client, request_id);
        question.revocation = self.shared.revocations.lookup(&question.known_as);
        question
    }

    /// Revokes a secret: no verdict about it from before now is used again. A workload token is
    /// refused.
    pub fn revoke_secret(&self, credential: &Credential) {
        let key = &self.shared.key;
        let known_as = key.known_as(credential, key.credential(credential), key.secret(credential));
        self.revoke(Revoked::Secret(known_as.secret));
    }

    /// The same of a credential as logs name it.
    pub fn revoke_credential(&self, fingerprint: Fingerprint) {
        self.revoke(Revoked::Credential(fingerprint));
    }

    fn revoke(&self, what: Revoked) {
        self.shared.revocations.revoke(what, Moment::now());
    }

    /// Returns whether an operator has revoked the credential of a gate token since it was sealed
    /// (Unix time, microseconds).
    pub fn has_revoked_sealed(&self, question: &Question, sealed: u64) -> bool {
        self.shared.revocations.lookup(&question.known_as).refuses_sealed_at(sealed)
    }

    /// Live cache entries, roughly.
    pub fn cache_entries(&self) -> u64 {
        self.shared.cache.entries()
    }

    /// Who the caller is and what the credential allows. Awaits nothing where the answer is cached.
    /// A caller without a credential is nobody, and granted what is public, where a provider is
    /// asked about that.
    ///
    /// `cache_use` tells afterwards what the cache did, also where the answer is an error.
    ///
    /// # Errors
    /// [`Denial::WrongCredential`], [`Denial::ProviderUnavailable`],
    /// [`Denial::FailureBudgetSpent`], or [`Denial::Limited`]: too many wrong credentials came from there, or one is asked about too often;
    /// [`Denial::MalformedCredential`] where something stands around a workload token.
    pub async fn verify(
        &self,
        question: &Question,
        cache_use: &mut CacheUse,
    ) -> Result<Arc<Verified>, Denial> {
        if matches!(question.credential, Credential::Anonymous) {
            return Box::pin(self.verify_anonymous(question, cache_use)).await;
        }
        let mut login = match self.failed_logins {
            None => None,
            Some(quota) => {
                Some(self.shared.logins.admit(quota, question).map_err(too_many_failures)?)
            }
        };
        let known = self.shared.cache.known(question.secret);
        let last = known.as_ref().and_then(|known| known.last_provider());
        let last = last.and_then(|last| self.providers.iter().find(|it| it.number == last));
        if let (Some(known), Some(provider)) = (&known, last)
            && !self.is_of_one_before(provider, &question.credential)
            && let Some(verified) = known.fresh(
                &self.shared.question_id(provider, question),
                question.revocation.floor.map(|floor| floor.at),
            )
            && self.revoked_since(question).is_none()
        {
            *cache_use = CacheUse::Hit;
            if let Some(login) = login {
                login.verified();
            }
            return Ok(verified.clone());
        }
        // Boxed, so that what happens once in a while does not make every request larger.
        let found = Box::pin(self.search(question, last, login.as_mut(), cache_use)).await;
        match (&found, login) {
            // An old answer verifies nobody anew.
            (Ok(_), Some(login)) if *cache_use != CacheUse::Stale => login.verified(),
            (Err(Denial::WrongCredential), Some(login)) => login.wrong(),
            _ => {}
        }
        found
    }

    /// The question as it would be now, where an operator has revoked something of it since it was
    /// made: it may have waited for its answer, or for that of another one of the same request.
    fn revoked_since(&self, question: &Question) -> Option<Question> {
        let revocation = self.shared.revocations.lookup(&question.known_as);
        (revocation != question.revocation).then(|| Question { revocation, ..question.clone() })
    }

    /// When the credential of a question that was just verified ends (Unix time, seconds), where
    /// its provider said so and the answer is still remembered.
    pub fn ends(&self, question: &Question) -> Option<u64> {
        let known = self.shared.cache.known(question.secret)?;
        // A grant that is sent upstream ends by itself, and its credential goes on.
        let mut of_credential =
            known.answers().iter().rev().filter(|answer| answer.value().granted.token().is_none());
        of_credential.find_map(CachedAnswer::ends)
    }

    /// Forgets the answer to a question that came with this token, for the registry does not take
    /// it: the next caller with the question asks anew. What was answered since stays.
    pub fn forget(&self, question: &Question, refused: &IssuedToken) {
        for provider in &self.providers {
            self.shared.cache.forget(&self.shared.asked(provider, question), refused);
        }
    }

    /// What callers without a credential may read: the first provider that grants anything counts.
    /// Nobody is asked whether they may do more.
    async fn verify_anonymous(
        &self,
        question: &Question,
        cache_use: &mut CacheUse,
    ) -> Result<Arc<Verified>, Denial> {
        let question = Question { access: question.access.reading(), ..question.clone() };
        if question.access == Access::Login {
            return Ok(self.nobody.clone());
        }
        for provider in self.providers.iter().filter(|provider| provider.answers_anonymous()) {
            let verdict = self.shared.verdict_of(provider, &question, None, false, cache_use).await;
            match outcome(provider, verdict) {
                Some(Ok(verified)) if verified.granted.is_nothing() => {}
                Some(outcome) => return outcome,
                None => {}
            }
        }
        Ok(self.nobody.clone())
    }

    /// Asks the providers until one knows the credential, and anew where it was revoked meanwhile.
    async fn search(
        &self,
        question: &Question,
        last: Option<&Arc<Provider>>,
        mut login: Option<&mut Login<'_>>,
        cache_use: &mut CacheUse,
    ) -> Result<Arc<Verified>, Denial> {
        let answer = self.search_once(question, last, login.as_deref_mut(), cache_use).await;
        match self.revoked_since(question) {
            None => answer,
            Some(question) => Box::pin(self.search(&question, last, login, cache_use)).await,
        }
    }

    async fn search_once(
        &self,
        question: &Question,
        last: Option<&Arc<Provider>>,
        mut login: Option<&mut Login<'_>>,
        cache_use: &mut CacheUse,
    ) -> Result<Arc<Verified>, Denial> {
        let order = self.order(&question.credential)?;
        let last = last.or_else(|| self.provider(question.vouched_by.as_deref()?));
        let mut out_of_turn = Vec::new();
        for provider in sooner(&order, last, &question.credential) {
            match self
                .shared
                .verdict_of(provider, question, login.as_deref_mut(), false, cache_use)
                .await
            {
                // It ends the search where its turn comes, for one before it may know the
                // credential.
                no @ (Verdict::NotMine | Verdict::Rejected | Verdict::Unfit) => {
                    out_of_turn.push((provider.number, no))
                }
                verdict => {
                    return outcome(provider, verdict).unwrap_or(Err(Denial::WrongCredential));
                }
            }
        }
        for (position, provider) in order.iter().enumerate() {
            let verdict = match out_of_turn.iter().find(|(asked, _)| *asked == provider.number) {
                Some((_, verdict)) => verdict.clone(),
                None => {
                    let is_last = position + 1 == order.len();
                    self.shared
                        .verdict_of(provider, question, login.as_deref_mut(), is_last, cache_use)
                        .await
                }
            };
            if let Some(outcome) = outcome(provider, verdict) {
                return outcome;
            }
        }
        Err(Denial::WrongCredential)
    }

    fn provider(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.iter().find(|provider| &*provider.name == name)
    }
}

/// What the verdict of a provider means for the request. `None`: the next provider is asked.
fn outcome(provider: &Provider, verdict: Verdict) -> Option<Result<Arc<Verified>, Denial>> {
    let provider = || provider.name.clone();
    Some(match verdict {
        Verdict::NotMine => return None,
        Verdict::Verified(verified, _) => Ok(verified),
        Verdict::Rejected | Verdict::Unfit => Err(Denial::WrongCredential),
        Verdict::NotNow(NotNow::FailureBudgetSpent, retry_after) => {
            Err(Denial::FailureBudgetSpent { provider: provider(), retry_after })
        }
        Verdict::NotNow(NotNow::FailedLogins, retry_after) => Err(too_many_failures(retry_after)),
        Verdict::NotNow(NotNow::TooOften, retry_after) => {
            Err(Denial::Limited { limit: Limit::Questions, retry_after })
        }
        Verdict::NotNow(NotNow::Crowded, retry_after) => {
            Err(Denial::Limited { limit: Limit::PasswordChecks, retry_after })
        }
        Verdict::NotNow(_, retry_after) => {
            Err(Denial::ProviderUnavailable { provider: provider(), retry_after })
        }
        Verdict::Unavailable => {
            Err(Denial::ProviderUnavailable { provider: provider(), retry_after: RETRY_AFTER })
        }
    })
}

fn too_many_failures(retry_after: Duration) -> Denial {
    Denial::Limited { limit: Limit::FailedLogins, retry_after }
}
