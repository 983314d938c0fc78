//! Verdicts, kept for a while.
//!
//! Two stores, so that no flood of bad credentials pushes out a good one: what a verified credential may do, and what
//! was refused or granted nothing. Each is looked up by the secret alone and holds at most 256 answers for one. Expiry
//! is judged on every hit; what is good no longer leaves when its place is needed, the least used first.

mod known;
mod under_way;

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde_json::{Map, Value};

use super::clock::unix_now;
use super::fingerprint::{QuestionId, SecretId};
use super::{Granted, Lifetime, Verdict, Verified};
use known::Good;

pub use known::{Answer, Known};
pub use under_way::{Awaited, Coalesced, UnderWay};

/// A credential with one answer fits into this much memory, the store's own bookkeeping included. One with more
/// answers, groups or claims counts as several.
pub const ENTRY_BYTES: usize = 400;

/// What the store itself needs for an entry, measured; see `tests/cache_memory.rs`.
const BOOKKEEPING_BYTES: usize = 240;

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

/// The verdicts of all providers.
pub struct VerdictCache {
    limits: CacheLimits,
    verified: Cache<SecretId, Known<Arc<Verified>>>,
    refused: Cache<SecretId, Known<Refused>>,
    resting: Cache<QuestionId, Verdict>,
}

/// What is looked up: a question to one provider.
#[derive(Clone, Copy)]
pub struct Asked {
    /// The question.
    pub question: QuestionId,
    /// The question about the credential alone: to one provider a wrong credential is wrong for every repository, from
    /// every address.
    pub credential: QuestionId,
    /// The secret that it is about.
    pub secret: SecretId,
    /// The provider's place in the chain.
    pub place: usize,
}

#[derive(Clone, Debug)]
enum Refused {
    NotMine,
    Rejected,
    NothingGranted(Arc<Verified>),
}

impl VerdictCache {
    /// An empty cache.
    pub fn new(limits: CacheLimits) -> Self {
        Self {
            limits,
            verified: Cache::builder()
                .max_capacity(limits.capacity)
                .weigher(move |_, known: &Known<Arc<Verified>>| weight(known).min(largest(limits.capacity)))
                // What is new must always find a place: job tokens that were busy and are gone would hold theirs.
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            refused: Cache::builder()
                .max_capacity(limits.negative_capacity)
                .weigher(move |_, known: &Known<Refused>| {
                    let answers = u32::try_from(known.answers().len()).unwrap_or(u32::MAX);
                    answers.min(largest(limits.negative_capacity))
                })
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            resting: Cache::builder().max_capacity(MAX_RESTING).time_to_live(REST).build(),
        }
    }

    /// What verified credentials with this secret may do.
    pub fn known(&self, secret: SecretId) -> Option<Known<Arc<Verified>>> {
        self.verified.get(&secret)
    }

    /// What need not be asked.
    pub fn look_up(&self, asked: &Asked) -> Option<Verdict> {
        let verified = |verified: &Arc<Verified>| Verdict::Verified(verified.clone(), Lifetime::default());
        if let Some(known) = self.verified.get(&asked.secret)
            && let Some(value) = known.fresh(&asked.question)
        {
            return Some(verified(value));
        }
        let known = self.refused.get(&asked.secret)?;
        known.fresh(&asked.credential).or_else(|| known.fresh(&asked.question)).map(|refused| match refused {
            Refused::NotMine => Verdict::NotMine,
            Refused::Rejected => Verdict::Rejected,
            Refused::NothingGranted(value) => verified(value),
        })
    }

    /// What was true when the provider could still be asked.
    pub fn stale(&self, asked: &Asked) -> Option<Arc<Verified>> {
        self.verified.get(&asked.secret)?.stale(&asked.question).cloned()
    }

    /// Why a question that was not answered is not asked again yet.
    pub fn resting(&self, question: &QuestionId) -> Option<Verdict> {
        self.resting.get(question)
    }

    /// Keeps a verdict on what was asked at `at`.
    pub fn keep(&self, asked: &Asked, at: Instant, verdict: &Verdict) {
        match verdict {
            Verdict::NotMine => self.refuse(asked.credential, asked, at, Refused::NotMine),
            Verdict::Rejected => self.refuse(asked.credential, asked, at, Refused::Rejected),
            Verdict::Verified(verified, _) if verified.granted.is_nothing() => {
                self.refuse(asked.question, asked, at, Refused::NothingGranted(verified.clone()));
            }
            Verdict::Verified(verified, lifetime) => self.verify(asked, at, verified, *lifetime),
            Verdict::Unavailable | Verdict::NotNow(..) => self.resting.insert(asked.question, verdict.clone()),
            Verdict::Unfit => self.forget(asked.secret, |answer| answer.place() == asked.place),
        }
    }

    /// Secrets of which something is known.
    pub fn entries(&self) -> u64 {
        self.settle();
        self.verified.entry_count() + self.refused.entry_count()
    }

    /// Does what the stores otherwise do now and then, so that what is counted is there.
    pub fn settle(&self) {
        self.verified.run_pending_tasks();
        self.refused.run_pending_tasks();
    }

    fn verify(&self, asked: &Asked, at: Instant, verified: &Arc<Verified>, lifetime: Lifetime) {
        // Of two questions at once the earlier may be answered later: it was true no longer.
        let about = [asked.question, asked.credential];
        if self.refused.get(&asked.secret).is_some_and(|known| known.is_newer(&about, at)) {
            return;
        }
        let CacheLimits { ttl, stale_if_error, .. } = self.limits;
        let left = lifetime.credential.map_or(Duration::MAX, |ends| {
            Duration::from_secs(ends.saturating_sub(unix_now())).saturating_add(at.elapsed())
        });
        let good = Good {
            fresh: lifetime.answer.unwrap_or(Duration::MAX).min(ttl).min(left),
            stale: if stale_if_error.is_zero() { Duration::ZERO } else { (ttl + stale_if_error).min(left) },
            ends: lifetime.credential,
        };
        let answer = Answer::new(asked.question, asked.place, verified.clone(), at, good);
        self.verified.entry(asked.secret).and_compute_with(|entry| {
            let known = entry.map(moka::Entry::into_value);
            Op::Put(Known::with(known.as_ref(), answer))
        });
    }

    fn refuse(&self, question: QuestionId, asked: &Asked, at: Instant, refused: Refused) {
        // What the provider said before is good no longer, not even while it cannot be asked.
        match refused {
            Refused::NothingGranted(_) => self.forget(asked.secret, |answer| answer.question() == asked.question),
            Refused::NotMine | Refused::Rejected => self.forget(asked.secret, |answer| answer.place() == asked.place),
        }
        let good = Good { fresh: self.limits.negative_ttl, stale: Duration::ZERO, ends: None };
        let answer = Answer::new(question, asked.place, refused, at, good);
        self.refused.entry(asked.secret).and_compute_with(|entry| {
            let known = entry.map(moka::Entry::into_value);
            Op::Put(Known::with(known.as_ref(), answer))
        });
    }

    fn forget(&self, secret: SecretId, gone: impl Fn(&Answer<Arc<Verified>>) -> bool) {
        if !self.verified.contains_key(&secret) {
            return;
        }
        self.verified.entry(secret).and_compute_with(|entry| {
            let Some(known) = entry.map(moka::Entry::into_value) else { return Op::Nop };
            known.without(gone).map_or(Op::Remove, Op::Put)
        });
    }
}

/// The most that one secret counts as: what is larger than the whole store would find no place in it.
fn largest(capacity: u64) -> u32 {
    u32::try_from(capacity / 4).unwrap_or(u32::MAX).max(1)
}

/// How many entries of [`ENTRY_BYTES`] this counts as.
fn weight(known: &Known<Arc<Verified>>) -> u32 {
    let answers = known.answers();
    let bytes =
        BOOKKEEPING_BYTES + size_of_val(answers) + answers.iter().map(|answer| bytes_of(answer.value())).sum::<usize>();
    u32::try_from(bytes.div_ceil(ENTRY_BYTES)).unwrap_or(u32::MAX)
}

/// What one verdict takes, roughly. Scopes and sources are shared between verdicts.
fn bytes_of(verified: &Verified) -> usize {
    let repository = match &verified.granted {
        Granted::Repository(grant) => size_of_val(&**grant) + grant.repository.as_str().len() + grant.tags.heap_bytes(),
        Granted::Scopes(_) | Granted::Identity | Granted::Nothing => 0,
    };
    let attributes = verified.attributes.as_ref().map_or(0, |attributes| {
        let groups: usize = attributes.groups.iter().map(|group| size_of::<String>() + group.len()).sum();
        size_of_val(&**attributes) + groups + bytes_of_object(&attributes.claims)
    });
    size_of_val(verified) + verified.principal.subject.len() + repository + attributes
}

/// A map holds a hash and an index beside each name and value, and has room for more.
fn bytes_of_object(map: &Map<String, Value>) -> usize {
    let entry = 2 * (size_of::<String>() + size_of::<Value>() + size_of::<[usize; 2]>());
    map.iter().map(|(name, value)| entry + name.len() + bytes_of_json(value)).sum()
}

/// What a value takes besides its own place in a list or a map.
fn bytes_of_json(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => 2 * size_of_val(&**items) + items.iter().map(bytes_of_json).sum::<usize>(),
        Value::Object(map) => bytes_of_object(map),
    }
}
