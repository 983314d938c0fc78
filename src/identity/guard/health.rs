//! The health of a provider as shown to operators: its last answer and its last failure.
//!
//! Only words of a closed list are kept here: neither the text of an answer nor the question.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::identity::model::{NotNow, Verdict};

/// The health of one provider.
#[derive(Default)]
pub struct Health(Mutex<Seen>);

/// The observations of a provider so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// `true` if the provider gave a meaningful answer to the last question; `None` before the
    /// first question.
    pub up: Option<bool>,
    /// The time of the last answer and its duration.
    pub answered: Option<(SystemTime, Duration)>,
    /// The time and the kind of the last failure.
    pub failed: Option<(SystemTime, Trouble)>,
    /// `true` if that failure was that of the last question, so the provider presumably still has
    /// it.
    pub failing: bool,
}

/// The kinds of failure of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    TimedOut,
    Unavailable,
    Busy,
    TooManyQuestions,
    Barred,
    Misconfigured,
}

impl Trouble {
    /// Returns the word in `/status.json`, from the closed list in `docs/operations.md`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "timeout",
            Self::Unavailable => "unavailable",
            Self::Busy => "busy",
            Self::TooManyQuestions => "too_many_questions",
            Self::Barred => "barred",
            Self::Misconfigured => "misconfigured",
        }
    }

    /// Returns the failure as a predicate that follows the name of the provider.
    pub fn message(self) -> &'static str {
        match self {
            Self::TimedOut => "does not answer in time",
            Self::Unavailable => "cannot be reached, or gives an answer that is not valid",
            Self::Busy => "tells the gate to try again later",
            Self::TooManyQuestions => "gets more questions than it answers in time",
            Self::Barred => "refuses questions about a caller or from an address",
            Self::Misconfigured => {
                "does not know the gate, or not what the gate asks for; check its settings"
            }
        }
    }

    /// Returns the failure that a verdict indicates, if any.
    fn from_verdict(verdict: &Verdict, timed_out: bool) -> Option<Self> {
        match verdict {
            Verdict::Unavailable if timed_out => Some(Self::TimedOut),
            Verdict::Unavailable => Some(Self::Unavailable),
            Verdict::NotNow(why, _) => match why {
                NotNow::Busy => Some(Self::Busy),
                NotNow::NoTurn => Some(Self::TooManyQuestions),
                NotNow::Barred => Some(Self::Barred),
                NotNow::Misconfigured => Some(Self::Misconfigured),
                // The provider was not asked, and nothing is wrong with it.
                NotNow::FailureBudgetSpent
                | NotNow::FailedLogins
                | NotNow::Crowded
                | NotNow::TooOften => None,
            },
            Verdict::NotMine
            | Verdict::AccountPassword
            | Verdict::Verified(..)
            | Verdict::Rejected
            | Verdict::Unfit => None,
        }
    }
}

impl Health {
    /// Records the verdict of a question. `took` is the time since the provider was asked, if it
    /// was asked. `timed_out` is `true` if the question had used up its time.
    pub fn came_to(
        &self,
        verdict: &Verdict,
        took: Option<Duration>,
        timed_out: bool,
        now: SystemTime,
    ) {
        let trouble = Trouble::from_verdict(verdict, timed_out);
        let mut seen = self.lock();
        if let Some(trouble) = trouble {
            seen.failed = Some((now, trouble));
        }
        // A question that was not asked says nothing about the health of the provider. A lack of
        // room for it is a failure all the same.
        if took.is_some() || trouble.is_some() {
            seen.failing = trouble.is_some();
        }
        if let Some(took) = took {
            let up = *verdict != Verdict::Unavailable;
            seen.up = Some(up);
            if up {
                seen.answered = Some((now, took));
            }
        }
    }

    /// Returns the observations so far.
    pub fn seen(&self) -> Seen {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(7);

    #[test]
    fn the_last_answer_and_the_last_trouble_are_kept() {
        let (health, first) = (Health::default(), SystemTime::now());
        assert_eq!(health.seen(), Seen::default(), "it was not asked yet");
        health.came_to(&Verdict::NotMine, Some(TOOK), false, first);
        let answered = Some((first, TOOK));
        assert_eq!(health.seen(), Seen { up: Some(true), answered, ..Seen::default() });

        let second = first + TOOK;
        health.came_to(&Verdict::Unavailable, Some(TOOK), false, second);
        let failed = Some((second, Trouble::Unavailable));
        assert_eq!(health.seen(), Seen { up: Some(false), answered, failed, failing: true });

        let third = second + TOOK;
        health.came_to(&Verdict::Rejected, Some(TOOK), false, third);
        assert_eq!(
            health.seen(),
            Seen { up: Some(true), answered: Some((third, TOOK)), failed, failing: false }
        );
    }

    #[test]
    fn each_verdict_sets_the_trouble_and_whether_the_provider_is_up() {
        let not_now = |why| Verdict::NotNow(why, TOOK);
        for (verdict, took, timed_out, trouble, up) in [
            (Verdict::Unavailable, Some(TOOK), true, Some(Trouble::TimedOut), Some(false)),
            (Verdict::Unavailable, Some(TOOK), false, Some(Trouble::Unavailable), Some(false)),
            (not_now(NotNow::Busy), Some(TOOK), false, Some(Trouble::Busy), Some(true)),
            (not_now(NotNow::Barred), Some(TOOK), false, Some(Trouble::Barred), Some(true)),
            (
                not_now(NotNow::Misconfigured),
                Some(TOOK),
                false,
                Some(Trouble::Misconfigured),
                Some(true),
            ),
            (not_now(NotNow::NoTurn), None, false, Some(Trouble::TooManyQuestions), None),
            (not_now(NotNow::FailureBudgetSpent), None, false, None, None),
        ] {
            let health = Health::default();
            health.came_to(&verdict, took, timed_out, SystemTime::now());
            let seen = health.seen();
            assert_eq!(
                (seen.failed.map(|(_, trouble)| trouble), seen.up),
                (trouble, up),
                "{verdict:?}"
            );
            assert_eq!(seen.failing, trouble.is_some());
        }
    }
}
