//! A limit on wrong credentials sent to one provider. Without it, a server that blocks addresses
//! after too many failures would block the gate, and with it all callers.
//!
//! A question about a credential that was never verified reserves a place *before* it is asked, so
//! that many wrong credentials at once cannot exceed the limit either. The place is given back
//! unless the credential turns out to be wrong. A credential that was verified before needs no
//! place, but only a few questions about it are asked at the same time. It may have become invalid:
//! a caller who has it revoked and then sends it for a hundred repositories at once must not use up
//! more than these few.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::shared_guards::{SharedGuards, SharedPlace};
use crate::identity::model::ReplicaWaits;
use crate::identity::model::keyed_hash::SecretId;

/// The largest number of concurrent questions about one verified secret.
const KNOWN_AT_ONCE: usize = 4;

/// The time between the first two attempts to get a place that questions of other replicas hold. It
/// doubles with each attempt, up to the second of these.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
const LONGEST_LOOK: Duration = Duration::from_millis(160);

/// A limit of `count` wrong credentials in any window of length `per`.
pub struct FailureBudget {
    count: usize,
    per: Duration,
    state: Mutex<BudgetState>,
    /// Notified when a place is given back, or used up for a while.
    changed: Notify,
    /// The count of all replicas, and the name of the provider there; `None` if the gate is alone.
    shared: Option<(Arc<SharedGuards>, Arc<str>)>,
}

#[derive(Default)]
struct BudgetState {
    /// The latest `count` failures, oldest first. Older failures do not matter.
    failures: VecDeque<(Instant, SecretId)>,
    /// The number of places held by questions under way.
    reserved: usize,
    /// The number of questions under way about each verified secret.
    known: HashMap<SecretId, usize>,
}

/// A place, held while a question is under way. Dropping it gives the place back.
pub struct BudgetPlace<'a> {
    budget: &'a FailureBudget,
    secret: SecretId,
    /// `true` if the place is one of those for a verified secret and does not belong to the
    /// budget.
    known: bool,
    /// The place among all replicas.
    shared: Option<SharedPlace>,
}

/// The reason why no place is available.
#[derive(Debug, PartialEq, Eq)]
enum BudgetExhausted {
    /// Questions under way hold the remaining places, and their answers decide.
    Pending,
    /// Failures hold all places. The first of them expires after this time.
    Spent(Duration),
}

impl FailureBudget {
    /// Creates a budget of `count` failures in any window of length `per`. With a count of 0, only
    /// credentials that were verified before are asked about.
    pub fn new(count: u32, per: Duration) -> Self {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Self { count, per, state: Mutex::default(), changed: Notify::new(), shared: None }
    }

    /// Counts together with the other replicas, which know the provider by this name.
    #[must_use]
    pub fn shared(self, guards: Arc<SharedGuards>, provider: Arc<str>) -> Self {
        Self { shared: Some((guards, provider)), ..self }
    }

    /// Waits for a place, as long as the outcome depends on questions under way. The caller limits
    /// the wait. `known` is `true` if the secret has been verified before; the failures of other
    /// secrets then do not matter. If Redis does not answer within `patience`, or the request has
    /// waited for replicas too long already, this one counts alone.
    ///
    /// # Errors
    /// The time until the oldest failure expires, if failures have used up the budget.
    pub async fn reserve(
        &self,
        secret: SecretId,
        known: bool,
        patience: Duration,
        waits: Option<&ReplicaWaits>,
    ) -> Result<BudgetPlace<'_>, Duration> {
        loop {
            let mut changed = pin!(self.changed.notified());
            // No notification is missed from here on.
            changed.as_mut().enable();
            match self.try_reserve(secret, known, Instant::now()) {
                Ok(mut place) => {
                    place.shared = self.reserve_shared(known, patience, waits).await?;
                    return Ok(place);
                }
                Err(BudgetExhausted::Spent(free_in)) => return Err(free_in),
                Err(BudgetExhausted::Pending) => changed.await,
            }
        }
    }

    /// Reserves a place among all replicas, if there are any and Redis answers. Waits while
    /// questions under way at other replicas hold the last places.
    async fn reserve_shared(
        &self,
        known: bool,
        patience: Duration,
        waits: Option<&ReplicaWaits>,
    ) -> Result<Option<SharedPlace>, Duration> {
        // A secret that was verified before needs no place.
        let Some((guards, provider)) = self.shared.as_ref().filter(|_| !known) else {
            return Ok(None);
        };
        let mut look = BETWEEN_LOOKS;
        loop {
            let asked = guards.reserve(provider, (self.count, self.per), waits);
            match timeout(patience, asked).await {
                Err(_) | Ok(None) => return Ok(None),
                Ok(Some(Ok(place))) => return Ok(Some(place)),
                Ok(Some(Err(Duration::ZERO))) => {
                    sleep(look).await;
                    look = (look * 2).min(LONGEST_LOOK);
                }
                Ok(Some(Err(wait))) => return Err(wait),
            }
        }
    }

    /// Returns the number of wrong credentials that this replica counts by itself: all of them,
    /// while Redis counts for all.
    fn part(&self) -> usize {
        let parts = self.shared.as_ref().map_or(1, |(guards, _)| guards.parts());
        match usize::try_from(parts).unwrap_or(1) {
            0 | 1 => self.count,
            parts => (self.count / parts).max(self.count.min(1)),
        }
    }

    fn try_reserve(
        &self,
        secret: SecretId,
        known: bool,
        now: Instant,
    ) -> Result<BudgetPlace<'_>, BudgetExhausted> {
        let count = self.part();
        let mut state = self.lock();
        while state
            .failures
            .front()
            .is_some_and(|(failure, _)| now.duration_since(*failure) >= self.per)
        {
            state.failures.pop_front();
        }
        if known && state.failures.iter().all(|(_, wrong)| *wrong != secret) {
            let under_way = state.known.entry(secret).or_default();
            if *under_way >= KNOWN_AT_ONCE {
                return Err(BudgetExhausted::Pending);
            }
            *under_way += 1;
            return Ok(BudgetPlace { budget: self, secret, known, shared: None });
        }
        match state.failures.front() {
            Some((first, _)) if state.failures.len() >= count => {
                Err(BudgetExhausted::Spent(self.per.saturating_sub(now.duration_since(*first))))
            }
            None if count == 0 => Err(BudgetExhausted::Spent(self.per)),
            _ if state.failures.len() + state.reserved >= count => Err(BudgetExhausted::Pending),
            _ => {
                state.reserved += 1;
                Ok(BudgetPlace { budget: self, secret, known: false, shared: None })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BudgetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BudgetState {
    fn fail(&mut self, count: usize, secret: SecretId, now: Instant) {
        self.failures.push_back((now, secret));
        while self.failures.len() > count {
            self.failures.pop_front();
        }
    }
}

impl BudgetPlace<'_> {
    /// Records that the credential was wrong: the place stays taken until the window has passed.
    pub fn fail(mut self, now: Instant) {
        match (self.shared.take(), &self.budget.shared) {
            (Some(place), _) => place.fail(),
            (None, Some((guards, provider))) => {
                guards.failed(provider, (self.budget.count, self.budget.per));
            }
            (None, None) => {}
        }
        self.budget.lock().fail(self.budget.count, self.secret, now);
    }
}

impl Drop for BudgetPlace<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        match state.known.get_mut(&self.secret).filter(|_| self.known) {
            None => state.reserved -= 1,
            Some(1) => drop(state.known.remove(&self.secret)),
            Some(under_way) => *under_way -= 1,
        }
        drop(state);
        self.budget.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::identity::model::credential::Credential;
    use crate::identity::model::keyed_hash::HashKey;

    const MINUTE: Duration = Duration::from_secs(60);

    fn secret() -> SecretId {
        HashKey::random().unwrap().secret(&Credential::Bearer(SecretString::from("secret")))
    }

    fn refusal(budget: &FailureBudget, now: Instant) -> BudgetExhausted {
        budget.try_reserve(secret(), false, now).err().unwrap()
    }

    fn held(budget: &FailureBudget, now: Instant) -> BudgetPlace<'_> {
        budget.try_reserve(secret(), false, now).ok().unwrap()
    }

    #[test]
    fn the_budget_limits_failures_in_a_sliding_window() {
        let (budget, start) = (FailureBudget::new(2, MINUTE), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        held(&budget, start).fail(start);
        held(&budget, at(40)).fail(at(40));
        assert_eq!(refusal(&budget, at(50)), BudgetExhausted::Spent(Duration::from_secs(10)));
        // The window slides: the first failure does not count any more, the second one does.
        held(&budget, at(60)).fail(at(60));
        assert_eq!(refusal(&budget, at(61)), BudgetExhausted::Spent(Duration::from_secs(39)));
    }

    #[test]
    fn a_question_that_does_not_fail_costs_nothing() {
        let (budget, now) = (FailureBudget::new(1, MINUTE), Instant::now());
        for _ in 0..100 {
            drop(held(&budget, now));
        }
    }

    #[test]
    fn a_full_budget_is_pending_while_questions_run_and_spent_after_failures() {
        let (budget, now) = (FailureBudget::new(2, MINUTE), Instant::now());
        let (first, second) = (held(&budget, now), held(&budget, now));
        assert_eq!(refusal(&budget, now), BudgetExhausted::Pending);
        first.fail(now);
        assert_eq!(refusal(&budget, now), BudgetExhausted::Pending);
        second.fail(now);
        assert_eq!(refusal(&budget, now), BudgetExhausted::Spent(MINUTE));
    }

    #[test]
    fn failures_of_known_credentials_count_too() {
        let (budget, now) = (FailureBudget::new(2, MINUTE), Instant::now());
        for second in 0..5 {
            let now = now + Duration::from_secs(second);
            budget.try_reserve(secret(), true, now).ok().unwrap().fail(now);
        }
        let later = now + Duration::from_secs(5);
        assert_eq!(refusal(&budget, later), BudgetExhausted::Spent(Duration::from_secs(58)));
        assert!(budget.lock().failures.len() <= 2);
    }

    #[tokio::test]
    async fn a_waiting_caller_gets_the_place_that_is_given_back() {
        let budget = FailureBudget::new(1, MINUTE);
        let place = budget.reserve(secret(), false, Duration::ZERO, None).await.ok().unwrap();
        let (waiting, ()) =
            tokio::join!(budget.reserve(secret(), false, Duration::ZERO, None), async {
                drop(place)
            });
        waiting.ok().unwrap().fail(Instant::now());
        assert!(budget.reserve(secret(), false, Duration::ZERO, None).await.is_err());
    }

    #[test]
    fn a_known_secret_gets_a_few_concurrent_questions_until_it_fails() {
        let (budget, now, secret) = (FailureBudget::new(1, MINUTE), Instant::now(), secret());
        let ask = || budget.try_reserve(secret, true, now);
        let mut under_way: Vec<_> = (0..KNOWN_AT_ONCE).map(|_| ask().ok().unwrap()).collect();
        assert_eq!(ask().err().unwrap(), BudgetExhausted::Pending);
        drop(under_way.pop());
        drop(ask().ok().unwrap());
        under_way.pop().unwrap().fail(now);
        assert_eq!(ask().err().unwrap(), BudgetExhausted::Spent(MINUTE));
        drop(under_way);
        assert!(budget.lock().known.is_empty());
    }

    #[test]
    fn a_budget_of_zero_is_spent_from_the_start() {
        assert_eq!(
            refusal(&FailureBudget::new(0, MINUTE), Instant::now()),
            BudgetExhausted::Spent(MINUTE)
        );
    }
}
