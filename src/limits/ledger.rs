//! The usage of all callers of one limit, with the clock that it is counted by, and the way to the
//! other replicas.

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::exchange::LeaseExchange;
use crate::rate_limit::shared::{
    Bell, LeaseAnswer, LeaseQuestion, Reservation, SharedTable, SharedTaken,
};
use crate::rate_limit::{CallerKey, Clock, LONGEST_WAIT, Quota};

/// The time between two attempts to lease an event for a request that may wait.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(20);

/// The usage of all callers of one limit.
pub struct Ledger {
    clock: Clock,
    table: SharedTable,
    exchange: Option<Arc<LeaseExchange>>,
}

impl Ledger {
    /// Creates an empty ledger. `is_told` is `true` if callers learn how much is left.
    pub(super) fn new(is_told: bool, exchange: Option<Arc<LeaseExchange>>) -> Self {
        Self { clock: Clock::default(), table: SharedTable::new(is_told), exchange }
    }

    pub(super) fn key(&self, caller: &impl Hash) -> CallerKey {
        self.table.key(caller)
    }

    /// Takes one event of a caller, which may happen after the returned wait.
    ///
    /// # Errors
    /// The time until an event is available, if it is longer than `patience`.
    pub(super) async fn reserve(
        &self,
        key: CallerKey,
        quota: Quota,
        patience: Duration,
    ) -> Result<(SharedTaken, Duration), Duration> {
        match self.table.reserve(key, quota, self.clock.now(), patience, true) {
            Reservation::Taken(taken, wait) => Ok((taken, wait)),
            Reservation::Refused(wait) if self.exchange.is_none() || wait > patience => Err(wait),
            // Boxed, because it is rare: the future of every request is small without it.
            outcome => Box::pin(self.reserve_together(key, quota, patience, outcome)).await,
        }
    }

    /// Asks Redis, for its timeout at most, and goes on alone if it does not answer.
    async fn reserve_together(
        &self,
        key: CallerKey,
        quota: Quota,
        patience: Duration,
        mut outcome: Reservation,
    ) -> Result<(SharedTaken, Duration), Duration> {
        let begun = Instant::now();
        let patience = patience.min(LONGEST_WAIT);
        let (mut answered_by, mut has_answer) = (None, false);
        loop {
            let left = patience.saturating_sub(begun.elapsed());
            match outcome {
                Reservation::Taken(taken, wait) => return Ok((taken, wait)),
                Reservation::Refused(wait) if wait >= left => return Err(wait),
                Reservation::Refused(wait) => {
                    sleep(wait.max(BETWEEN_ATTEMPTS).min(left)).await;
                    (answered_by, has_answer) = (None, false);
                }
                Reservation::Ask(wait) => {
                    let Some(exchange) = &self.exchange else { return Err(wait) };
                    let deadline = *answered_by.get_or_insert_with(|| exchange.deadline());
                    if exchange.round(deadline).await {
                        has_answer = true;
                    } else if has_answer {
                        return Err(wait);
                    } else {
                        // Other requests do not wait for Redis either, for a while.
                        exchange.was_late();
                        self.set_connected(false);
                    }
                }
            }
            let left = patience.saturating_sub(begun.elapsed());
            outcome = self.table.reserve(key, quota, self.clock.now(), left, false);
        }
    }

    /// Counts an event that happens in any case.
    pub(super) fn count(&self, key: CallerKey, quota: Quota) {
        let now = self.clock.now();
        let _kept = self.table.reserve(key, quota, now, Duration::ZERO, true);
    }

    pub(super) fn give_back(&self, key: CallerKey, taken: SharedTaken) {
        self.table.give_back(key, taken, self.clock.now());
    }

    pub(super) fn remaining(&self, key: CallerKey, quota: Quota) -> u32 {
        self.table.remaining(key, quota, self.clock.now())
    }

    pub(super) fn set_replicas(&self, replicas: u32) {
        self.table.set_replicas(replicas);
    }

    pub(super) fn set_key(&self, key: [u64; 2]) {
        self.table.set_key(key);
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.table.set_connected(connected, self.clock.now());
    }

    pub(super) fn hear(&self, bell: &Bell) {
        self.table.hear(bell.key, bell.quota, self.clock.now());
    }

    pub(super) fn leases(&self) -> usize {
        self.table.leases()
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.table.is_awaited()
    }

    pub(super) fn plan(&self, limit: usize) -> Vec<LeaseQuestion> {
        self.table.plan(self.clock.now(), limit)
    }

    pub(super) fn apply(&self, questions: &[LeaseQuestion], answers: &[LeaseAnswer], live: u32) {
        self.table.apply(questions, answers, live, self.clock.now());
    }
}
