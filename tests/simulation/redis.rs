//! The Redis of the simulation: its clock, its data, and the models of the scripts of replicas.

use moorgate::rate_limit::Nanos;
use moorgate::rate_limit::shared::{Bell, LeaseAnswer, LeaseQuestion};

use super::beat_model::{BeatModel, BeatReply};
use super::lease_model::LeaseModel;
use super::stream::{Stream, StreamId};

/// The Unix time at the start of the simulation, in microseconds.
pub(crate) const UNIX_START: u64 = 1_700_000_000_000_000;

/// The letter of the limit.
const LIMIT: char = 'i';

/// A Redis server.
pub(crate) struct Redis {
    /// `true` while it answers nobody.
    pub(crate) is_down: bool,
    /// The difference of its clock from the true time, in microseconds.
    pub(crate) skew: i64,
    pub(crate) data: RedisData,
}

/// What a Redis server has stored.
#[derive(Clone)]
pub(crate) struct RedisData {
    leases: LeaseModel,
    beats: BeatModel<()>,
    bells: Stream<Bell>,
}

/// A question of a replica.
#[derive(Clone)]
pub(crate) enum Question {
    Leases(Vec<LeaseQuestion>),
    Beat,
    /// Asks for what the streams have after these ids; `None`: after the last.
    Read(Option<StreamId>),
}

/// An answer to a question.
pub(crate) enum Answer {
    Leases(Vec<LeaseQuestion>, Vec<LeaseAnswer>),
    Beat(BeatReply<()>),
    Entries(StreamId, Vec<Bell>),
}

impl Default for RedisData {
    fn default() -> Self {
        Self {
            leases: LeaseModel::default(),
            beats: BeatModel::default(),
            bells: Stream::new(1000),
        }
    }
}

impl Redis {
    /// Creates an empty server.
    pub(crate) fn new() -> Self {
        Self { is_down: false, skew: 0, data: RedisData::default() }
    }

    /// Answers a question of a replica, which knows so many replicas. `None` if the replica waits
    /// for an entry of a stream.
    pub(crate) fn answer(
        &mut self,
        now: Nanos,
        replica: &str,
        known: (u32, u32),
        question: Question,
        epoch: &str,
    ) -> Option<Answer> {
        let micros = self.time(now);
        let data = &mut self.data;
        Some(match question {
            Question::Leases(questions) => {
                let tagged: Vec<_> =
                    questions.iter().map(|question| (LIMIT, question.clone())).collect();
                let answers = data.leases.call(micros as f64, replica, known, &tagged);
                for bell in data.leases.bells.drain(..) {
                    data.bells.add(micros / 1000, bell);
                }
                Answer::Leases(questions, answers)
            }
            Question::Beat => {
                let v = data.leases.tick(micros as f64);
                Answer::Beat(data.beats.call(v, replica, Some(()), epoch))
            }
            Question::Read(None) => Answer::Entries(data.bells.last(), Vec::new()),
            Question::Read(Some(after)) => {
                let entries = data.bells.after(after, 500);
                let (last, _) = *entries.last()?;
                Answer::Entries(last, entries.into_iter().map(|(_, bell)| bell).collect())
            }
        })
    }

    fn time(&self, now: Nanos) -> u64 {
        (UNIX_START + now / 1000).saturating_add_signed(self.skew)
    }
}
