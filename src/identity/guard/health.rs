//! The health of a provider as shown to operators: its last answer, its last failure, and the
//! troubles that may go on.
//!
//! Only words of a closed list, errors of the connection and keyed hashes are kept here: neither
//! the text of an answer nor the question.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::identity::model::keyed_hash::SecretId;
use crate::identity::model::{NotNow, QuestionKind, Verdict};
use crate::recent::is_recent;

/// The largest number of callers that a trouble is known to have met. If more meet it, it is not
/// known when the last of them gets an answer.
const MAX_CALLERS: usize = 16;

/// The health of one provider.
#[derive(Default)]
pub struct Health(Mutex<Seen>);

/// The observations of a provider so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// `true` if the provider gave a meaningful answer to the last question; `None` before the
    /// first question.
    pub up: Option<bool>,
    /// The time of the last answer and its duration.
    pub answered: Option<(SystemTime, Duration)>,
    /// The time and the kind of the last failure.
    pub failed: Option<(SystemTime, Trouble)>,
    /// The error of the last failure, as the gate met it. It has nothing of a question.
    pub why: Option<String>,
    /// The troubles that may go on: no answer has shown that they are over.
    pub open: Vec<OpenTrouble>,
    /// The time until which the failure budget is spent, so that unknown credentials are refused.
    pub budget_spent_until: Option<SystemTime>,
}

/// A trouble that may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTrouble {
    pub trouble: Trouble,
    /// The time at which a question met it first.
    pub first: SystemTime,
    /// The time at which a question met it last.
    pub last: SystemTime,
    /// The number of questions that met it.
    pub count: u64,
    kind: QuestionKind,
    /// The callers whose last question of this kind met it.
    callers: Vec<SecretId>,
    /// `true` if it has met more callers than `callers` can hold.
    has_more: bool,
}

/// A trouble that may go on, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TroubleSeen {
    pub trouble: Trouble,
    /// The number of questions that met it.
    pub count: u64,
    /// The time at which the first of them did.
    pub first: SystemTime,
    /// The time at which the last of them did.
    pub last: SystemTime,
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

    /// Returns what the operator should do, as sentences.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::TimedOut | Self::Unavailable => {
                "Check that it runs, and that this machine reaches it: moorgate check-config \
                 --online asks it as the gate does."
            }
            Self::Busy => "Raise its rate limit for the gate.",
            Self::TooManyQuestions => "Find out why it answers slowly.",
            Self::Barred => {
                "Look at the provider whether it bans the address of the caller or of the gate."
            }
            Self::Misconfigured => {
                "Check the settings of this provider in the config, and those of the gate at the \
                 provider."
            }
        }
    }

    /// Returns whether the trouble is that of all callers once it has met two of them.
    fn is_general(self) -> bool {
        match self {
            Self::TimedOut | Self::Unavailable | Self::Misconfigured => true,
            // These may go on for some callers while others are answered.
            Self::Busy | Self::TooManyQuestions | Self::Barred => false,
        }
    }

    /// Returns whether two troubles are of one kind. A provider that is down times out or refuses
    /// connections, as it happens.
    fn is_like(self, other: Self) -> bool {
        let is_down = |trouble| matches!(trouble, Self::TimedOut | Self::Unavailable);
        self == other || (is_down(self) && is_down(other))
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
    /// Records the verdict of a question of this kind about this secret. `took` is the time since
    /// the provider was asked, if it was asked. `timed_out` is `true` if the question had used up
    /// its time.
    pub fn came_to(
        &self,
        (secret, kind): (SecretId, QuestionKind),
        verdict: &Verdict,
        took: Option<Duration>,
        timed_out: bool,
        now: SystemTime,
    ) {
        let mut seen = self.lock();
        if let Verdict::NotNow(NotNow::FailureBudgetSpent, wait) = verdict {
            seen.budget_spent_until = now.checked_add(*wait);
        }
        if let Some(trouble) = Trouble::from_verdict(verdict, timed_out) {
            (seen.failed, seen.why) = (Some((now, trouble)), None);
            seen.met(trouble, secret, kind, now);
        } else if took.is_some() {
            // A question that was not asked says nothing about the provider.
            seen.open.retain_mut(|open| open.kind != kind || !open.is_over(secret));
        }
        if let Some(took) = took {
            let up = *verdict != Verdict::Unavailable;
            seen.up = Some(up);
            if up {
                seen.answered = Some((now, took));
            }
        }
    }

    /// Adds the error to the last failure.
    pub fn because(&self, why: String) {
        self.lock().why = Some(why);
    }

    /// Returns the observations so far.
    pub fn seen(&self, now: SystemTime) -> Seen {
        let mut seen = self.lock();
        seen.open.retain(|open| is_recent(open.last, now));
        seen.budget_spent_until = seen.budget_spent_until.filter(|until| *until > now);
        seen.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Returns the troubles that may go on, each once, although it met several kinds of questions.
    pub fn troubles(&self) -> Vec<TroubleSeen> {
        let mut all: Vec<TroubleSeen> = Vec::new();
        for OpenTrouble { trouble, first, last, count, .. } in &self.open {
            match all.iter_mut().find(|seen| seen.trouble == *trouble) {
                Some(seen) => {
                    seen.count += count;
                    (seen.first, seen.last) = (seen.first.min(*first), seen.last.max(*last));
                }
                None => all.push(TroubleSeen {
                    trouble: *trouble,
                    count: *count,
                    first: *first,
                    last: *last,
                }),
            }
        }
        all
    }

    fn met(&mut self, trouble: Trouble, secret: SecretId, kind: QuestionKind, now: SystemTime) {
        self.open.retain(|open| is_recent(open.last, now));
        let same = |open: &&mut OpenTrouble| open.trouble.is_like(trouble) && open.kind == kind;
        let Some(open) = self.open.iter_mut().find(same) else {
            let (callers, has_more) = (vec![secret], false);
            let (first, last, count) = (now, now, 1);
            self.open.push(OpenTrouble { trouble, first, last, count, kind, callers, has_more });
            return;
        };
        (open.trouble, open.last, open.count) = (trouble, now, open.count + 1);
        if !open.callers.contains(&secret) {
            if open.callers.len() < MAX_CALLERS {
                open.callers.push(secret);
            } else {
                open.has_more = true;
            }
        }
    }
}

impl OpenTrouble {
    /// Notes a good answer about this secret. Returns whether it shows that the trouble is over:
    /// for every caller that met it, or for all callers.
    fn is_over(&mut self, secret: SecretId) -> bool {
        if self.trouble.is_general() && self.callers.len() > 1 {
            return true;
        }
        self.callers.retain(|caller| *caller != secret);
        self.callers.is_empty() && !self.has_more
    }
}

#[cfg(test)]
mod tests;
