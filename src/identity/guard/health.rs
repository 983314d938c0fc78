//! What is known of a provider's health, for people: what its last answer was, and what went wrong
//! last.
//!
//! Words of a closed list: what a provider says, and what it was asked, never stands here.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::identity::model::{NotNow, Verdict};

/// The health of one provider.
#[derive(Default)]
pub struct Health(Mutex<Seen>);

/// What was seen of a provider so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether the last question had an answer that makes sense; `None` where none was asked yet.
    pub up: Option<bool>,
    /// When the last answer came, and how long it took.
    pub answered: Option<(SystemTime, Duration)>,
    /// When something went wrong last, and what.
    pub failed: Option<(SystemTime, Trouble)>,
    /// That was of the last question: it is so now, as far as anybody knows.
    pub failing: bool,
}

/// What can be wrong with a provider.
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
    /// The word in `/status.json`: a closed list, in the README.
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

    /// The same as what the provider does, to be read after its name.
    pub fn message(self) -> &'static str {
        match self {
            Self::TimedOut => "gives no answer in time",
            Self::Unavailable => "cannot be reached, or its answer makes no sense",
            Self::Busy => "asks to be asked later",
            Self::TooManyQuestions => "has more questions than it answers",
            Self::Barred => "does not let a caller, or an address, ask",
            Self::Misconfigured => {
                "does not know the gate, or what it is asked for: see its settings"
            }
        }
    }

    /// What is wrong where a question came to this, if anything is.
    fn from_verdict(verdict: &Verdict, timed_out: bool) -> Option<Self> {
        match verdict {
            Verdict::Unavailable if timed_out => Some(Self::TimedOut),
            Verdict::Unavailable => Some(Self::Unavailable),
            Verdict::NotNow(why, _) => match why {
                NotNow::Busy => Some(Self::Busy),
                NotNow::NoTurn => Some(Self::TooManyQuestions),
                NotNow::Barred => Some(Self::Barred),
                NotNow::Misconfigured => Some(Self::Misconfigured),
                // It was not asked, and there is nothing wrong with it.
                NotNow::FailureBudgetSpent
                | NotNow::FailedLogins
                | NotNow::Crowded
                | NotNow::TooOften => None,
            },
            Verdict::NotMine | Verdict::Verified(..) | Verdict::Rejected | Verdict::Unfit => None,
        }
    }
}

impl Health {
    /// A question came to this. `took`: from when it was asked, where it was; `timed_out`: it had
    /// no more time.
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
        // Who was not asked has not shown how it is, but that it has no room is so now.
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

    /// What was seen so far.
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
    fn each_kind_of_trouble_and_whether_it_is_up() {
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
