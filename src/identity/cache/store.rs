//! Two stores, so that no flood of bad credentials pushes out a good one: what a verified
//! credential may do, and what was refused or granted nothing.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::entry::{CachedAnswer, CachedAnswers, NegativeVerdict, Validity};
use super::{CacheKey, CacheLimits, weight};
use crate::identity::model::keyed_hash::{QuestionId, SecretId};
use crate::identity::model::unix_time::unix_now;
use crate::identity::model::{Lifetime, Verdict, Verified};

/// What is known of each secret.
pub(super) struct Stores {
    /// Read where an answer is kept, never where one is looked up.
    limits: RwLock<CacheLimits>,
    verified: Cache<SecretId, CachedAnswers<Arc<Verified>>>,
    refused: Cache<SecretId, CachedAnswers<NegativeVerdict>>,
}

impl Stores {
    pub(super) fn new(limits: CacheLimits) -> Self {
        Self {
            limits: RwLock::new(limits),
            verified: Cache::builder()
                .max_capacity(limits.capacity)
                .weigher(move |_, known| {
                    weight::of_verified(known).min(weight::largest(limits.capacity))
                })
                // What is new must always find a place: job tokens that were busy and are gone
                // would hold theirs.
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            refused: Cache::builder()
                .max_capacity(limits.negative_capacity)
                .weigher(move |_, known| {
                    weight::of_refused(known).min(weight::largest(limits.negative_capacity))
                })
                .eviction_policy(EvictionPolicy::lru())
                .build(),
        }
    }

    /// What verified credentials with this secret may do.
    pub(super) fn known(&self, secret: SecretId) -> Option<CachedAnswers<Arc<Verified>>> {
        self.verified.get(&secret)
    }

    /// What need not be asked.
    pub(super) fn look_up(&self, asked: &CacheKey) -> Option<Verdict> {
        let verified =
            |verified: &Arc<Verified>| Verdict::Verified(verified.clone(), Lifetime::default());
        if let Some(known) = self.verified.get(&asked.key())
            && let Some(value) = known.fresh(&asked.question, asked.floor)
        {
            return Some(verified(value));
        }
        let known = self.refused.get(&asked.key())?;
        let refused = known
            .fresh(&asked.credential, asked.floor)
            .or_else(|| known.fresh(&asked.question, asked.floor));
        refused.map(|refused| match refused {
            NegativeVerdict::NotMine => Verdict::NotMine,
            NegativeVerdict::Rejected => Verdict::Rejected,
            NegativeVerdict::NothingGranted(value) => verified(value),
        })
    }

    /// What was true when the provider could still be asked.
    pub(super) fn stale(&self, asked: &CacheKey) -> Option<Arc<Verified>> {
        self.verified.get(&asked.key())?.stale(&asked.question, asked.floor).cloned()
    }

    pub(super) fn verify(
        &self,
        asked: &CacheKey,
        at: Instant,
        verified: &Arc<Verified>,
        lifetime: Lifetime,
    ) {
        // Of two questions at once the earlier may be answered later: it was true no longer.
        let about = [asked.question, asked.credential];
        if self.refused.get(&asked.key()).is_some_and(|known| known.is_newer(&about, at)) {
            return;
        }
        // Of another spelling of the secret it may still be true, but in an outage it does not
        // count.
        let refused_since = self.refused.get(&asked.key()).is_some_and(|known| {
            known.has_answered_since(asked.provider, at, |refused| {
                !matches!(refused, NegativeVerdict::NothingGranted(_))
            })
        });
        let CacheLimits { ttl, stale_if_error, .. } = self.limits();
        let left = lifetime.credential.map_or(Duration::MAX, |ends| {
            Duration::from_secs(ends.saturating_sub(unix_now())).saturating_add(at.elapsed())
        });
        let answer = lifetime.answer.unwrap_or(Duration::MAX);
        // What is sent upstream is worth nothing after its end, whoever cannot be asked.
        let stale_at_most =
            if verified.granted.token().is_some() { left.min(answer) } else { left };
        let good = Validity {
            fresh: answer.min(ttl).min(left),
            stale: if stale_if_error.is_zero() || refused_since {
                Duration::ZERO
            } else {
                (ttl + stale_if_error).min(stale_at_most)
            },
            ends: lifetime.credential,
        };
        let answer = CachedAnswer::new(asked.question, asked.provider, verified.clone(), at, good);
        self.verified.entry(asked.key()).and_compute_with(|entry| {
            let known = entry.map(moka::Entry::into_value);
            Op::Put(CachedAnswers::with(known.as_ref(), answer))
        });
    }

    pub(super) fn refuse(
        &self,
        question: QuestionId,
        asked: &CacheKey,
        at: Instant,
        refused: NegativeVerdict,
    ) {
        // What the provider said before is good no longer, not even while it cannot be asked.
        match refused {
            NegativeVerdict::NothingGranted(_) => {
                self.forget(asked, |answer| answer.question() == asked.question)
            }
            NegativeVerdict::NotMine | NegativeVerdict::Rejected => self.forget_refused(asked),
        }
        let good =
            Validity { fresh: self.limits().negative_ttl, stale: Duration::ZERO, ends: None };
        let answer = CachedAnswer::new(question, asked.provider, refused, at, good);
        self.refused.entry(asked.key()).and_compute_with(|entry| {
            let known = entry.map(moka::Entry::into_value);
            Op::Put(CachedAnswers::with(known.as_ref(), answer))
        });
    }

    /// Forgets verdicts that were good.
    pub(super) fn forget(
        &self,
        asked: &CacheKey,
        gone: impl Fn(&CachedAnswer<Arc<Verified>>) -> bool,
    ) {
        self.change(asked, |answer| if gone(&answer) { None } else { Some(answer) });
    }

    /// Forgets what was said of a credential that its provider does not take any more. Under
    /// another user name the secret may be right, or may have been revoked just as well: until
    /// its provider says so once more, an outage brings back no spelling of it.
    pub(super) fn forget_refused(&self, asked: &CacheKey) {
        self.change(asked, |answer| match answer.provider() {
            _ if asked.is_about(&answer) => None,
            provider if provider == asked.provider => Some(answer.never_stale()),
            _ => Some(answer),
        });
    }

    /// Replaces verdicts that were good, and forgets those of which nothing is left.
    fn change(
        &self,
        asked: &CacheKey,
        change: impl Fn(CachedAnswer<Arc<Verified>>) -> Option<CachedAnswer<Arc<Verified>>>,
    ) {
        if !self.verified.contains_key(&asked.key()) {
            return;
        }
        self.verified.entry(asked.key()).and_compute_with(|entry| {
            let Some(known) = entry.map(moka::Entry::into_value) else { return Op::Nop };
            known.changed(change).map_or(Op::Remove, Op::Put)
        });
    }

    /// Forgets whatever this provider said.
    pub(super) fn forget_provider(&self, provider: u32) {
        forget_answers(&self.verified, provider);
        forget_answers(&self.refused, provider);
    }

    /// From here on new answers are kept for so long. The capacities stay as they are.
    pub(super) fn set_limits(&self, limits: CacheLimits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    fn limits(&self) -> CacheLimits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Secrets of which something is known, as far as the stores have [settled](Self::settle).
    pub(super) fn entries(&self) -> u64 {
        self.verified.entry_count() + self.refused.entry_count()
    }

    pub(super) fn settle(&self) {
        self.verified.run_pending_tasks();
        self.refused.run_pending_tasks();
    }
}

/// What is known of each secret, but for what this provider said.
fn forget_answers<V: Clone + Send + Sync + 'static>(
    store: &Cache<SecretId, CachedAnswers<V>>,
    provider: u32,
) {
    for (secret, known) in store {
        if known.has_answered(provider) {
            store.entry(*secret).and_compute_with(|entry| {
                let Some(known) = entry.map(moka::Entry::into_value) else { return Op::Nop };
                known.without(|answer| answer.provider() == provider).map_or(Op::Remove, Op::Put)
            });
        }
    }
}
