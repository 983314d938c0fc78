//! What is known of one secret: the answers to everything that was asked about it.
//!
//! They are kept together, for many questions can be asked with one secret (GitLab ignores the user
//! name beside a personal access token), and none of those who send them may fill the cache for the
//! others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::identity::model::Verified;
use crate::identity::model::keyed_hash::QuestionId;
use crate::identity::model::unix_time::unix_now;

/// Answers kept for one secret. The oldest goes first.
pub(super) const MAX_ANSWERS: usize = 256;

/// An answer to one question. Small, for there may be a hundred thousand.
#[derive(Clone, Debug)]
pub struct CachedAnswer<V> {
    question: QuestionId,
    value: V,
    /// When the provider was asked: what it said may have been true no longer a moment later.
    asked: Instant,
    /// Milliseconds from then on.
    fresh_for: u32,
    /// Milliseconds from then on.
    stale_for: u32,
    /// When the credential itself ends (Unix time, seconds). Judged on this clock too, which the
    /// other does not follow when it jumps.
    ends: u32,
    provider: u32,
}

/// All answers about one secret, the latest last. There is at least one.
#[derive(Clone, Debug)]
pub enum CachedAnswers<V> {
    One(CachedAnswer<V>),
    Several(Arc<[CachedAnswer<V>]>),
}

/// For how long from the asking an answer is good.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// Without asking again.
    pub fresh: Duration,
    /// Where the provider cannot be asked.
    pub stale: Duration,
    /// At most until the credential ends (Unix time, seconds).
    pub ends: Option<u64>,
}

/// A verdict that allows nothing.
#[derive(Clone, Debug)]
pub(super) enum NegativeVerdict {
    NotMine,
    Rejected,
    NothingGranted(Arc<Verified>),
}

impl<V> CachedAnswer<V> {
    /// The answer of the provider with this number, who was asked at `asked`.
    pub fn new(
        question: QuestionId,
        provider: u32,
        value: V,
        asked: Instant,
        good: Validity,
    ) -> Self {
        let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Self {
            question,
            value,
            asked,
            fresh_for: milliseconds(good.fresh),
            stale_for: milliseconds(good.stale),
            ends: good.ends.map_or(u32::MAX, |ends| u32::try_from(ends).unwrap_or(u32::MAX)),
            provider,
        }
    }

    /// What was answered.
    pub fn value(&self) -> &V {
        &self.value
    }

    /// The question.
    pub fn question(&self) -> QuestionId {
        self.question
    }

    /// The number of the provider.
    pub fn provider(&self) -> u32 {
        self.provider
    }

    /// When what it is about ends (Unix time, seconds), where that is known.
    pub fn ends(&self) -> Option<u64> {
        (self.ends != u32::MAX).then(|| self.ends.into())
    }

    /// Returns the same answer, which is good no longer than it is fresh: an outage does not bring
    /// it back.
    #[must_use]
    pub fn never_stale(self) -> Self {
        Self { stale_for: 0, ..self }
    }

    fn is_good(&self, milliseconds: u32) -> bool {
        self.is_good_at(milliseconds, Instant::now(), unix_now)
    }

    /// By both clocks, of which the second is looked at only where it matters.
    fn is_good_at(&self, milliseconds: u32, now: Instant, unix: impl FnOnce() -> u64) -> bool {
        now.saturating_duration_since(self.asked) < Duration::from_millis(milliseconds.into())
            && self.ends().is_none_or(|ends| unix() < ends)
    }
}

impl<V: Clone> CachedAnswers<V> {
    /// The answers, the latest last.
    pub fn answers(&self) -> &[CachedAnswer<V>] {
        match self {
            Self::One(answer) => std::slice::from_ref(answer),
            Self::Several(answers) => answers,
        }
    }

    /// The answer to a question that need not be asked again yet. `floor`: none that was asked
    /// until then.
    pub fn fresh(&self, question: &QuestionId, floor: Option<Instant>) -> Option<&V> {
        self.find(question, floor)
            .filter(|answer| answer.is_good(answer.fresh_for))
            .map(CachedAnswer::value)
    }

    /// The answer to a question that cannot be asked again now. `floor`: none that was asked until
    /// then.
    pub fn stale(&self, question: &QuestionId, floor: Option<Instant>) -> Option<&V> {
        self.find(question, floor)
            .filter(|answer| answer.is_good(answer.stale_for))
            .map(CachedAnswer::value)
    }

    /// The latest stand at the end, and are asked for most.
    fn find(&self, question: &QuestionId, floor: Option<Instant>) -> Option<&CachedAnswer<V>> {
        let found = self.answers().iter().rev().find(|answer| answer.question == *question);
        found.filter(|answer| floor.is_none_or(|floor| answer.asked > floor))
    }

    /// The number of the provider who answered last.
    pub fn last_provider(&self) -> Option<u32> {
        self.answers().last().map(CachedAnswer::provider)
    }

    /// Whether this provider has answered, however long ago.
    pub fn has_answered(&self, provider: u32) -> bool {
        self.answers().iter().any(|answer| answer.provider() == provider)
    }

    /// Whether one of these questions was asked after `at`.
    pub fn is_newer(&self, questions: &[QuestionId], at: Instant) -> bool {
        self.answers()
            .iter()
            .any(|answer| answer.asked > at && questions.contains(&answer.question))
    }

    /// Whether this provider was asked anything after `at` and gave an answer like that.
    pub fn has_answered_since(
        &self,
        provider: u32,
        at: Instant,
        like: impl Fn(&V) -> bool,
    ) -> bool {
        self.answers()
            .iter()
            .any(|answer| answer.provider == provider && answer.asked > at && like(&answer.value))
    }

    /// These and one more, which takes the place of an older answer to its question, and of what is
    /// good no longer.
    #[must_use]
    pub fn with(known: Option<&Self>, answer: CachedAnswer<V>) -> Self {
        let old = known.map(Self::answers).unwrap_or_default().iter();
        let keep = |old: &&CachedAnswer<V>| {
            old.question != answer.question && old.is_good(old.stale_for.max(old.fresh_for))
        };
        let mut answers: Vec<_> = old.filter(keep).cloned().collect();
        if answers.is_empty() {
            return Self::One(answer);
        }
        let excess = (answers.len() + 1).saturating_sub(MAX_ANSWERS);
        answers.drain(..excess);
        answers.push(answer);
        Self::Several(answers.into())
    }

    /// These without some.
    pub fn without(&self, gone: impl Fn(&CachedAnswer<V>) -> bool) -> Option<Self> {
        self.changed(|answer| if gone(&answer) { None } else { Some(answer) })
    }

    /// Each of these as `change` makes it, without those of which it makes none.
    pub fn changed(
        &self,
        change: impl Fn(CachedAnswer<V>) -> Option<CachedAnswer<V>>,
    ) -> Option<Self> {
        let mut left: Vec<_> = self.answers().iter().cloned().filter_map(change).collect();
        if left.len() > 1 {
            return Some(Self::Several(left.into()));
        }
        left.pop().map(Self::One)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::identity::model::Question;
    use crate::identity::model::credential::Credential;
    use crate::identity::model::keyed_hash::{DependsOn, HashKey};
    use crate::registry::Access;

    use super::*;

    /// The clock on the wall may be set, in either direction, between the asking and the use.
    #[test]
    fn either_clock_ends_an_answer() {
        const ENDS: u64 = 1_800_000_000;
        let key = HashKey::random().unwrap();
        let client = std::net::Ipv4Addr::LOCALHOST.into();
        let question =
            Question::new(&key, Credential::Anonymous, Access::Login, client, "id".into());
        let question = key.question(0, DependsOn::Credential, &question);
        let minute = Duration::from_secs(60);
        let good = Validity { fresh: minute, stale: minute, ends: Some(ENDS) };
        let asked = Instant::now();
        let answer = CachedAnswer::new(question, 0, (), asked, good);
        let is_good = |later, unix| answer.is_good_at(answer.fresh_for, asked + later, || unix);
        let almost = minute - Duration::from_millis(1);
        for (later, unix, expected, case) in [
            (Duration::ZERO, ENDS - 60, true, "at once"),
            (almost, ENDS - 1, true, "both clocks go on"),
            (minute, ENDS, false, "both have come to the end"),
            (Duration::ZERO, ENDS, false, "set forward to the end"),
            (Duration::ZERO, u64::MAX, false, "set forward beyond it"),
            (almost, 0, true, "set back"),
            (minute, 0, false, "set back, and the time is over all the same"),
            (minute, ENDS - 60, false, "stands still"),
        ] {
            assert_eq!(is_good(later, unix), expected, "{case}");
        }
    }
}
