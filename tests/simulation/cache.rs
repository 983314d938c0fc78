//! A simple model of the cache of verdicts of a replica, with the rules of the real one: the latest
//! answer about a credential counts, for a while, and a revocation makes a question another one.

use std::collections::HashMap;
use std::time::Duration;

use moorgate::identity::cache::CacheLimits;
use moorgate::rate_limit::{Nanos, nanos};

/// The lifetimes of verdicts.
pub(crate) const LIMITS: CacheLimits = CacheLimits {
    ttl: Duration::from_secs(6),
    negative_ttl: Duration::from_secs(2),
    stale_if_error: Duration::from_secs(10),
    capacity: 1000,
    negative_capacity: 1000,
};

/// The cache of a replica.
#[derive(Default)]
pub(crate) struct Cache {
    answers: HashMap<usize, Answer>,
    cleared: Option<Nanos>,
}

#[derive(Clone, Copy)]
struct Answer {
    is_valid: bool,
    /// The number of the revocation that the question knew.
    number: Option<u64>,
    asked: Nanos,
    may_be_stale: bool,
}

impl Cache {
    /// Returns the fresh answer.
    pub(crate) fn look_up(&self, who: usize, number: Option<u64>, now: Nanos) -> Option<bool> {
        let answer = self.answers.get(&who).filter(|answer| answer.number == number)?;
        let lifetime = if answer.is_valid { LIMITS.ttl } else { LIMITS.negative_ttl };
        (now < answer.asked + nanos(lifetime)).then_some(answer.is_valid)
    }

    /// Returns whether a stale answer lets the credential in while its provider is down.
    pub(crate) fn is_stale(&self, who: usize, number: Option<u64>, now: Nanos) -> bool {
        self.answers.get(&who).is_some_and(|answer| {
            let until = answer.asked + nanos(LIMITS.ttl + LIMITS.stale_if_error);
            answer.number == number && answer.is_valid && answer.may_be_stale && now < until
        })
    }

    /// Keeps an answer to a question that was asked at `asked`, unless a later one is known.
    pub(crate) fn keep(&mut self, who: usize, number: Option<u64>, asked: Nanos, is_valid: bool) {
        if self.cleared.is_some_and(|cleared| asked <= cleared) {
            return;
        }
        let known = self.answers.get(&who).filter(|known| known.number == number);
        if known.is_none_or(|known| known.asked <= asked) {
            let answer = Answer { is_valid, number, asked, may_be_stale: true };
            self.answers.insert(who, answer);
        }
    }

    /// Drops a positive answer to a question up to `at`.
    pub(crate) fn forget_before(&mut self, who: usize, at: Nanos) {
        if self.answers.get(&who).is_some_and(|answer| answer.is_valid && answer.asked <= at) {
            self.answers.remove(&who);
        }
    }

    /// Records that another credential with the same secret was refused.
    pub(crate) fn other_refused(&mut self, who: usize, at: Nanos) {
        if let Some(answer) = self.answers.get_mut(&who)
            && answer.asked <= at
        {
            answer.may_be_stale = false;
        }
    }

    /// Drops all answers.
    pub(crate) fn clear(&mut self, now: Nanos) {
        self.answers.clear();
        self.cleared = Some(now);
    }
}
