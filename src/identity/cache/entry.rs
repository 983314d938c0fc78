//! The entry of one secret: the answers to all questions about it.
//!
//! The answers form one entry because many questions can be asked with one secret (GitLab ignores
//! the user name sent with a personal access token), and the sender of such questions must not fill
//! the cache at the expense of others.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use super::CacheKey;
use crate::identity::model::Verified;
use crate::identity::model::keyed_hash::QuestionId;
use crate::identity::model::unix_time::unix_now;

/// The largest number of answers kept for one secret. The oldest one is dropped first.
pub(super) const MAX_ANSWERS: usize = 256;

const NANOS_PER_MILLISECOND: i64 = 1_000_000;

/// The answer to one question. The type is small, because there may be a hundred thousand of them.
#[derive(Clone, Debug)]
pub struct CachedVerdict<V> {
    question: QuestionId,
    value: V,
    /// The instant at which the provider was asked. The answer may have become outdated any time
    /// after it.
    asked: AskedAt,
    /// The time after `asked` for which the answer is fresh, in milliseconds.
    fresh_for: u32,
    /// The time after `asked` for which the answer may be served stale, in milliseconds.
    stale_for: u32,
    /// The expiry of the credential itself (Unix time, seconds). It is checked against the wall
    /// clock as well, because the monotonic clock does not follow when the wall clock is set.
    ends: u32,
    provider: u32,
}

/// An instant in nanoseconds since the first use of a cache. It takes half the memory of an
/// [`Instant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AskedAt(i64);

/// All answers about one secret, the latest one last. The list is never empty.
#[derive(Clone, Debug)]
pub enum CachedAnswers<V> {
    One(CachedVerdict<V>),
    Several(Arc<[CachedVerdict<V>]>),
}

/// The time for which an answer is valid, counted from the instant of the question.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// The time for which the question need not be asked again.
    pub fresh: Duration,
    /// The time for which the answer may be used while the provider cannot be asked.
    pub stale: Duration,
    /// The expiry of the credential (Unix time, seconds), which ends both.
    pub ends: Option<u64>,
}

/// A verdict that grants nothing.
#[derive(Clone, Debug)]
pub(super) enum NegativeVerdict {
    NotMine,
    AccountPassword,
    Rejected,
    NothingGranted(Arc<Verified>),
}

impl From<Instant> for AskedAt {
    fn from(at: Instant) -> Self {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let start = *START;
        Self(match at.checked_duration_since(start) {
            Some(later) => nanos(later),
            None => -nanos(start.duration_since(at)),
        })
    }
}

impl<V> CachedVerdict<V> {
    /// Creates the answer of the provider with this number, which was asked at `asked`.
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
            asked: asked.into(),
            fresh_for: milliseconds(good.fresh),
            stale_for: milliseconds(good.stale),
            ends: good.ends.map_or(u32::MAX, |ends| u32::try_from(ends).unwrap_or(u32::MAX)),
            provider,
        }
    }

    /// Returns whether the question need not be asked again.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.is_good_at(self.fresh_for, now, unix_now)
    }

    /// Returns the answer.
    pub fn value(&self) -> &V {
        &self.value
    }

    /// Returns the same answer with a copy of its value.
    #[must_use]
    pub fn with(&self, copy: V) -> Self {
        Self { value: copy, ..*self }
    }

    /// Returns the id of the question.
    pub fn question(&self) -> QuestionId {
        self.question
    }

    /// Returns the number of the provider.
    pub fn provider(&self) -> u32 {
        self.provider
    }

    /// Returns the expiry of the credential (Unix time, seconds), if it is known.
    pub fn ends(&self) -> Option<u64> {
        (self.ends != u32::MAX).then(|| self.ends.into())
    }

    /// Returns the same answer, which can then be served only while it is fresh, and not in an
    /// outage.
    #[must_use]
    pub fn never_stale(self) -> Self {
        Self { stale_for: 0, ..self }
    }

    /// Returns whether the question was asked after `at`.
    pub fn is_newer_than(&self, at: Instant) -> bool {
        self.asked > at.into()
    }

    /// Checks both clocks. The wall clock is read only if its result matters.
    fn is_good_at(&self, milliseconds: u32, now: Instant, unix: impl FnOnce() -> u64) -> bool {
        let age = AskedAt::from(now).0.saturating_sub(self.asked.0);
        age < i64::from(milliseconds) * NANOS_PER_MILLISECOND
            && self.ends().is_none_or(|ends| unix() < ends)
    }
}

impl<V: Clone> CachedAnswers<V> {
    /// Returns the answers, the latest one last.
    pub fn answers(&self) -> &[CachedVerdict<V>] {
        match self {
            Self::One(answer) => std::slice::from_ref(answer),
            Self::Several(answers) => answers,
        }
    }

    /// Returns the answer to a question if it is fresh. Answers to questions asked at or before
    /// `floor` do not count.
    pub fn fresh(
        &self,
        question: &QuestionId,
        floor: Option<Instant>,
    ) -> Option<&CachedVerdict<V>> {
        self.find(question, floor).filter(|answer| answer.is_fresh(Instant::now()))
    }

    /// Returns the answer to a question if it may be served while the provider cannot be asked.
    /// Answers to questions asked at or before `floor` do not count.
    pub fn stale(&self, question: &QuestionId, floor: Option<Instant>) -> Option<&V> {
        self.find(question, floor)
            .filter(|answer| answer.is_good_at(answer.stale_for, Instant::now(), unix_now))
            .map(CachedVerdict::value)
    }

    /// Searches from the end: the latest answers stand there and are looked up most often.
    fn find(&self, question: &QuestionId, floor: Option<Instant>) -> Option<&CachedVerdict<V>> {
        let found = self.answers().iter().rev().find(|answer| answer.question == *question);
        found.filter(|answer| floor.is_none_or(|floor| answer.asked > floor.into()))
    }

    /// Returns the number of the provider that answered last.
    pub fn last_provider(&self) -> Option<u32> {
        self.answers().last().map(CachedVerdict::provider)
    }

    /// Returns whether this provider has an answer in the entry, fresh or not.
    pub fn has_answered(&self, provider: u32) -> bool {
        self.answers().iter().any(|answer| answer.provider() == provider)
    }

    /// Returns whether one of these questions was asked after `at`.
    pub fn is_newer(&self, questions: &[QuestionId], at: Instant) -> bool {
        let at = at.into();
        self.answers()
            .iter()
            .any(|answer| answer.asked > at && questions.contains(&answer.question))
    }

    /// Returns whether the provider of this question has said something about the same credential
    /// after `at`.
    pub(super) fn is_about_later(&self, asked: &CacheKey, at: Instant) -> bool {
        self.answers().iter().any(|answer| answer.is_newer_than(at) && asked.is_about(answer))
    }

    /// Returns whether this provider was asked any question after `at` and gave an answer that
    /// `like` accepts.
    pub fn has_answered_since(
        &self,
        provider: u32,
        at: Instant,
        like: impl Fn(&V) -> bool,
    ) -> bool {
        let at = at.into();
        self.answers()
            .iter()
            .any(|answer| answer.provider == provider && answer.asked > at && like(&answer.value))
    }

    /// Returns the known answers and this one. It replaces an older answer to the same question;
    /// expired answers are dropped.
    #[must_use]
    pub fn with(known: Option<&Self>, answer: CachedVerdict<V>) -> Self {
        let old = known.map(Self::answers).unwrap_or_default().iter();
        let now = Instant::now();
        let keep = |old: &&CachedVerdict<V>| {
            let longest = old.stale_for.max(old.fresh_for);
            old.question != answer.question && old.is_good_at(longest, now, unix_now)
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

    /// Returns the answers without those that `gone` selects, or `None` if none is left.
    pub fn without(&self, gone: impl Fn(&CachedVerdict<V>) -> bool) -> Option<Self> {
        self.changed(|answer| if gone(&answer) { None } else { Some(answer) })
    }

    /// Returns the answers as changed by `change`, without those for which it returns `None`.
    /// Returns `None` if none is left.
    pub fn changed(
        &self,
        change: impl Fn(CachedVerdict<V>) -> Option<CachedVerdict<V>>,
    ) -> Option<Self> {
        let mut left: Vec<_> = self.answers().iter().cloned().filter_map(change).collect();
        if left.len() > 1 {
            return Some(Self::Several(left.into()));
        }
        left.pop().map(Self::One)
    }
}

#[cfg(test)]
mod tests {
    use crate::identity::model::Question;
    use crate::identity::model::credential::Credential;
    use crate::identity::model::keyed_hash::{DependsOn, HashKey};
    use crate::registry::Access;

    use super::*;

    /// The wall clock may be set in either direction between the question and the lookup.
    #[test]
    fn an_answer_ends_when_either_clock_reaches_its_end() {
        const ENDS: u64 = 1_800_000_000;
        let key = HashKey::random().unwrap();
        let client = std::net::Ipv4Addr::LOCALHOST.into();
        let question =
            Question::new(&key, Credential::Anonymous, Access::Login, client, "id".into());
        let question = key.question(0, DependsOn::Credential, &question);
        let minute = Duration::from_secs(60);
        let good = Validity { fresh: minute, stale: minute, ends: Some(ENDS) };
        let asked = Instant::now();
        let answer = CachedVerdict::new(question, 0, (), asked, good);
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
