//! The answers about all secrets, in buckets of a few secrets each.
//!
//! The store needs more than 300 bytes of bookkeeping for each of its entries, which is more than a
//! verdict itself takes. The entries are therefore buckets, and the secrets of a bucket share the
//! bookkeeping. If the store is full, a new secret takes the place of the least recently used one in
//! its own and the next few buckets.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::entry::CachedAnswers;
use super::weight;
use crate::identity::model::keyed_hash::SecretId;

/// The weight that a bucket has on average if the store is full.
pub(super) const SHARE: u64 = 32;

/// The number of buckets among whose secrets the least recently used one is searched.
const WINDOW: u32 = 4;

/// The largest weight that is dropped from one bucket before another one is searched.
const AT_ONCE: u64 = SHARE / 4;

/// The number of secrets by which a bucket grows, so that few bytes are reserved in vain.
const GROWTH: usize = 2;

/// The distance from the capacity at which the weight is counted exactly. It is more than what the
/// store may not have counted yet.
const UNCOUNTED: u64 = 4096;

/// The answers about each secret. Secrets are told apart by their hash.
pub(super) struct Buckets<V> {
    buckets: Cache<u32, Arc<Bucket<V>>>,
    /// The number of buckets.
    count: u32,
    /// The largest total weight.
    capacity: u64,
    weigh: fn(&CachedAnswers<V>) -> u32,
    /// The number of changes so far, by which the time since the last use of a secret is measured.
    /// Lookups do not count, because all workers would write the same memory.
    clock: AtomicU32,
}

/// The secrets whose hashes lead to the same bucket.
struct Bucket<V>(RwLock<Vec<Slot<V>>>);

/// The answers about one secret.
struct Slot<V> {
    secret: SecretId,
    answers: CachedAnswers<V>,
    weight: u32,
    /// The value of [`Buckets::clock`] at the last use.
    used: AtomicU32,
}

impl<V: Clone + Send + Sync + 'static> Buckets<V> {
    /// Creates an empty store for answers of this total weight.
    pub(super) fn new(capacity: u64, weigh: fn(&CachedAnswers<V>) -> u32) -> Self {
        let count = u32::try_from(capacity / SHARE).unwrap_or(u32::MAX).max(1);
        let buckets = Cache::builder()
            // A new secret is added before others are dropped.
            .max_capacity(capacity.saturating_add(weight::largest(capacity).into()))
            .weigher(|_, bucket: &Arc<Bucket<V>>| bucket.weight())
            // A new entry must always find space. With a policy that counts accesses, job tokens
            // that were in frequent use and have ended would keep theirs.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { buckets, count, capacity, weigh, clock: AtomicU32::default() }
    }

    /// Returns the result of `read` with the answers about this secret, which counts as a use.
    pub(super) fn with<R>(
        &self,
        secret: SecretId,
        read: impl FnOnce(&CachedAnswers<V>) -> R,
    ) -> Option<R> {
        let bucket = self.buckets.get(&self.number(secret))?;
        let slots = bucket.read();
        let slot = slots.iter().find(|slot| slot.secret == secret)?;
        let now = self.now();
        if slot.used.load(Relaxed) != now {
            slot.used.store(now, Relaxed);
        }
        Some(read(&slot.answers))
    }

    /// Replaces the answers about this secret by what `change` makes of them. `None` stands for no
    /// answers.
    pub(super) fn change(
        &self,
        secret: SecretId,
        change: impl FnOnce(Option<&CachedAnswers<V>>) -> Option<CachedAnswers<V>>,
    ) {
        let now = self.clock.fetch_add(1, Relaxed).wrapping_add(1);
        self.in_bucket(self.number(secret), |bucket| {
            bucket.change(secret, |known| {
                let answers = change(known)?;
                let weight = (self.weigh)(&answers).min(weight::largest(self.capacity));
                Some(Slot { secret, answers, weight, used: now.into() })
            });
        });
        self.make_room(secret);
    }

    /// Replaces the answers about every secret by what `change` makes of them.
    pub(super) fn change_all(
        &self,
        change: impl Fn(&CachedAnswers<V>) -> Option<CachedAnswers<V>>,
    ) {
        for (_, bucket) in &self.buckets {
            let secrets: Vec<_> = bucket.read().iter().map(|slot| slot.secret).collect();
            for secret in secrets {
                self.change(secret, |known| change(known?));
            }
        }
    }

    /// Returns the number of secrets.
    pub(super) fn len(&self) -> u64 {
        self.buckets.iter().map(|(_, bucket)| bucket.read().len() as u64).sum()
    }

    pub(super) fn settle(&self) {
        self.buckets.run_pending_tasks();
    }

    /// Drops secrets until the total weight is at most the capacity, but not `kept`.
    fn make_room(&self, kept: SecretId) {
        let mut excess = self.excess();
        let (mut first, mut misses) = (self.number(kept), 0);
        while excess > 0 && misses < self.count {
            let mut dropped = 0;
            if let Some(number) = self.idlest_bucket(first, kept) {
                self.in_bucket(number, |bucket| {
                    dropped = bucket.evict(excess.min(AT_ONCE), self.now(), kept);
                });
            }
            misses += u32::from(dropped == 0);
            excess = excess.saturating_sub(dropped);
            first = self.after(first, WINDOW);
        }
    }

    /// Returns the bucket of the least recently used secret in the window from `first` on.
    fn idlest_bucket(&self, first: u32, kept: SecretId) -> Option<u32> {
        let window = (0..WINDOW.min(self.count)).map(|place| self.after(first, place));
        let idle = window.filter_map(|number| {
            let bucket = self.buckets.get(&number)?;
            let (_, idle_for) = idlest(&bucket.read(), self.now(), kept)?;
            Some((idle_for, number))
        });
        idle.max_by_key(|(idle_for, _)| *idle_for).map(|(_, number)| number)
    }

    /// Returns the weight beyond the capacity.
    fn excess(&self) -> u64 {
        if self.buckets.weighted_size().saturating_add(UNCOUNTED) < self.capacity {
            return 0;
        }
        self.settle();
        self.buckets.weighted_size().saturating_sub(self.capacity)
    }

    /// Changes a bucket. Changes of one bucket wait for each other. The bucket is stored again, so
    /// that the store learns the new weight. This includes an empty bucket: if an entry is removed
    /// while its last change is not counted yet, the store never counts that change.
    fn in_bucket(&self, number: u32, change: impl FnOnce(&Bucket<V>)) {
        self.buckets.entry(number).and_compute_with(|entry| {
            let is_new = entry.is_none();
            let bucket = entry.map_or_else(Arc::default, moka::Entry::into_value);
            change(&bucket);
            if is_new && bucket.read().is_empty() { Op::Nop } else { Op::Put(bucket) }
        });
    }

    fn now(&self) -> u32 {
        self.clock.load(Relaxed)
    }

    fn number(&self, secret: SecretId) -> u32 {
        u32::try_from(secret.as_number() % u64::from(self.count)).unwrap_or_default()
    }

    /// Returns the number of the bucket that is this many places after another one.
    fn after(&self, number: u32, places: u32) -> u32 {
        let after = (u64::from(number) + u64::from(places)) % u64::from(self.count);
        u32::try_from(after).unwrap_or_default()
    }
}

impl<V> Default for Bucket<V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<V> Bucket<V> {
    fn change(
        &self,
        secret: SecretId,
        change: impl FnOnce(Option<&CachedAnswers<V>>) -> Option<Slot<V>>,
    ) {
        let mut slots = self.write();
        let place = slots.iter().position(|slot| slot.secret == secret);
        let known = place.and_then(|place| slots.get(place));
        let changed = change(known.map(|slot| &slot.answers));
        if let Some(place) = place {
            slots.swap_remove(place);
        }
        if let Some(changed) = changed {
            if slots.len() == slots.capacity() {
                slots.reserve_exact(GROWTH);
            }
            slots.push(changed);
        }
        shrink(&mut slots);
    }

    /// Drops the least recently used secrets, but not `kept`, until `excess` is dropped. Returns
    /// the dropped weight.
    fn evict(&self, excess: u64, now: u32, kept: SecretId) -> u64 {
        let mut slots = self.write();
        let mut dropped = 0;
        while dropped < excess {
            let Some((place, _)) = idlest(&slots, now, kept) else { break };
            dropped += u64::from(slots.swap_remove(place).weight);
        }
        shrink(&mut slots);
        dropped
    }

    fn weight(&self) -> u32 {
        self.read().iter().fold(0, |weight, slot| weight.saturating_add(slot.weight))
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Slot<V>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Slot<V>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the place of the least recently used secret other than `kept`, and the time since its
/// last use.
fn idlest<V>(slots: &[Slot<V>], now: u32, kept: SecretId) -> Option<(usize, u32)> {
    let others = slots.iter().enumerate().filter(|(_, slot)| slot.secret != kept);
    let idle = others.map(|(place, slot)| (place, now.wrapping_sub(slot.used.load(Relaxed))));
    idle.max_by_key(|(_, idle_for)| *idle_for)
}

/// Returns memory after many secrets were dropped.
fn shrink<V>(slots: &mut Vec<Slot<V>>) {
    if slots.capacity() > slots.len() + 4 * GROWTH {
        slots.shrink_to(slots.len() + GROWTH);
    }
}
