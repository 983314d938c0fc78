//! A bound on wrong credentials: a server that blocks addresses after so many would else block the
//! gate, and with it everybody.
//!
//! A credential that nobody has verified yet takes a place *before* it is asked about, so that many
//! wrong ones at once are not more than the bound either, and gives it back unless it turns out to
//! be wrong. One that was verified needs none, but only a few questions about it are asked at once:
//! it may be good no longer, and whoever has it revoked and then sends it for a hundred
//! repositories at once must not spend more than that.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::identity::model::keyed_hash::SecretId;

/// Questions about one verified secret at the same time.
const KNOWN_AT_ONCE: usize = 4;

/// At most `count` wrong credentials in any window of `per`.
pub struct FailureBudget {
    count: usize,
    per: Duration,
    state: Mutex<BudgetState>,
    /// A place was given back, or lost for a while.
    changed: Notify,
}

#[derive(Default)]
struct BudgetState {
    /// The latest `count` failures, oldest first. Older ones do not matter.
    failures: VecDeque<(Instant, SecretId)>,
    /// Places held by questions under way.
    reserved: usize,
    /// Questions under way about verified secrets.
    known: HashMap<SecretId, usize>,
}

/// A place, held while a question is under way. Dropping it gives it back.
pub struct BudgetPlace<'a> {
    budget: &'a FailureBudget,
    secret: SecretId,
    /// One that is not of the budget, but of those of a verified secret.
    known: bool,
}

/// Why there is no place.
#[derive(Debug, PartialEq, Eq)]
enum BudgetExhausted {
    /// Questions under way hold the rest: their answers decide.
    Pending,
    /// Failures hold all. The first of them is too old after this.
    Spent(Duration),
}

impl FailureBudget {
    /// A budget of `count` failures in any `per`. A count of 0 lets nobody be asked about who is
    /// not known.
    pub fn new(count: u32, per: Duration) -> Self {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Self { count, per, state: Mutex::default(), changed: Notify::new() }
    }

    /// Waits for a place as long as it depends on questions under way. The caller bounds the wait.
    /// `known`: the secret has been verified before, and so is asked about whatever others got
    /// wrong.
    ///
    /// # Errors
    /// Where failures have taken all of it: how long until the first of them no longer counts.
    pub async fn reserve(
        &self,
        secret: SecretId,
        known: bool,
    ) -> Result<BudgetPlace<'_>, Duration> {
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            match self.try_reserve(secret, known, Instant::now()) {
                Ok(place) => return Ok(place),
                Err(BudgetExhausted::Spent(free_in)) => return Err(free_in),
                Err(BudgetExhausted::Pending) => changed.await,
            }
        }
    }

    fn try_reserve(
        &self,
        secret: SecretId,
        known: bool,
        now: Instant,
    ) -> Result<BudgetPlace<'_>, BudgetExhausted> {
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
            return Ok(BudgetPlace { budget: self, secret, known });
        }
        match state.failures.front() {
            Some((first, _)) if state.failures.len() >= self.count => {
                Err(BudgetExhausted::Spent(self.per.saturating_sub(now.duration_since(*first))))
            }
            None if self.count == 0 => Err(BudgetExhausted::Spent(self.per)),
            _ if state.failures.len() + state.reserved >= self.count => {
                Err(BudgetExhausted::Pending)
            }
            _ => {
                state.reserved += 1;
                Ok(BudgetPlace { budget: self, secret, known: false })
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
    /// The credential was wrong: the place is taken until the window has passed.
    pub fn fail(self, now: Instant) {
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
    fn so_many_failures_in_any_window() {
        let (budget, start) = (FailureBudget::new(2, MINUTE), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        held(&budget, start).fail(start);
        held(&budget, at(40)).fail(at(40));
        assert_eq!(refusal(&budget, at(50)), BudgetExhausted::Spent(Duration::from_secs(10)));
        // The window slides: the first no longer counts, the second does.
        held(&budget, at(60)).fail(at(60));
        assert_eq!(refusal(&budget, at(61)), BudgetExhausted::Spent(Duration::from_secs(39)));
    }

    #[test]
    fn what_is_no_failure_costs_nothing() {
        let (budget, now) = (FailureBudget::new(1, MINUTE), Instant::now());
        for _ in 0..100 {
            drop(held(&budget, now));
        }
    }

    #[test]
    fn questions_under_way_are_waited_for_and_failures_are_not() {
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
        let place = budget.reserve(secret(), false).await.ok().unwrap();
        let (waiting, ()) = tokio::join!(budget.reserve(secret(), false), async { drop(place) });
        waiting.ok().unwrap().fail(Instant::now());
        assert!(budget.reserve(secret(), false).await.is_err());
    }

    #[test]
    fn a_few_questions_about_a_known_secret_and_none_once_it_was_wrong() {
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
    fn a_budget_of_none_is_spent() {
        assert_eq!(
            refusal(&FailureBudget::new(0, MINUTE), Instant::now()),
            BudgetExhausted::Spent(MINUTE)
        );
    }
}
