//! The providers in the order of the config: each is asked only when all before it said "not mine".

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::cache::{CacheLimits, Coalesced, VerdictCache};
use super::credential::Credential;
use super::fingerprint::{CredentialId, DependsOn, HashKey, SecretId};
use super::gitlab::GitLab;
use super::htpasswd::Htpasswd;
use super::{NotNow, Question, Verdict, Verified};
use crate::denial::Denial;
use crate::record::Metrics;

/// Every provider of the config, and what they said lately.
pub struct Identity {
    shared: Arc<Shared>,
    key: HashKey,
    /// Where questions are asked: not on the worker of the caller, whose hanging up must not end them.
    questions: Handle,
}

struct Shared {
    providers: Vec<Provider>,
    cache: VerdictCache,
    metrics: Arc<Metrics>,
}

/// Questions that one provider is asked at the same time. Callers who hang up leave theirs behind, and each is a
/// connection: without a bound they would be as many as somebody cares to send.
const TURNS: usize = 128;

/// When callers should try again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How long a question waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);

/// A provider with its name in the config.
pub struct Provider {
    name: Arc<str>,
    kind: ProviderKind,
    turns: Semaphore,
}

/// The kinds of provider that there are.
pub enum ProviderKind {
    GitLab(GitLab),
    Htpasswd(Htpasswd),
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
    /// Another caller was asking the same.
    Coalesced,
}

impl CacheUse {
    /// What is logged of a verdict that was kept.
    fn of(verdict: &Verdict) -> Self {
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
            Self::Coalesced => "coalesced",
        }
    }
}

impl Identity {
    /// A chain. `questions` is the runtime on which providers are asked.
    pub fn new(
        providers: Vec<Provider>,
        limits: CacheLimits,
        key: HashKey,
        metrics: Arc<Metrics>,
        questions: Handle,
    ) -> Self {
        for provider in &providers {
            metrics.provider_known(&provider.name);
        }
        Self { shared: Arc::new(Shared { providers, cache: VerdictCache::new(limits), metrics }), key, questions }
    }

    /// The keyed hashes of a credential and of its secret alone.
    pub fn ids_of(&self, credential: &Credential) -> (CredentialId, SecretId) {
        (self.key.credential(credential), self.key.secret(credential))
    }

    /// Live cache entries, roughly.
    pub fn cache_entries(&self) -> u64 {
        self.shared.cache.entries()
    }

    /// Asks the providers in order until one knows the credential. Awaits nothing where the answer is cached.
    ///
    /// `cache_use` tells afterwards what the cache did, also where the answer is an error.
    ///
    /// # Errors
    /// [`Denial::NoCredential`], [`Denial::WrongCredential`] or [`Denial::ProviderUnavailable`].
    pub async fn verify(&self, question: &Question, cache_use: &mut CacheUse) -> Result<Arc<Verified>, Denial> {
        if matches!(question.credential, Credential::Anonymous) {
            return Err(Denial::NoCredential);
        }
        for place in 0..self.shared.providers.len() {
            match self.ask_one(place, question, cache_use).await {
                Verdict::Verified(verified, _) => return Ok(verified),
                Verdict::NotMine => {}
                Verdict::Rejected | Verdict::Unfit => return Err(Denial::WrongCredential),
                Verdict::NotNow(NotNow::FailureBudgetSpent, retry_after) => {
                    return Err(Denial::FailureBudgetSpent { retry_after });
                }
                Verdict::NotNow(_, retry_after) => return Err(Denial::ProviderUnavailable { retry_after }),
                Verdict::Unavailable => return Err(Denial::ProviderUnavailable { retry_after: RETRY_AFTER }),
            }
        }
        Err(Denial::WrongCredential)
    }

    async fn ask_one(&self, place: usize, question: &Question, cache_use: &mut CacheUse) -> Verdict {
        let Some(provider) = self.shared.providers.get(place) else { return Verdict::Unavailable };
        let (id, credential) = (self.key.question(place, provider.depends_on(), question), question.id);
        let cache = &self.shared.cache;
        if let Some(verdict) = cache.look_up(&id, place, credential) {
            *cache_use = CacheUse::of(&verdict);
            return verdict;
        }
        let mut receiver = match cache.coalesce(id, place, credential) {
            Coalesced::Answered(verdict) => {
                *cache_use = CacheUse::of(&verdict);
                return verdict;
            }
            Coalesced::Wait(receiver) => {
                *cache_use = CacheUse::Coalesced;
                receiver
            }
            Coalesced::Ask(sender) => {
                *cache_use = CacheUse::Miss;
                let receiver = sender.subscribe();
                let (shared, question) = (self.shared.clone(), question.clone());
                self.questions.spawn(async move {
                    // Settles the question also where the asking panics: nobody may wait for ever.
                    let mut settling =
                        Settling { shared: &shared, id, place, credential, verdict: Some(Verdict::Unavailable) };
                    let abandoned = || shared.cache.abandon(&id, &sender);
                    settling.verdict = shared.ask(place, &question, abandoned).await;
                    let verdict = settling.verdict.clone();
                    drop(settling);
                    let _ = sender.send(verdict);
                });
                receiver
            }
        };
        let answered = receiver.wait_for(Option::is_some).await;
        answered.ok().and_then(|verdict| verdict.clone()).unwrap_or(Verdict::Unavailable)
    }
}

impl Shared {
    /// Asks one provider, when it is this question's turn. No verdict where nobody waits for one by then.
    async fn ask(&self, place: usize, question: &Question, abandoned: impl Fn() -> bool) -> Option<Verdict> {
        let provider = self.providers.get(place)?;
        let Ok(Ok(_turn)) = timeout(TURN_TIMEOUT, provider.turns.acquire()).await else {
            tracing::warn!(provider = %provider.name, "more questions than the provider answers");
            return Some(Verdict::Unavailable);
        };
        if abandoned() {
            return None;
        }
        let begun = Instant::now();
        let last = place + 1 == self.providers.len();
        let verdict = match &provider.kind {
            ProviderKind::GitLab(gitlab) => gitlab.ask(question).await,
            ProviderKind::Htpasswd(htpasswd) => htpasswd.ask(question, last).await,
        };
        self.metrics.question_answered(&provider.name, &verdict, begun.elapsed());
        Some(verdict)
    }
}

struct Settling<'a> {
    shared: &'a Shared,
    id: super::fingerprint::QuestionId,
    place: usize,
    credential: CredentialId,
    /// None: the question was abandoned, and may have been opened anew by now.
    verdict: Option<Verdict>,
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        if let Some(verdict) = &self.verdict {
            self.shared.cache.settle(self.id, self.place, self.credential, verdict);
        }
    }
}

impl Provider {
    /// A provider under its name in the config.
    pub fn new(name: Arc<str>, kind: ProviderKind) -> Self {
        Self { name, kind, turns: Semaphore::new(TURNS) }
    }

    fn depends_on(&self) -> DependsOn {
        match self.kind {
            ProviderKind::GitLab(_) => DependsOn::Everything,
            ProviderKind::Htpasswd(_) => DependsOn::Credential,
        }
    }
}
