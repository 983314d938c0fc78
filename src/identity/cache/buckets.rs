//! The answers about all secrets, in buckets of a few secrets each.
//!
//! The store needs more than 300 bytes of bookkeeping for each of its entries, which is more than a
//! verdict itself takes, and leaves holes in the memory when an entry changes. The entries are
//! therefore buckets, which are created once and never dropped, and the secrets of a bucket share
//! the bookkeeping. If the buckets hold more than the capacity, a new secret takes the place of the
//! least recently used one in its own and the next few buckets.

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

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

/// The number of counters of changes. A change makes the version of other secrets with the same
/// counter outdated too, which only costs them another look into the store.
const COUNTERS: usize = 1024;

/// The part of the capacity that may change until a secret must be looked up again, and the largest
/// number of changes. A secret that is used all the time therefore never looks unused.
const USED_WITHIN: (u64, u32) = (64, 1024);

/// The number of slots in one piece of memory. A bucket grows by pieces of one size, because a
/// piece for all of its secrets would leave a hole in the memory each time that it grows.
const SLOTS: usize = 3;

/// The answers about each secret. Secrets are told apart by their hash.
pub(super) struct Buckets<V> {
    buckets: Cache<u32, Arc<Bucket<V>>>,
    /// The number of buckets.
    count: u32,
    /// The largest total weight.
    capacity: u64,
    /// The total weight, as counted after each change of a bucket.
    weight: AtomicU64,
    weigh: fn(&CachedAnswers<V>) -> u32,
    /// The number of changes so far, by which the time since the last use of a secret is measured.
    /// Lookups do not count, because all workers would write the same memory.
    clock: AtomicU32,
    /// The number of changes of the answers about the secrets that share a counter. Evictions do
    /// not count, because an answer that is dropped to make room stays valid.
    changes: Box<[AtomicU32]>,
}

/// The state of the store when the answers about a secret were read.
#[derive(Clone, Copy, Debug)]
pub struct AnswersVersion {
    changes: u32,
    clock: u32,
}

/// The secrets whose hashes lead to the same bucket.
struct Bucket<V>(RwLock<Slots<V>>);

/// The secrets of a bucket, and empty slots between them.
struct Slots<V>(Vec<SlotBlock<V>>);

/// A few slots in one piece of memory, and the tag of each. A lookup reads the tags, which stand
/// close together, and then as a rule only the slot that it looks for.
struct SlotBlock<V> {
    tags: [u16; SLOTS],
    slots: Box<[Option<Slot<V>>; SLOTS]>,
}

/// The place of a slot.
struct SlotPlace<'a, V> {
    tag: &'a mut u16,
    slot: &'a mut Option<Slot<V>>,
}

/// The answers about one secret.
struct Slot<V> {
    secret: SecretId,
    answers: CachedAnswers<V>,
    /// The weight, at least 1, so that an empty slot takes no more memory than this type.
    weight: NonZeroU32,
    /// The value of [`Buckets::clock`] at the last use.
    used: AtomicU32,
}

impl<V: Clone + Send + Sync + 'static> Buckets<V> {
    /// Creates an empty store for answers of this total weight.
    pub(super) fn new(capacity: u64, weigh: fn(&CachedAnswers<V>) -> u32) -> Self {
        let count = u32::try_from(capacity / SHARE).unwrap_or(u32::MAX).max(1);
        // The buckets are few, and their contents are limited here: no bucket is ever evicted.
        let buckets = Cache::builder().build();
        let (weight, clock) = (AtomicU64::default(), AtomicU32::default());
        let changes = (0..COUNTERS).map(|_| AtomicU32::default()).collect();
        Self { buckets, count, capacity, weight, weigh, clock, changes }
    }

    /// Returns the result of `read` with the answers about this secret, which counts as a use.
    pub(super) fn with<R>(
        &self,
        secret: SecretId,
        read: impl FnOnce(&CachedAnswers<V>) -> R,
    ) -> Option<R> {
        let bucket = self.buckets.get(&self.number(secret))?;
        let slots = bucket.read();
        let slot = slots.find(secret)?;
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
        let bucket = self.buckets.get_with(self.number(secret), Arc::default);
        bucket.change(secret, &self.weight, |known| {
            let answers = change(known)?;
            let weight = (self.weigh)(&answers).min(weight::largest(self.capacity));
            let weight = NonZeroU32::new(weight).unwrap_or(NonZeroU32::MIN);
            Some(Slot { secret, answers, weight, used: now.into() })
        });
        if let Some(counter) = self.counter(secret) {
            counter.fetch_add(1, Release);
        }
        self.make_room(secret);
    }

    /// Returns the version of the answers about this secret, which is read before the answers.
    pub(super) fn version(&self, secret: SecretId) -> AnswersVersion {
        let changes = self.counter(secret).map_or(0, |counter| counter.load(Acquire));
        AnswersVersion { changes, clock: self.now() }
    }

    /// Returns whether the answers are unchanged since this version, and the use that came with it
    /// is recent enough.
    pub(super) fn is_current(&self, secret: SecretId, version: AnswersVersion) -> bool {
        let (share, most) = USED_WITHIN;
        let within = u32::try_from(self.capacity / share).unwrap_or(most).min(most);
        let AnswersVersion { changes, clock } = self.version(secret);
        changes == version.changes && clock.wrapping_sub(version.clock) <= within
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
        self.buckets.iter().map(|(_, bucket)| bucket.read().iter().count() as u64).sum()
    }

    /// Drops secrets until the total weight is at most the capacity, but not `kept`.
    fn make_room(&self, kept: SecretId) {
        let (mut first, mut misses) = (self.number(kept), 0);
        loop {
            let excess = self.weight.load(Relaxed).saturating_sub(self.capacity);
            if excess == 0 || misses == self.count {
                return;
            }
            let dropped = self.idlest_bucket(first, kept).map_or(0, |bucket| {
                bucket.evict(excess.min(AT_ONCE), &self.weight, self.now(), kept)
            });
            misses += u32::from(dropped == 0);
            first = self.after(first, WINDOW);
        }
    }

    /// Returns the bucket of the least recently used secret in the window from `first` on.
    fn idlest_bucket(&self, first: u32, kept: SecretId) -> Option<Arc<Bucket<V>>> {
        let window = (0..WINDOW.min(self.count)).map(|place| self.after(first, place));
        let idle = window.filter_map(|number| {
            let bucket = self.buckets.get(&number)?;
            let (idle_for, _) = bucket.read().idlest(self.now(), kept)?;
            Some((idle_for, bucket))
        });
        idle.max_by_key(|(idle_for, _)| *idle_for).map(|(_, bucket)| bucket)
    }

    fn now(&self) -> u32 {
        self.clock.load(Relaxed)
    }

    fn counter(&self, secret: SecretId) -> Option<&AtomicU32> {
        self.changes.get(secret.as_number() as usize % COUNTERS)
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
        Self(RwLock::new(Slots(Vec::new())))
    }
}

impl<V> Bucket<V> {
    /// Replaces a slot. `total` is the weight of all buckets, which changes while the bucket is
    /// locked: no other change can subtract a weight that was not added yet.
    fn change(
        &self,
        secret: SecretId,
        total: &AtomicU64,
        change: impl FnOnce(Option<&CachedAnswers<V>>) -> Option<Slot<V>>,
    ) {
        let mut slots = self.write();
        let known = slots.find(secret);
        let changed = change(known.map(|slot| &slot.answers));
        total.fetch_add(changed.as_ref().map_or(0, Slot::weight), Relaxed);
        total.fetch_sub(known.map_or(0, Slot::weight), Relaxed);
        match (changed, slots.place(Some(secret))) {
            (Some(changed), Some(place)) => place.fill(changed),
            (Some(changed), None) => slots.add(changed),
            (None, _) => drop(slots.remove(secret)),
        }
    }

    /// Drops the least recently used secrets, but not `kept`, until `excess` is dropped. Returns
    /// the dropped weight, which is subtracted from `total`.
    fn evict(&self, excess: u64, total: &AtomicU64, now: u32, kept: SecretId) -> u64 {
        let mut slots = self.write();
        let mut dropped = 0;
        while dropped < excess {
            let Some((_, secret)) = slots.idlest(now, kept) else { break };
            dropped += slots.remove(secret).map_or(0, |slot| slot.weight());
        }
        total.fetch_sub(dropped, Relaxed);
        dropped
    }

    fn read(&self) -> RwLockReadGuard<'_, Slots<V>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Slots<V>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Slot<V> {
    fn weight(&self) -> u64 {
        self.weight.get().into()
    }
}

impl<V> Slots<V> {
    fn iter(&self) -> impl Iterator<Item = &Slot<V>> {
        self.0.iter().flat_map(|piece| piece.slots.iter().flatten())
    }

    /// Returns the slot of this secret.
    fn find(&self, secret: SecretId) -> Option<&Slot<V>> {
        let tag = tag(secret);
        let tagged = self.0.iter().flat_map(|piece| piece.tags.iter().zip(piece.slots.iter()));
        let mut slots =
            tagged.filter(|(of_slot, _)| **of_slot == tag).filter_map(|(_, slot)| slot.as_ref());
        slots.find(|slot| slot.secret == secret)
    }

    /// Returns the slot of this secret, or an empty slot for `None`.
    fn place(&mut self, secret: Option<SecretId>) -> Option<SlotPlace<'_, V>> {
        let mut places =
            self.0.iter_mut().flat_map(|piece| piece.tags.iter_mut().zip(piece.slots.iter_mut()));
        let (tag, slot) =
            places.find(|(_, slot)| slot.as_ref().map(|slot| slot.secret) == secret)?;
        Some(SlotPlace { tag, slot })
    }

    fn add(&mut self, slot: Slot<V>) {
        if let Some(place) = self.place(None) {
            place.fill(slot);
            return;
        }
        let mut piece = SlotBlock { tags: [0; SLOTS], slots: Box::new([const { None }; SLOTS]) };
        if let (Some(tag), Some(place)) = (piece.tags.first_mut(), piece.slots.first_mut()) {
            SlotPlace { tag, slot: place }.fill(slot);
        }
        self.0.push(piece);
    }

    /// Removes a secret, and the piece of memory if it is empty then.
    fn remove(&mut self, secret: SecretId) -> Option<Slot<V>> {
        let removed = self.place(Some(secret))?.slot.take();
        self.0.retain(|piece| piece.slots.iter().any(Option::is_some));
        removed
    }

    /// Returns the least recently used secret other than `kept`, and the time since its last use.
    fn idlest(&self, now: u32, kept: SecretId) -> Option<(u32, SecretId)> {
        let others = self.iter().filter(|slot| slot.secret != kept);
        let idle = others.map(|slot| (now.wrapping_sub(slot.used.load(Relaxed)), slot.secret));
        idle.max_by_key(|(idle_for, _)| *idle_for)
    }
}

impl<V> SlotPlace<'_, V> {
    fn fill(self, slot: Slot<V>) {
        *self.tag = tag(slot.secret);
        *self.slot = Some(slot);
    }
}

/// Returns the part of a secret's hash by which it is found among those of its bucket. It is not
/// the part that chooses the bucket.
fn tag(secret: SecretId) -> u16 {
    u16::try_from(secret.as_number() >> (u64::BITS - u16::BITS)).unwrap_or_default()
}
