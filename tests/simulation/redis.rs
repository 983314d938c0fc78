//! The Redis of the simulation: its clock, its data, and the models of the scripts of replicas.

use std::sync::Arc;

use moorgate::rate_limit::Nanos;
use moorgate::rate_limit::shared::{Bell, LeaseAnswer, LeaseQuestion};
use moorgate::replicas::message::{Beat, JournalEntry};
use moorgate::replicas::view::ReplicaStream;

use super::beat_model::{BeatModel, BeatReply};
use super::lease_model::LeaseModel;
use super::stream::{Stream, StreamId};
use super::verdict_model::{ClaimReply, Put, VerdictModel};

/// The Unix time at the start of the simulation, in microseconds.
const UNIX_START: u64 = 1_700_000_000_000_000;

/// The letter of the limit.
const LIMIT: char = 'i';

/// The milliseconds after which the lock of a replica that died ends.
const LOCK: f64 = 5000.0;

/// A Redis server.
pub(crate) struct Redis {
    /// `true` while it answers nobody.
    pub(crate) is_down: bool,
    /// The difference of its clock from the true time, in microseconds.
    pub(crate) skew: i64,
    pub(crate) data: RedisData,
    /// `true` while an attacker keeps new revocations back.
    pub(crate) withholds: bool,
}

/// What a Redis server has stored.
#[derive(Clone)]
pub(crate) struct RedisData {
    leases: LeaseModel,
    pub(crate) beats: BeatModel<Arc<Beat>>,
    pub(crate) revocations: Stream<Arc<JournalEntry>>,
    refusals: Stream<Refusal>,
    bells: Stream<Bell>,
    pub(crate) verdicts: VerdictModel,
}

/// A refusal of a credential, and the times of the question: Unix time and that of Redis.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) who: usize,
    pub(crate) asked: (u64, u64),
}

/// An entry of a stream.
pub(crate) enum Entry {
    Revocation(Arc<JournalEntry>),
    Refusal(Refusal),
    Bell(Bell),
}

/// A question of a replica.
#[derive(Clone)]
pub(crate) enum Question {
    Leases(Vec<LeaseQuestion>),
    Beat(Arc<Beat>),
    Publish(Arc<JournalEntry>),
    /// Asks for what the streams have after these ids, and waits for it if there is nothing.
    Read([String; 3], bool),
    Claim([String; 4], String, bool),
    Put([String; 4], Put),
    Announce(Refusal),
}

/// An answer to a question.
pub(crate) enum Answer {
    Leases(Vec<LeaseQuestion>, Vec<LeaseAnswer>),
    Beat(BeatReply<Arc<Beat>>),
    Published(u64),
    Entries(Vec<(ReplicaStream, String, Entry)>),
    Claim(ClaimReply, u64),
    Put(i64),
    Announced,
}

impl Default for RedisData {
    fn default() -> Self {
        Self {
            leases: LeaseModel::default(),
            beats: BeatModel::default(),
            revocations: Stream::new(10_000),
            refusals: Stream::new(1000),
            bells: Stream::new(1000),
            verdicts: VerdictModel::default(),
        }
    }
}

impl Redis {
    /// Creates an empty server.
    pub(crate) fn new() -> Self {
        Self { is_down: false, skew: 0, data: RedisData::default(), withholds: false }
    }

    /// Answers a question of a replica, which knows so many replicas. `None` if the replica waits
    /// for an entry of a stream.
    pub(crate) fn answer(
        &mut self,
        now: Nanos,
        replica: &str,
        known: (u32, u32),
        question: &mut Question,
        epoch: &str,
    ) -> Option<Answer> {
        let micros = unix(now, self.skew);
        let milliseconds = micros / 1000;
        let withholds = self.withholds;
        let data = &mut self.data;
        Some(match question {
            Question::Leases(questions) => {
                let tagged: Vec<_> =
                    questions.iter().map(|question| (LIMIT, question.clone())).collect();
                let answers = data.leases.call(micros as f64, replica, known, &tagged);
                for bell in data.leases.bells.drain(..) {
                    data.bells.add(milliseconds, bell);
                }
                Answer::Leases(std::mem::take(questions), answers)
            }
            Question::Beat(beat) => {
                let v = data.leases.tick(micros as f64);
                Answer::Beat(data.beats.call(v, replica, Some(beat.clone()), epoch))
            }
            Question::Publish(entry) => {
                data.revocations.add(milliseconds, entry.clone());
                Answer::Published(entry.number)
            }
            Question::Read(after, blocks) => return data.read(after, *blocks, withholds),
            Question::Claim(names, owner, does_not_suffice) => {
                let reply = data.verdicts.claim(micros, names, owner, LOCK, *does_not_suffice);
                Answer::Claim(reply, micros)
            }
            Question::Put(names, put) => Answer::Put(data.verdicts.put(micros, names, put)),
            Question::Announce(refusal) => {
                data.refusals.add(milliseconds, *refusal);
                Answer::Announced
            }
        })
    }
}

impl RedisData {
    fn read(&mut self, after: &[String; 3], blocks: bool, withholds: bool) -> Option<Answer> {
        use ReplicaStream::{Bells, Refusals, Revocations};
        let [revocations, refusals, bells] = after;
        let mut entries = Vec::new();
        if !withholds {
            let found = self.revocations.after(id(revocations), 500).into_iter();
            entries
                .extend(found.map(|(id, entry)| (Revocations, text(id), Entry::Revocation(entry))));
        }
        let found = self.refusals.after(id(refusals), 500).into_iter();
        entries.extend(found.map(|(id, refusal)| (Refusals, text(id), Entry::Refusal(refusal))));
        let found = self.bells.after(id(bells), 500).into_iter();
        entries.extend(found.map(|(id, bell)| (Bells, text(id), Entry::Bell(bell))));
        (!entries.is_empty() || !blocks).then_some(Answer::Entries(entries))
    }
}

/// Returns the Unix time of a clock that differs so much from the true time, in microseconds.
pub(crate) fn unix(now: Nanos, skew: i64) -> u64 {
    (UNIX_START + now / 1000).saturating_add_signed(skew)
}

fn id(text: &str) -> StreamId {
    let (time, number) = text.split_once('-').unwrap();
    (time.parse().unwrap(), number.parse().unwrap())
}

fn text((time, number): StreamId) -> String {
    format!("{time}-{number}")
}
