//! The circuit breaker of a provider: a provider that answers no question is not asked for a while,
//! so that no caller waits for it.
//!
//! The breaker opens only after questions about several different secrets in a row have failed and
//! the gate's own harmless question has failed as well: a caller who makes up secrets whose
//! questions fail must not be able to shut a provider off for all others. The caller of these
//! functions passes in the clock and the outcome of the gate's own question.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::identity::model::keyed_hash::SecretId;

/// The number of different secrets in a row without an answer after which the gate asks its own
/// question.
const DIFFERENT_SECRETS: usize = 3;

/// The time for which an open breaker blocks questions. It is short: each retry makes one caller
/// wait, but recovery is noticed only by a retry.
pub const OPEN_FOR: Duration = Duration::from_secs(2);

/// The breaker of one provider.
#[derive(Default)]
pub struct Breaker(Mutex<State>);

enum State {
    /// Questions are admitted.
    Closed {
        /// The secrets without an answer since the last answered question.
        failing: Vec<SecretId>,
        /// `true` while the gate's own question is under way.
        checking: bool,
    },
    /// Questions are blocked until this time.
    Open { until: Instant },
    /// One question is under way and decides the next state. If it fails, the gate's own question
    /// decides.
    HalfOpen,
}

/// Permission to ask a question. The outcome must be [reported](Breaker::report).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// An ordinary question.
    Normal,
    /// The question that finds out whether the provider is back.
    Probe,
}

/// The outcome of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuestionOutcome {
    /// The provider gave an answer, which may be a refusal.
    Answered,
    /// The provider gave no meaningful answer about this secret.
    Failed(SecretId),
    /// The provider was not asked after all.
    NotAsked,
}

/// The state of a breaker, as shown to operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Questions are admitted.
    Closed,
    /// Questions are blocked until [`OPEN_FOR`] has passed and a caller asks again.
    Open,
    /// One question is under way and decides the next state.
    Probing,
}

impl BreakerState {
    /// Returns the word in `/status.json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
        }
    }
}

/// The consequence of a reported outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerChange {
    /// The gate must now ask its own question and [report](Breaker::checked) whether the provider
    /// answered.
    Suspected,
    Opened,
    Closed,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failing: Vec::new(), checking: false }
    }
}

impl Breaker {
    /// Returns the permission to ask a question now, or `None` if questions are blocked.
    pub fn admit(&self, now: Instant) -> Option<Admission> {
        let mut state = self.lock();
        match *state {
            State::Closed { .. } => Some(Admission::Normal),
            State::Open { until } if until <= now => {
                *state = State::HalfOpen;
                Some(Admission::Probe)
            }
            State::Open { .. } | State::HalfOpen => None,
        }
    }

    /// Reports the outcome of an admitted question.
    pub fn report(
        &self,
        admission: Admission,
        outcome: QuestionOutcome,
        now: Instant,
    ) -> Option<BreakerChange> {
        let mut state = self.lock();
        match (&mut *state, outcome) {
            (State::Closed { failing, .. }, QuestionOutcome::Answered) => failing.clear(),
            (State::Closed { failing, checking }, QuestionOutcome::Failed(secret)) => {
                if failing.len() < DIFFERENT_SECRETS && !failing.contains(&secret) {
                    failing.push(secret);
                }
                if failing.len() >= DIFFERENT_SECRETS && !std::mem::replace(checking, true) {
                    return Some(BreakerChange::Suspected);
                }
            }
            // This includes answers to questions from before the breaker opened: a provider that
            // answers is back.
            (State::Open { .. } | State::HalfOpen, QuestionOutcome::Answered) => {
                *state = State::default();
                return Some(BreakerChange::Closed);
            }
            (State::HalfOpen, QuestionOutcome::Failed(_)) if admission == Admission::Probe => {
                return Some(BreakerChange::Suspected);
            }
            // The next caller may probe at once.
            (State::HalfOpen, QuestionOutcome::NotAsked) if admission == Admission::Probe => {
                *state = State::Open { until: now };
            }
            _ => {}
        }
        None
    }

    /// Reports whether the provider answered the gate's own question, which was asked because the
    /// provider was [suspected](BreakerChange::Suspected).
    pub fn checked(&self, up: bool, now: Instant) -> Option<BreakerChange> {
        let mut state = self.lock();
        match &mut *state {
            State::Closed { failing, checking } => {
                *checking = false;
                if up {
                    failing.clear();
                } else if failing.len() >= DIFFERENT_SECRETS {
                    *state = State::Open { until: now + OPEN_FOR };
                    return Some(BreakerChange::Opened);
                }
            }
            State::Open { .. } | State::HalfOpen if up => {
                *state = State::default();
                return Some(BreakerChange::Closed);
            }
            State::HalfOpen => *state = State::Open { until: now + OPEN_FOR },
            State::Open { .. } => {}
        }
        None
    }

    /// Returns the current state.
    pub fn state(&self) -> BreakerState {
        match *self.lock() {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen => BreakerState::Probing,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::identity::model::credential::Credential;
    use crate::identity::model::keyed_hash::HashKey;

    fn secrets<const N: usize>() -> [SecretId; N] {
        let key = HashKey::random().unwrap();
        std::array::from_fn(|number| {
            key.secret(&Credential::Bearer(SecretString::from(number.to_string())))
        })
    }

    fn fail(breaker: &Breaker, secret: SecretId, now: Instant) -> Option<BreakerChange> {
        let admission = breaker.admit(now).unwrap();
        breaker.report(admission, QuestionOutcome::Failed(secret), now)
    }

    /// Returns an open breaker: the provider did not answer the gate's own question either.
    fn open(now: Instant) -> Breaker {
        let breaker = suspecting(now);
        assert_eq!(breaker.checked(false, now), Some(BreakerChange::Opened));
        breaker
    }

    fn suspecting(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        let [one, two, three] = secrets();
        assert_eq!((fail(&breaker, one, now), fail(&breaker, two, now)), (None, None));
        assert_eq!(fail(&breaker, three, now), Some(BreakerChange::Suspected));
        breaker
    }

    #[test]
    fn failures_of_two_secrets_do_not_open_the_breaker() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        let [one, two] = secrets();
        for _ in 0..100 {
            assert_eq!(fail(&breaker, one, now), None);
            assert_eq!(fail(&breaker, two, now), None);
        }
    }

    #[test]
    fn an_answer_resets_the_count_of_failed_secrets() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        let [one, two, three] = secrets();
        fail(&breaker, one, now);
        fail(&breaker, two, now);
        breaker.report(breaker.admit(now).unwrap(), QuestionOutcome::Answered, now);
        assert_eq!(fail(&breaker, three, now), None);
        assert_eq!(fail(&breaker, one, now), None);
        assert_eq!(fail(&breaker, two, now), Some(BreakerChange::Suspected));
    }

    /// A caller who makes up secrets whose questions fail only causes the gate to ask its own
    /// question now and then.
    #[test]
    fn the_breaker_stays_closed_if_the_provider_answers_the_gate() {
        let (now, [made_up]) = (Instant::now(), secrets());
        let breaker = suspecting(now);
        for _ in 0..100 {
            assert_eq!(fail(&breaker, made_up, now), None, "one question at a time");
        }
        assert_eq!(breaker.checked(true, now), None);
        assert_eq!(
            (breaker.state(), breaker.admit(now)),
            (BreakerState::Closed, Some(Admission::Normal))
        );
        let [one, two, three] = secrets();
        assert_eq!(
            (fail(&breaker, one, now), fail(&breaker, two, now)),
            (None, None),
            "from the beginning"
        );
        assert_eq!(fail(&breaker, three, now), Some(BreakerChange::Suspected));
    }

    /// A caller got an answer while the gate's own question was under way, so the provider is not
    /// down.
    #[test]
    fn an_answer_to_a_caller_outweighs_the_gates_own_failed_question() {
        let now = Instant::now();
        let breaker = suspecting(now);
        breaker.report(Admission::Normal, QuestionOutcome::Answered, now);
        assert_eq!(breaker.checked(false, now), None);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    /// A caller whose probe fails cannot keep the breaker open.
    #[test]
    fn the_gates_own_question_decides_after_a_failed_probe() {
        let (begun, [any]) = (Instant::now(), secrets());
        let later = begun + OPEN_FOR;
        for (up, change, state) in [
            (true, Some(BreakerChange::Closed), BreakerState::Closed),
            (false, None, BreakerState::Open),
        ] {
            let breaker = open(begun);
            assert_eq!(breaker.admit(later), Some(Admission::Probe));
            assert_eq!(
                breaker.report(Admission::Probe, QuestionOutcome::Failed(any), later),
                Some(BreakerChange::Suspected)
            );
            assert_eq!(breaker.admit(later), None, "until that is answered");
            assert_eq!((breaker.checked(up, later), breaker.state()), (change, state));
        }
    }

    #[test]
    fn an_open_breaker_admits_one_probe_at_a_time() {
        let begun = Instant::now();
        assert_eq!(Breaker::default().state(), BreakerState::Closed);
        let breaker = open(begun);
        assert_eq!(breaker.state(), BreakerState::Open);
        let [any] = secrets();
        assert_eq!(breaker.admit(begun + OPEN_FOR - Duration::from_millis(1)), None);
        let later = begun + OPEN_FOR;
        assert_eq!(breaker.admit(later), Some(Admission::Probe));
        assert_eq!(breaker.admit(later), None, "one at a time");
        assert_eq!(breaker.state(), BreakerState::Probing);
        assert_eq!(
            breaker.report(Admission::Normal, QuestionOutcome::Failed(any), later),
            None,
            "an old question"
        );
        assert_eq!(breaker.admit(later + OPEN_FOR), None, "the probe is still out");
        breaker.report(Admission::Probe, QuestionOutcome::Failed(any), later);
        breaker.checked(false, later);
        assert_eq!(breaker.admit(later), None);
        assert_eq!(breaker.admit(later + OPEN_FOR), Some(Admission::Probe));
        assert_eq!(
            breaker.report(Admission::Probe, QuestionOutcome::Answered, later),
            Some(BreakerChange::Closed)
        );
        assert_eq!(breaker.admit(later), Some(Admission::Normal));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_was_not_asked_makes_room_for_another_probe() {
        let begun = Instant::now();
        let breaker = open(begun);
        let later = begun + OPEN_FOR;
        assert_eq!(breaker.admit(later), Some(Admission::Probe));
        breaker.report(Admission::Probe, QuestionOutcome::NotAsked, later);
        assert_eq!(breaker.admit(later), Some(Admission::Probe));
    }
}
