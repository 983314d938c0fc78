//! A table of what callers owe that several replicas of the gate share.
//!
//! The quota of a caller is divided by the number of replicas. A replica uses its share without
//! asking the others. If the share does not suffice, all replicas hand over their shares of this
//! caller to a bucket in Redis, and lease events from it, for a tenth of a second at a time.
//! No event is in two places at the same time: the replicas together admit what one
//! gate would admit. A loss of messages loses events; it creates none. If Redis is away, each
//! replica goes on with its share.
//!
//! Nothing here does I/O or reads a clock. [`SharedTable::plan`] returns what to ask Redis, and
//! [`SharedTable::apply`] takes the answer.

mod leases;
mod messages;
#[cfg(test)]
mod tests;

use std::hash::{Hash, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::gcra::{Nanos, Quota, Taken};
use super::table::{CallerKey, Table};
use leases::{LeaseAttempt, Leases};

pub use leases::PERIOD;
pub use messages::{Bell, LEASE_SCRIPT, LeaseAnswer, LeaseQuestion, MAX_CALLERS};

/// The word of a caller whose share was handed over: under every quota, it owes too much.
const HANDED_OVER: Nanos = Nanos::MAX;

/// The part of a share that may be used before the caller counts as busy.
const BUSY_FROM: u64 = 8;

/// The debts of all callers under one limit.
pub struct SharedTable {
    table: Table,
    replicas: AtomicU32,
    /// `true` while Redis answers. Without replicas, it is always `false`.
    connected: AtomicBool,
    /// The key of the hash of callers, which all replicas have; 0 without replicas.
    key: [AtomicU64; 2],
    leases: Leases,
    /// `true` if a caller counts as busy with the first event that it does not pay for at once:
    /// the limit tells callers how much is left.
    is_told: bool,
}

/// The outcome of an attempt to take an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Reservation {
    /// The event is taken, and may happen after this wait.
    Taken(SharedTaken, Duration),
    /// No event is available; one will be after this time.
    Refused(Duration),
    /// Redis must be asked first. If it does not answer, the time until an event is available.
    Ask(Duration),
}

/// An event that was taken, so that it can be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum SharedTaken {
    /// From the replica's own share.
    Own(Taken),
    /// From what the replica leased.
    Leased,
}

impl SharedTable {
    /// Creates a table for one replica. `is_told` is `true` if callers learn how much is left.
    pub fn new(is_told: bool) -> Self {
        Self {
            table: Table::default(),
            replicas: AtomicU32::new(1),
            connected: AtomicBool::new(false),
            key: Default::default(),
            leases: Leases::default(),
            is_told,
        }
    }

    /// Returns the key of a caller in this table.
    pub fn key(&self, caller: &impl Hash) -> CallerKey {
        let [first, second] = &self.key;
        let (first, second) = (first.load(Ordering::Relaxed), second.load(Ordering::Relaxed));
        if first == 0 && second == 0 {
            return self.table.key(caller);
        }
        let mut hasher = SipHasher13::new_with_keys(first, second);
        caller.hash(&mut hasher);
        CallerKey::new(hasher.finish())
    }

    /// Sets the key of the hash, so that all replicas have the same keys for a caller. What
    /// callers owe is forgotten if the key changes.
    pub fn set_key(&self, key: [u64; 2]) {
        for (half, new) in self.key.iter().zip(key) {
            half.store(new, Ordering::Relaxed);
        }
    }

    /// Sets the number of replicas that divide each quota.
    pub fn set_replicas(&self, replicas: u32) {
        self.replicas.store(replicas.max(1), Ordering::Relaxed);
    }

    /// Sets whether Redis answers. If it does not, callers get back what is left of their shares.
    pub fn set_connected(&self, connected: bool, now: Nanos) {
        self.connected.store(connected, Ordering::Relaxed);
        if !connected {
            self.leases.go_alone(&self.table, self.replicas(), now);
        }
    }

    /// Returns the number of callers whose share was handed over.
    pub fn leases(&self) -> usize {
        self.leases.len()
    }

    /// Takes one event, which may happen after a wait of at most `patience`. `first` is `false` if
    /// the same request was told to ask before, and has waited for the answer.
    pub fn reserve(
        &self,
        key: CallerKey,
        quota: Quota,
        now: Nanos,
        patience: Duration,
        first: bool,
    ) -> Reservation {
        let replicas = self.replicas();
        let share = if replicas == 1 { quota } else { quota.share(replicas) };
        let connected = self.connected.load(Ordering::Relaxed);
        let shares = replicas > 1 && connected;
        let own = || {
            let taken = self.table.with(key, now, |word| {
                share.reserve(word, now, patience).map(|taken| (taken, *word))
            });
            taken.map(|((taken, wait), word)| {
                if shares && word.saturating_sub(now) > self.busy_from(&share) {
                    self.leases.note_busy(key, quota, now);
                }
                Reservation::Taken(SharedTaken::Own(taken), wait)
            })
        };
        // No replica uses its share of a small budget: the shares of the others are missed at once.
        let is_own_first = !(shares && is_small(quota, replicas));
        if is_own_first {
            match own() {
                Ok(taken) => return taken,
                // The others may have left after the share was handed over.
                Err(wait) if !(shares || connected && self.leases.has(key)) => {
                    return Reservation::Refused(wait);
                }
                Err(_) => {}
            }
        }
        match self.leases.take(key, quota, now, first) {
            LeaseAttempt::Taken => Reservation::Taken(SharedTaken::Leased, Duration::ZERO),
            LeaseAttempt::Refused(wait) => Reservation::Refused(wait),
            LeaseAttempt::Ask(wait) => Reservation::Ask(wait),
            LeaseAttempt::NoRoom if is_own_first => {
                Reservation::Refused(Duration::from_nanos(share.interval()))
            }
            // Its own share is all that a new caller can have while too many are busy.
            LeaseAttempt::NoRoom => own().unwrap_or_else(Reservation::Refused),
        }
    }

    /// Gives an event back.
    pub fn give_back(&self, key: CallerKey, taken: SharedTaken, now: Nanos) {
        match taken {
            SharedTaken::Leased => self.leases.give_back(key),
            SharedTaken::Own(taken) => self.table.with(key, now, |word| {
                if *word != HANDED_OVER {
                    taken.give_back(word, now);
                }
            }),
        }
    }

    /// Returns the number of events that are left to all replicas together, as far as this one
    /// knows.
    pub fn remaining(&self, key: CallerKey, quota: Quota, now: Nanos) -> u32 {
        let replicas = self.replicas();
        let connected = self.connected.load(Ordering::Relaxed);
        if let Some(left) = connected.then(|| self.leases.remaining(key, now)).flatten() {
            return left.min(quota.burst());
        }
        if replicas == 1 {
            return self.table.with(key, now, |word| quota.remaining(*word, now));
        }
        let share = quota.share(replicas);
        let debt = self.table.with(key, now, |word| share.debt(*word, now));
        let owed = debt.div_ceil(share.interval());
        quota.burst().saturating_sub(u32::try_from(owed).unwrap_or(u32::MAX))
    }

    /// Adds the questions about callers that are due to `questions`, up to `limit` of them.
    pub fn plan(&self, now: Nanos, limit: usize) -> Vec<LeaseQuestion> {
        self.leases.plan(&self.table, self.replicas(), now, limit)
    }

    /// Returns whether a request waits for an answer of Redis that the next plan asks for.
    pub fn is_awaited(&self) -> bool {
        self.leases.is_awaited()
    }

    /// Takes the answers to questions of [`plan`](Self::plan), in their order. `live` is the number
    /// of replicas that answer now.
    pub fn apply(
        &self,
        questions: &[LeaseQuestion],
        answers: &[LeaseAnswer],
        live: u32,
        now: Nanos,
    ) {
        self.leases.apply(&self.table, questions, answers, (self.replicas(), live), now);
    }

    /// Hands over the share of a caller that is busy at another replica, with the next plan.
    pub fn hear(&self, key: CallerKey, quota: Quota, now: Nanos) {
        if self.replicas() > 1 && !is_small(quota, self.replicas()) {
            self.leases.note_busy(key, quota, now);
        }
    }

    fn replicas(&self) -> u32 {
        self.replicas.load(Ordering::Relaxed)
    }

    /// Returns the debt from which on a caller counts as busy.
    fn busy_from(&self, share: &Quota) -> Nanos {
        let events = if self.is_told { 1 } else { (u64::from(share.burst()) / BUSY_FROM).max(1) };
        share.interval().saturating_mul(events)
    }
}

/// Returns whether the share of each replica would be less than 4 events.
fn is_small(quota: Quota, replicas: u32) -> bool {
    quota.burst() < replicas.saturating_mul(4)
}
