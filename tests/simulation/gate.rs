//! What a replica of the simulation knows of credentials: verdicts, revocations, and the others.

use std::collections::BTreeMap;
use std::time::Instant;

use moorgate::identity::model::keyed_hash::SharedQuestionId;
use moorgate::identity::model::revocation::{Revocation, Revocations};
use moorgate::identity::shared_verdicts::redis_clock::RedisClock;
use moorgate::rate_limit::Nanos;
use moorgate::replicas::view::{StreamPlaces, View};

use super::cache::Cache;

/// The part of a replica that lets callers in.
pub(crate) struct GateState {
    pub(crate) view: View,
    pub(crate) places: StreamPlaces,
    /// The start after which the bells that were there before were passed over.
    pub(crate) hears_bells: Option<u64>,
    pub(crate) revocations: Revocations,
    pub(crate) clock: RedisClock,
    pub(crate) cache: Cache,
    /// The questions under way, by their numbers.
    pub(crate) askings: BTreeMap<u64, Asking>,
    /// The last time at which the verdicts were dropped.
    pub(crate) dropped: Nanos,
    /// The difference of its wall clock from the true time, in microseconds.
    pub(crate) skew: i64,
}

/// A question under way.
pub(crate) struct Asking {
    pub(crate) who: usize,
    pub(crate) revocation: Revocation,
    pub(crate) id: SharedQuestionId,
    pub(crate) names: [String; 4],
    /// The requests that wait for the answer.
    pub(crate) waiters: u32,
    /// The time at which it began, or at which the provider was asked.
    pub(crate) begun: Nanos,
    pub(crate) stage: Stage,
    /// The times at which the question was claimed: Unix time and that of Redis.
    pub(crate) claimed: Option<(u64, u64)>,
    pub(crate) owner: String,
}

/// The stage of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Other replicas are asked, `true` if what they know does not suffice.
    Others(bool),
    Provider,
    /// The answer is being shared.
    Sharing,
}

impl GateState {
    pub(crate) fn new(id: &str, now: Instant) -> Self {
        let view = View::new(id.to_owned(), now);
        Self {
            places: StreamPlaces::new(view.starts()),
            view,
            hears_bells: None,
            revocations: Revocations::default(),
            clock: RedisClock::default(),
            cache: Cache::default(),
            askings: BTreeMap::new(),
            dropped: 0,
            skew: 0,
        }
    }

    /// Returns the number of the question about this credential that callers can wait for.
    pub(crate) fn asking(&self, who: usize, number: Option<u64>) -> Option<u64> {
        let is_same = |asking: &Asking| {
            asking.who == who
                && asking.revocation.number == number
                && asking.stage != Stage::Sharing
        };
        self.askings.iter().find(|(_, asking)| is_same(asking)).map(|(number, _)| *number)
    }
}
