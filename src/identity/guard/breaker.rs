//! Whether a provider is asked at all: one that answers nobody is left alone for a while, and
//! nobody waits for it.
//!
//! It takes questions about several different secrets in a row, and then the gate's own harmless
//! question too: whoever makes up secrets whose questions fail must not be able to take a provider
//! from everybody else. The clock is passed in, and so is what became of that question.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::identity::model::keyed_hash::SecretId;

/// So many different secrets in a row without an answer, and the gate asks a question of its own.
const DIFFERENT_SECRETS: usize = 3;

/// For so long it is not asked then. Short, for each time costs one caller a wait, and recovery is
/// seen no sooner.
pub const OPEN_FOR: Duration = Duration::from_secs(2);

/// The breaker of one provider.
#[derive(Default)]
pub struct Breaker(Mutex<State>);

enum State {
    /// Everybody may ask.
    Closed {
        /// The secrets that had no answer since the last one that had.
        failing: Vec<SecretId>,
        /// Whether the gate's own question is out.
        checking: bool,
    },
    /// Nobody may.
    Open { until: Instant },
    /// One question is out, and tells what comes next; or, where it failed, the gate's own.
    HalfOpen,
}

/// A question that may be asked. Its outcome is to be [reported](Breaker::report).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// As always.
    Normal,
    /// The one that finds out whether the provider is back.
    Probe,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuestionOutcome {
    /// The provider said something, be it no.
    Answered,
    /// It said nothing that makes sense about this secret.
    Failed(SecretId),
    /// It was not asked after all.
    NotAsked,
}

/// How a breaker stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everybody may ask.
    Closed,
    /// Nobody may, until [`OPEN_FOR`] has passed and somebody asks again.
    Open,
    /// One question is out, and tells what comes next.
    Probing,
}

impl BreakerState {
    /// The word in `/status.json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
        }
    }
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerChange {
    /// The gate must ask its own question now, and [tell](Breaker::checked) what became of it.
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
    /// Whether a question may be asked now; `None` where the provider is left alone.
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

    /// Tells what became of a question that was admitted.
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
            // Also of a question that was asked before: whoever answers is back.
            (State::Open { .. } | State::HalfOpen, QuestionOutcome::Answered) => {
                *state = State::default();
                return Some(BreakerChange::Closed);
            }
            (State::HalfOpen, QuestionOutcome::Failed(_)) if admission == Admission::Probe => {
                return Some(BreakerChange::Suspected);
            }
            // The next caller may try at once.
            (State::HalfOpen, QuestionOutcome::NotAsked) if admission == Admission::Probe => {
                *state = State::Open { until: now };
            }
            _ => {}
        }
        None
    }

    /// Tells whether the provider answered the gate's own question, which was asked because it was
    /// [suspected](BreakerChange::Suspected).
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

    /// How it stands.
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

    /// One whose provider does not answer the gate's own question either.
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
    fn one_caller_opens_nothing() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        let [one, two] = secrets();
        for _ in 0..100 {
            assert_eq!(fail(&breaker, one, now), None);
            assert_eq!(fail(&breaker, two, now), None);
        }
    }

    #[test]
    fn an_answer_between_begins_anew() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        let [one, two, three] = secrets();
        fail(&breaker, one, now);
        fail(&breaker, two, now);
        breaker.report(breaker.admit(now).unwrap(), QuestionOutcome::Answered, now);
        assert_eq!(fail(&breaker, three, now), None);
        assert_eq!(fail(&breaker, one, now), None);
        assert_eq!(fail(&breaker, two, now), Some(BreakerChange::Suspected));
    }

    /// Whoever makes up secrets whose questions fail makes the gate ask, now and then, and nothing
    /// else.
    #[test]
    fn a_provider_that_answers_the_gate_stays_closed() {
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

    /// Somebody was answered while the gate asked: it does not answer nobody.
    #[test]
    fn an_answer_meanwhile_counts_more_than_the_gates_own_question() {
        let now = Instant::now();
        let breaker = suspecting(now);
        breaker.report(Admission::Normal, QuestionOutcome::Answered, now);
        assert_eq!(breaker.checked(false, now), None);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    /// Nor does somebody keep it open whose question fails when its turn comes to find out.
    #[test]
    fn a_probe_that_fails_is_judged_by_the_gates_own_question() {
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
    fn half_open_with_one_probe() {
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
    fn a_probe_that_nobody_waited_for_gives_its_turn_away() {
        let begun = Instant::now();
        let breaker = open(begun);
        let later = begun + OPEN_FOR;
        assert_eq!(breaker.admit(later), Some(Admission::Probe));
        breaker.report(Admission::Probe, QuestionOutcome::NotAsked, later);
        assert_eq!(breaker.admit(later), Some(Admission::Probe));
    }
}
