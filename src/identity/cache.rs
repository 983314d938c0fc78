//! A cache of verdicts.
//!
//! All answers about one secret form one entry, which is looked up by the secret alone and holds at
//! most 256 answers. Good and refused credentials have separate stores, so that a flood of wrong
//! credentials cannot evict a good one. Callers without a credential have stores of their own as
//! well, with one entry per question: they all lack a secret, and requests for public images from
//! many addresses must not evict the credential of another caller. Each lookup checks the expiry.
//! An expired entry is removed when its space is needed, starting with the one that was not used
//! for the longest time among about a hundred.

mod buckets;
mod entry;
mod in_flight;
mod store;
mod weight;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::model::keyed_hash::{QuestionId, SecretId};
use super::model::{NotNow, UpstreamToken, Verdict, Verified};
use entry::NegativeVerdict;
use store::Stores;

pub use buckets::AnswersVersion;
pub use entry::{CachedAnswers, CachedVerdict};
pub use in_flight::{Awaited, Coalesced, InFlight, QuestionAnswer};

/// The memory, in bytes, that a credential with one answer fits into, including the bookkeeping of
/// the store. A credential with more answers, groups or claims counts as several entries.
pub const ENTRY_BYTES: usize = 400;

/// The factor by which the stores of callers without a credential are smaller than the others.
const ANONYMOUS_SHARE: u64 = 4;

/// The time for which a question without an answer is not asked again.
const REST: Duration = Duration::from_secs(1);

/// The largest number of secrets of which it is kept that another replica was told a refusal. A
/// replica is told only of those that were verified before.
const MAX_REFUSED: u64 = 10_000;

/// The largest number of resting questions. Beyond it, some are asked again sooner.
const MAX_RESTING: u64 = 10_000;

/// The lifetimes of verdicts and the capacities of the stores.
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    /// The time after which a valid credential is asked about again.
    pub ttl: Duration,
    /// The time after which a credential that was refused or granted nothing is asked about again.
    pub negative_ttl: Duration,
    /// The time beyond `ttl` for which an answer may be served while the provider cannot be asked.
    pub stale_if_error: Duration,
    /// The number of valid credentials, each of [`ENTRY_BYTES`].
    pub capacity: u64,
    /// The number of refused credentials.
    pub negative_capacity: u64,
}

impl CacheLimits {
    fn of_anonymous(self) -> Self {
        let share = |capacity: u64| (capacity / ANONYMOUS_SHARE).max(1);
        Self {
            capacity: share(self.capacity),
            negative_capacity: share(self.negative_capacity),
            ..self
        }
    }
}

/// The verdicts of all providers.
pub struct VerdictCache {
    credentials: Stores,
    anonymous: Stores,
    resting: Cache<QuestionId, Verdict>,
    /// The secrets that were refused, as another replica has told. Answers to questions up to
    /// these instants must not come back from Redis.
    refused: Cache<SecretId, Instant>,
    /// The instant of the last [`clear`](Self::clear). Answers to questions from before it are not
    /// kept.
    cleared: RwLock<Option<Instant>>,
}

/// The key of a lookup: a question to one provider.
#[derive(Clone, Copy)]
pub struct CacheKey {
    /// The id of the question.
    pub question: QuestionId,
    /// The id of the question about the credential alone. A credential that is wrong at a provider
    /// is wrong for every repository and from every address.
    pub credential: QuestionId,
    /// The secret of the credential. `None` for callers without a credential.
    pub secret: Option<SecretId>,
    /// The instant up to which answers do not count.
    pub floor: Option<Instant>,
    /// The number of the provider.
    pub provider: u32,
}

impl CacheKey {
    fn key(&self) -> SecretId {
        self.secret.unwrap_or_else(|| self.question.in_place_of_secret())
    }

    /// Returns whether the answer is from the same provider and about the same credential.
    fn is_about<V>(&self, answer: &CachedVerdict<V>) -> bool {
        answer.provider() == self.provider
            && answer.question().is_about_credential_of(&self.question)
    }
}

impl VerdictCache {
    /// Creates an empty cache.
    pub fn new(limits: CacheLimits) -> Self {
        Self {
            credentials: Stores::new(limits),
            anonymous: Stores::new(limits.of_anonymous()),
            resting: Cache::builder().max_capacity(MAX_RESTING).time_to_live(REST).build(),
            refused: Cache::builder()
                .max_capacity(MAX_REFUSED)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            cleared: RwLock::default(),
        }
    }

    /// Returns the answers about verified credentials with this secret.
    pub fn known(&self, secret: SecretId) -> Option<CachedAnswers<Arc<Verified>>> {
        self.credentials.known(secret)
    }

    /// Returns the version of what [`known`](Self::known) returns. It is read before the answers.
    pub fn version(&self, secret: SecretId) -> AnswersVersion {
        self.credentials.version(secret)
    }

    /// Returns whether answers that were read after this version are still those of the cache. If
    /// other secrets had many changes since then, the result is `false` too: the answers must be
    /// read again, which counts as a use, so that they are not dropped as unused ones.
    pub fn is_current(&self, secret: SecretId, version: AnswersVersion) -> bool {
        self.credentials.is_current(secret, version)
    }

    /// Returns the fresh verdict, if the question need not be asked.
    pub fn look_up(&self, asked: &CacheKey) -> Option<Verdict> {
        self.stores(asked).look_up(asked)
    }

    /// Returns the stale answer, to be used while the provider cannot be asked.
    pub fn stale(&self, asked: &CacheKey) -> Option<Arc<Verified>> {
        self.stores(asked).stale(asked)
    }

    /// Returns the verdict of a question that had no answer, while the question must not be asked
    /// again.
    pub fn resting(&self, question: &QuestionId) -> Option<Verdict> {
        self.resting.get(question)
    }

    /// Keeps a verdict about a question that was asked at `at`.
    pub fn keep(&self, asked: &CacheKey, at: Instant, verdict: &Verdict) {
        let cleared = *self.cleared.read().unwrap_or_else(PoisonError::into_inner);
        if cleared.is_some_and(|cleared| at <= cleared) {
            return;
        }
        let stores = self.stores(asked);
        match verdict {
            Verdict::NotMine => {
                stores.refuse(asked.credential, asked, at, NegativeVerdict::NotMine)
            }
            Verdict::AccountPassword => {
                stores.refuse(asked.credential, asked, at, NegativeVerdict::AccountPassword)
            }
            Verdict::Rejected => {
                stores.refuse(asked.credential, asked, at, NegativeVerdict::Rejected)
            }
            Verdict::Verified(verified, _) if verified.granted.is_nothing() => {
                stores.refuse(
                    asked.question,
                    asked,
                    at,
                    NegativeVerdict::NothingGranted(verified.clone()),
                );
            }
            Verdict::Verified(verified, lifetime) => stores.verify(asked, at, verified, *lifetime),
            // These verdicts are about the caller, not about the question.
            Verdict::NotNow(NotNow::Crowded | NotNow::TooOften, _) => {}
            Verdict::Unavailable | Verdict::NotNow(..) => {
                self.resting.insert(asked.question, verdict.clone())
            }
            Verdict::Unfit => stores.forget_refused(asked),
        }
    }

    /// Keeps a verdict that another replica asked for at `at`, unless this one knows a later one.
    pub fn learn(&self, asked: &CacheKey, at: Instant, verdict: &Verdict) {
        let refused_at = asked.secret.and_then(|secret| self.refused.get(&secret));
        let is_void = matches!(verdict, Verdict::Verified(..))
            && refused_at.is_some_and(|refused_at| at <= refused_at);
        if !is_void && !self.stores(asked).knows_later(asked, at) {
            self.keep(asked, at, verdict);
        }
    }

    /// Records that another replica was told that the secret is wrong with another user name.
    pub fn learn_other_refused(&self, asked: &CacheKey, at: Instant) {
        self.stores(asked).other_refused(asked, at);
    }

    /// Drops the answers about verified credentials with this secret to questions up to `at`,
    /// because the secret was refused since.
    pub fn forget_before(&self, secret: SecretId, at: Instant) {
        self.refused.insert(secret, at.max(self.refused.get(&secret).unwrap_or(at)));
        self.credentials.forget_before(secret, at);
    }

    /// Drops all answers, and those to the questions under way.
    pub fn clear(&self) {
        *self.cleared.write().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.credentials.clear();
        self.anonymous.clear();
    }

    /// Returns the lifetimes of verdicts that are added now.
    pub fn limits(&self) -> CacheLimits {
        self.credentials.limits()
    }

    /// Drops the answer to this question if it carries this token. The next request asks the
    /// question again.
    pub fn forget(&self, asked: &CacheKey, refused: &UpstreamToken) {
        self.stores(asked).forget(asked, |answer| {
            answer.question() == asked.question && answer.value().granted.token() == Some(refused)
        });
    }

    /// Drops all answers of this provider, with and without a credential.
    pub fn forget_provider(&self, provider: u32) {
        self.credentials.forget_provider(provider);
        self.anonymous.forget_provider(provider);
    }

    /// Sets the lifetimes of verdicts that are added from now on. The capacities do not change.
    pub fn set_limits(&self, limits: CacheLimits) {
        self.credentials.set_limits(limits);
        self.anonymous.set_limits(limits.of_anonymous());
    }

    /// Returns the number of entries: secrets with answers, and questions of callers without a
    /// credential.
    pub fn entries(&self) -> u64 {
        self.credentials.entries() + self.anonymous.entries()
    }

    fn stores(&self, asked: &CacheKey) -> &Stores {
        if asked.secret.is_some() { &self.credentials } else { &self.anonymous }
    }
}
