//! Verdicts, kept for a while.
//!
//! What is known of a secret is looked up by it alone, and is at most 256 answers. Validity and bad
//! have stores of their own, so that no flood of bad credentials pushes out a good one; and so have
//! callers without a credential, where each question is by itself: all of them share the one secret
//! that is none, and whoever asks for public images from many addresses must push out nobody's
//! credential. Expiry is judged on every hit; what is good no longer leaves when its
//! place is needed, the least used first.

mod entry;
mod in_flight;
mod store;
mod weight;

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;

use super::model::keyed_hash::{QuestionId, SecretId};
use super::model::{IssuedToken, NotNow, Verdict, Verified};
use entry::NegativeVerdict;
use store::Stores;

pub use entry::{CachedAnswer, CachedAnswers};
pub use in_flight::{Awaited, Coalesced, InFlight};

/// A credential with one answer fits into this much memory, the store's own bookkeeping included.
/// One with more answers, groups or claims counts as several.
pub const ENTRY_BYTES: usize = 400;

/// The stores of callers without a credential hold so much less than the others.
const ANONYMOUS_SHARE: u64 = 4;

/// A question that was not answered is not asked again for so long.
const REST: Duration = Duration::from_secs(1);

/// Questions that rest at the same time. Where there are more, some are asked again sooner.
const MAX_RESTING: u64 = 10_000;

/// How long verdicts are kept, and how many.
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    /// A valid credential is asked about again after this.
    pub ttl: Duration,
    /// A refused one, or one that was granted nothing, after this.
    pub negative_ttl: Duration,
    /// Where the provider cannot be asked, an answer is good for so much longer than `ttl`.
    pub stale_if_error: Duration,
    /// Valid credentials, each of [`ENTRY_BYTES`].
    pub capacity: u64,
    /// Refused ones.
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
}

/// What is looked up: a question to one provider.
#[derive(Clone, Copy)]
pub struct CacheKey {
    /// The question.
    pub question: QuestionId,
    /// The question about the credential alone: to one provider a wrong credential is wrong for
    /// every repository, from every address.
    pub credential: QuestionId,
    /// The secret that it is about. `None` for callers without a credential.
    pub secret: Option<SecretId>,
    /// What was answered until then does not count.
    pub floor: Option<Instant>,
    /// The provider's number.
    pub provider: u32,
}

impl CacheKey {
    fn key(&self) -> SecretId {
        self.secret.unwrap_or_else(|| self.question.in_place_of_secret())
    }

    /// Whether it is the same provider's, about the same credential.
    fn is_about<V>(&self, answer: &CachedAnswer<V>) -> bool {
        answer.provider() == self.provider
            && answer.question().is_about_credential_of(&self.question)
    }
}

impl VerdictCache {
    /// An empty cache.
    pub fn new(limits: CacheLimits) -> Self {
        Self {
            credentials: Stores::new(limits),
            anonymous: Stores::new(limits.of_anonymous()),
            resting: Cache::builder().max_capacity(MAX_RESTING).time_to_live(REST).build(),
        }
    }

    /// What verified credentials with this secret may do.
    pub fn known(&self, secret: SecretId) -> Option<CachedAnswers<Arc<Verified>>> {
        self.credentials.known(secret)
    }

    /// What need not be asked.
    pub fn look_up(&self, asked: &CacheKey) -> Option<Verdict> {
        self.stores(asked).look_up(asked)
    }

    /// What was true when the provider could still be asked.
    pub fn stale(&self, asked: &CacheKey) -> Option<Arc<Verified>> {
        self.stores(asked).stale(asked)
    }

    /// Why a question that was not answered is not asked again yet.
    pub fn resting(&self, question: &QuestionId) -> Option<Verdict> {
        self.resting.get(question)
    }

    /// Keeps a verdict on what was asked at `at`.
    pub fn keep(&self, asked: &CacheKey, at: Instant, verdict: &Verdict) {
        let stores = self.stores(asked);
        match verdict {
            Verdict::NotMine => {
                stores.refuse(asked.credential, asked, at, NegativeVerdict::NotMine)
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
            // Of the caller, and not of the question.
            Verdict::NotNow(NotNow::Crowded | NotNow::TooOften, _) => {}
            Verdict::Unavailable | Verdict::NotNow(..) => {
                self.resting.insert(asked.question, verdict.clone())
            }
            Verdict::Unfit => stores.forget_refused(asked),
        }
    }

    /// Forgets the answer to a question that came with this token. The question is then asked anew.
    pub fn forget(&self, asked: &CacheKey, refused: &IssuedToken) {
        self.stores(asked).forget(asked, |answer| {
            answer.question() == asked.question && answer.value().granted.token() == Some(refused)
        });
    }

    /// Forgets whatever this provider said, be it of a secret or of callers without one.
    pub fn forget_provider(&self, provider: u32) {
        self.credentials.forget_provider(provider);
        self.anonymous.forget_provider(provider);
    }

    /// From here on new verdicts are kept for so long. The capacities stay as they are.
    pub fn set_limits(&self, limits: CacheLimits) {
        self.credentials.set_limits(limits);
        self.anonymous.set_limits(limits.of_anonymous());
    }

    /// Secrets of which something is known, and questions of callers without one.
    pub fn entries(&self) -> u64 {
        self.settle();
        self.credentials.entries() + self.anonymous.entries()
    }

    /// Does what the stores otherwise do now and then, so that what is counted is there.
    pub fn settle(&self) {
        self.credentials.settle();
        self.anonymous.settle();
    }

    fn stores(&self, asked: &CacheKey) -> &Stores {
        if asked.secret.is_some() { &self.credentials } else { &self.anonymous }
    }
}
