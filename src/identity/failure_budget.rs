//! A bound on wrong credentials: a server that blocks addresses after so many would else block the gate, and with it
//! everybody.
//!
//! A credential that nobody has verified yet takes a place *before* it is asked about, so that many wrong ones at once
//! are not more than the bound either, and gives it back unless it turns out to be wrong.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// At most `count` wrong credentials in any window of `per`.
pub struct FailureBudget {
    count: usize,
    per: Duration,
    state: Mutex<State>,
    /// A place was given back, or lost for a while.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// The latest `count` failures, oldest first. Older ones do not matter.
    failures: VecDeque<Instant>,
    /// Places held by questions under way.
    reserved: usize,
}

/// A place, held while a question is under way. Dropping it gives it back.
pub struct Place<'a> {
    budget: &'a FailureBudget,
}

/// What trying for a place came to.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    Reserved,
    /// Questions under way hold the rest: their answers decide.
    UnderWay,
    /// Failures hold all. The first of them is too old after this.
    Spent(Duration),
}

impl FailureBudget {
    /// A budget of `count` failures in any `per`. A count of 0 lets nobody be asked about who is not known.
    pub fn new(count: u32, per: Duration) -> Self {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Self { count, per, state: Mutex::default(), changed: Notify::new() }
    }

    /// Waits for a place as long as it depends on questions under way. The caller bounds the wait.
    ///
    /// # Errors
    /// Where failures have taken all of it: how long until the first of them no longer counts.
    pub async fn reserve(&self) -> Result<Place<'_>, Duration> {
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            match self.try_reserve(Instant::now()) {
                Attempt::Reserved => return Ok(Place { budget: self }),
                Attempt::Spent(free_in) => return Err(free_in),
                Attempt::UnderWay => changed.await,
            }
        }
    }

    /// Counts a wrong credential that held no place: one that was good before.
    pub fn count_failure(&self, now: Instant) {
        self.lock().fail(self.count, now);
        self.changed.notify_waiters();
    }

    fn try_reserve(&self, now: Instant) -> Attempt {
        let mut state = self.lock();
        while state.failures.front().is_some_and(|failure| now.duration_since(*failure) >= self.per) {
            state.failures.pop_front();
        }
        match state.failures.front() {
            Some(first) if state.failures.len() >= self.count => {
                Attempt::Spent(self.per.saturating_sub(now.duration_since(*first)))
            }
            None if self.count == 0 => Attempt::Spent(self.per),
            _ if state.failures.len() + state.reserved >= self.count => Attempt::UnderWay,
            _ => {
                state.reserved += 1;
                Attempt::Reserved
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fail(&mut self, count: usize, now: Instant) {
        self.failures.push_back(now);
        while self.failures.len() > count {
            self.failures.pop_front();
        }
    }
}

impl Place<'_> {
    /// The credential was wrong: the place is taken until the window has passed.
    pub fn fail(self, now: Instant) {
        self.budget.lock().fail(self.budget.count, now);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.budget.lock().reserved -= 1;
        self.budget.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn held(budget: &FailureBudget, now: Instant) -> Place<'_> {
        assert_eq!(budget.try_reserve(now), Attempt::Reserved);
        Place { budget }
    }

    #[test]
    fn so_many_failures_in_any_window() {
        let (budget, start) = (FailureBudget::new(2, MINUTE), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        held(&budget, start).fail(start);
        held(&budget, at(40)).fail(at(40));
        assert_eq!(budget.try_reserve(at(50)), Attempt::Spent(Duration::from_secs(10)));
        // The window slides: the first no longer counts, the second does.
        held(&budget, at(60)).fail(at(60));
        assert_eq!(budget.try_reserve(at(61)), Attempt::Spent(Duration::from_secs(39)));
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
        assert_eq!(budget.try_reserve(now), Attempt::UnderWay);
        first.fail(now);
        assert_eq!(budget.try_reserve(now), Attempt::UnderWay);
        second.fail(now);
        assert_eq!(budget.try_reserve(now), Attempt::Spent(MINUTE));
    }

    #[test]
    fn failures_of_known_credentials_count_too() {
        let (budget, now) = (FailureBudget::new(2, MINUTE), Instant::now());
        for second in 0..5 {
            budget.count_failure(now + Duration::from_secs(second));
        }
        let later = now + Duration::from_secs(5);
        assert_eq!(budget.try_reserve(later), Attempt::Spent(Duration::from_secs(58)));
        assert!(budget.lock().failures.len() <= 2);
    }

    #[tokio::test]
    async fn a_waiting_caller_gets_the_place_that_is_given_back() {
        let budget = FailureBudget::new(1, MINUTE);
        let place = budget.reserve().await.ok().unwrap();
        let (waiting, ()) = tokio::join!(budget.reserve(), async { drop(place) });
        waiting.ok().unwrap().fail(Instant::now());
        assert!(budget.reserve().await.is_err());
    }

    #[test]
    fn a_budget_of_none_is_spent() {
        assert_eq!(FailureBudget::new(0, MINUTE).try_reserve(Instant::now()), Attempt::Spent(MINUTE));
    }
}
