//! The debts of all callers under one limit: a word for each caller, in a fixed amount of memory.
//!
//! A caller may be in one of a few slots, as in the caches of processors: each operation looks at
//! these slots only. If all of them are taken, a caller that owes nothing is replaced first, and
//! then the one that owes least. New callers owe next to nothing, so a flood of them replaces only
//! each other, and callers over a limit stay in the table.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

use super::gcra::Nanos;

/// The number of callers that a table holds at once. Each takes 16 bytes.
const CAPACITY: usize = 131_072;
/// The number of shards, chosen so that workers seldom wait for each other.
const SHARDS: usize = 64;
/// The number of slots in which a caller may be.
const WAYS: usize = 16;
const BUCKETS: usize = CAPACITY / SHARDS / WAYS;

/// A word for each caller. All workers share the table, so that a limit applies to the gate as a
/// whole.
pub struct Table {
    /// The parts of the table. Each is empty until its first caller comes, so a limit that is off
    /// takes no memory.
    shards: Box<[Mutex<Vec<Slot>>]>,
    hash: RandomState,
}

/// A caller as a keyed hash. Without the key, an attacker cannot search for two callers with the
/// same hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerKey(u64);

impl CallerKey {
    /// Creates a key from the hash of a caller.
    pub(super) fn new(hash: u64) -> Self {
        Self(hash)
    }

    /// Returns the hash.
    pub fn as_number(self) -> u64 {
        self.0
    }
}

/// The hash of the key and its word. An empty slot is 0 and 0, which also stands for a caller with
/// hash 0 that owes nothing.
type Slot = [u64; 2];

impl Table {
    /// Returns the key of a caller in this table.
    pub fn key(&self, caller: &impl Hash) -> CallerKey {
        CallerKey(self.hash.hash_one(caller))
    }

    /// Calls `change` with the word of a caller, which is 0 for an unknown caller. The word of an
    /// unknown caller is kept only if the caller then owes something, and at least as much as one
    /// of the callers in its slots.
    pub fn with<R>(&self, key: CallerKey, now: Nanos, change: impl FnOnce(&mut Nanos) -> R) -> R {
        let CallerKey(hash) = key;
        let place = hash as usize;
        let (shard, bucket) = (place % SHARDS, place / SHARDS % BUCKETS);
        let Some(shard) = self.shards.get(shard) else { return change(&mut 0) };
        let mut slots = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.is_empty() {
            slots.resize(BUCKETS * WAYS, Slot::default());
        }
        let slots = slots.get_mut(bucket * WAYS..(bucket + 1) * WAYS).unwrap_or_default();
        if let Some([_, word]) = slots.iter_mut().find(|[known, _]| *known == hash) {
            return change(word);
        }
        let mut word = 0;
        let result = change(&mut word);
        if let Some(least) = slots.iter_mut().min_by_key(|[_, word]| word.saturating_sub(now))
            && word > now
            && least[1] <= word
        {
            *least = [hash, word];
        }
        result
    }
}

impl Default for Table {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hash: RandomState::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rate_limit::Quota;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn the_table_keeps_a_word_for_each_caller() {
        let table = Table::default();
        for caller in 0..1000_u64 {
            table.with(table.key(&caller), 0, |word| *word = caller + 1);
        }
        for caller in 0..1000_u64 {
            assert_eq!(table.with(table.key(&caller), 0, |word| *word), caller + 1);
        }
    }

    #[test]
    fn a_caller_that_owes_nothing_takes_no_slot() {
        let table = Table::default();
        for caller in 0..1000_u64 {
            table.with(table.key(&caller), SECOND, |word| *word = SECOND);
        }
        let used: usize = table
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().iter().filter(|[key, _]| *key != 0).count())
            .sum();
        assert_eq!(used, 0);
    }

    #[test]
    fn the_table_allocates_on_first_use_and_never_exceeds_its_size() {
        let table = Table::default();
        let slots =
            || table.shards.iter().map(|shard| shard.lock().unwrap().capacity()).sum::<usize>();
        assert_eq!(slots(), 0);
        for caller in 0..2 * CAPACITY {
            table.with(table.key(&caller), 0, |word| *word = SECOND);
        }
        assert_eq!(slots() * size_of::<Slot>(), 2 << 20);
    }

    /// Sends a million new callers, some of which come twice.
    #[test]
    fn a_flood_of_callers_does_not_reset_callers_over_a_limit() {
        let (table, quota) = (Table::default(), Quota::new(10, Duration::from_secs(60), 20));
        let take =
            |caller: u64, now| table.with(table.key(&caller), now, |word| quota.take(word, now));
        let over = || 0..10_000;
        for caller in over() {
            while take(caller, 0).is_ok() {}
        }
        let mut now = 0;
        for caller in 1_000_000..2_000_000 {
            now += 3000;
            assert!(take(caller, now).is_ok());
            if caller % 3 == 0 {
                let _ = take(caller, now);
            }
        }
        for caller in over() {
            assert_eq!(
                take(caller, now),
                Err(Duration::from_secs(6) - Duration::from_nanos(now)),
                "{caller}"
            );
        }
    }

    /// Checks the case that each slot holds a caller that owes more.
    #[test]
    fn a_new_caller_is_not_stored_if_all_others_owe_more() {
        let table = Table::default();
        for caller in 0..10 * CAPACITY as u64 {
            table.with(table.key(&caller), 0, |word| *word = 100 * SECOND);
        }
        let lowest = |table: &Table| {
            table
                .shards
                .iter()
                .flat_map(|shard| shard.lock().unwrap().clone())
                .map(|[_, word]| word)
                .min()
        };
        assert_eq!(lowest(&table), Some(100 * SECOND));
        for caller in 0..100_000_u64 {
            table.with(table.key(&(caller, "new")), 0, |word| *word = SECOND);
        }
        assert_eq!(lowest(&table), Some(100 * SECOND));
    }
}
