//! The knowledge of a replica about the others, and the consequences of what it hears from them. No
//! I/O and no clock: the time is a parameter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::journal::{Found, Journal};
use super::message::{Beat, JournalEntry, Message, ReplicaId, RevocationMessage};
use crate::identity::model::revocation::Revoked;

/// The silence after which a replica does not count as answering.
const SILENT: Duration = Duration::from_secs(3);

/// The silence after which a replica is gone: see the script of beats.
const GONE: Duration = Duration::from_secs(30);

/// The largest number of replicas that divide a quota. More of them were not written by gates.
const MAX_REPLICAS: usize = 1000;

/// The largest number of revocations in one entry.
const IN_ONE_ENTRY: usize = 200;

/// The shortest time between two times at which a replica publishes all that it knows.
const PUBLISHED_ALL: Duration = Duration::from_secs(2);

/// The other replicas, from the view of one.
pub struct View {
    me: ReplicaId,
    journal: Journal,
    /// The beats of all replicas, this one included, and their ages when they were told.
    heard: Vec<(Arc<Beat>, Duration)>,
    told: Instant,
    /// The replicas that were known last, this one included.
    alive: u32,
    /// The replicas that were known when Redis lost its data, and when that was.
    before: Option<(u32, Instant)>,
    epoch: Option<String>,
    /// The number of times at which the streams were to be read from their start: with each new
    /// epoch, and after each gap.
    starts: u64,
    /// `true` if all revocations that this replica knows are to be published.
    publishes_all: bool,
    /// The time at which this replica last published all of them.
    published_all: Option<Instant>,
    /// `true` if an entry could not be opened. It may be sealed with a key that this replica has
    /// not read yet, or has no more.
    has_unopened: bool,
}

/// The consequences of the beats of all replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The number of replicas that divide quotas.
    pub alive: u32,
    /// The number of those that answer now.
    pub live: u32,
    /// `true` if an entry of another replica was lost: verdicts from before now must not be used.
    pub is_gap: bool,
    /// `true` if Redis has lost its data: as with a gap, and the stream is a new one.
    pub is_new_epoch: bool,
}

/// The streams that a replica reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaStream {
    Revocations,
    Refusals,
    Bells,
}

/// The places up to which a replica has read each stream.
pub struct StreamPlaces {
    /// The id of the last entry that was read, in the order of [`ReplicaStream`].
    last: [String; 3],
    /// `true` until the end of the revocations was reached for the first time.
    is_first: bool,
    starts: u64,
}

impl View {
    /// Creates the view of a replica that starts.
    pub fn new(me: ReplicaId, now: Instant) -> Self {
        Self {
            journal: Journal::new(me.clone()),
            me,
            heard: Vec::new(),
            told: now,
            alive: 1,
            before: None,
            epoch: None,
            starts: 0,
            publishes_all: false,
            published_all: None,
            has_unopened: false,
        }
    }

    /// Returns the entries of this replica and of the others.
    pub fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// Returns the number of times at which the streams were to be read from their start.
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// Takes what Redis tells of all replicas: the age of each beat, and the beat. `None` if it
    /// cannot be opened: the replica has a newer key, which this one has not read yet. It has its
    /// share all the same.
    pub fn hear(
        &mut self,
        told: impl IntoIterator<Item = (Duration, Option<Arc<Beat>>)>,
        epoch: &str,
        now: Instant,
    ) -> Heard {
        let (mut alive, mut live) = (0_u32, 0);
        let mut heard = Vec::new();
        for (age, beat) in told.into_iter().take(MAX_REPLICAS) {
            alive += 1;
            live += u32::from(age < SILENT);
            heard.extend(beat.map(|beat| (beat, age)));
        }
        let is_gap = self.journal.heard(heard.iter().map(|(beat, _)| &**beat), now);
        let is_new_epoch = self.epoch.as_deref().is_some_and(|known| known != epoch);
        if is_new_epoch {
            self.journal.new_epoch();
            self.starts += 1;
            self.publishes_all = true;
            self.before = Some((self.alive, now));
        }
        if self.epoch.as_deref() != Some(epoch) {
            self.epoch = Some(epoch.to_owned());
        }
        // The other replicas are still there, and beat again one after the other.
        let is_recent = |(_, at): &(u32, Instant)| now.duration_since(*at) < GONE;
        self.before = self.before.filter(is_recent);
        let mut alive = alive.max(1).max(self.before.map_or(1, |(alive, _)| alive));
        // If its own beat is missing, those of others may be missing too.
        if !heard.iter().any(|(beat, _)| beat.from == self.me) {
            alive = alive.max(self.alive);
        }
        self.alive = alive;
        self.journal.retain(|id| heard.iter().any(|(beat, _)| beat.from == id));
        (self.heard, self.told) = (heard, now);
        if is_gap {
            self.has_gap();
        }
        Heard { alive: self.alive, live: live.max(1), is_gap, is_new_epoch }
    }

    /// Takes an entry of the stream of revocations.
    pub fn take(&mut self, entry: JournalEntry) -> Found {
        let found = self.journal.read(entry);
        if found.is_gap {
            self.has_gap();
        }
        if found.message == Some(Message::Again) {
            self.publishes_all = true;
        }
        found
    }

    /// Records that an entry could not be opened.
    pub fn could_not_open(&mut self) {
        self.has_unopened = true;
    }

    /// Records that the stream was read to its end for the first time. If some of it could not be
    /// opened, all replicas are asked to publish again.
    pub fn loaded(&mut self) {
        self.journal.loaded();
        self.keys_changed();
    }

    /// Records that the keys have changed, with which entries are sealed.
    pub fn keys_changed(&mut self) {
        if std::mem::take(&mut self.has_unopened) {
            self.journal.ask_again();
        }
    }

    /// Has all replicas publish again, this one included: the lost entry may have asked for it.
    /// The stream is read from its start: the entry may be there with an id that is earlier than
    /// the last one, because the clock of Redis was set back, or somebody wrote a late id.
    fn has_gap(&mut self) {
        self.journal.ask_again();
        self.publishes_all = true;
        self.starts += 1;
    }

    /// Adds to the entries that wait what is due: the request that all replicas publish again, and
    /// all revocations that this replica knows, if the others need them.
    pub fn add_due(&mut self, known: impl FnOnce() -> Vec<(Revoked, u64)>, now: Instant) {
        self.journal.add_request(now);
        let was_lately = |at| now.duration_since(at) < PUBLISHED_ALL;
        let is_due = self.publishes_all && !self.published_all.is_some_and(was_lately);
        // While none is published, those that wait suffice.
        if !is_due
            || self.journal.has_pending(|message| matches!(message, Message::StillRevoked(_)))
        {
            return;
        }
        (self.publishes_all, self.published_all) = (false, Some(now));
        for some in known().chunks(IN_ONE_ENTRY) {
            let some = some.iter().map(|(what, at)| RevocationMessage::new(*what, *at)).collect();
            self.journal.publish(Message::StillRevoked(some));
        }
    }

    /// Returns the number of replicas that have applied an entry of this one, and that of all
    /// replicas.
    pub fn confirmed(&self, number: u64) -> (usize, usize) {
        let beats = self.heard.iter().map(|(beat, _)| &**beat);
        (1 + self.journal.confirmed(number, beats), usize::try_from(self.alive).unwrap_or(1))
    }

    /// Returns the beats of the other replicas, and their ages.
    pub fn others(&self, now: Instant) -> impl Iterator<Item = (&Beat, Duration)> {
        let since = now.saturating_duration_since(self.told);
        let others = self.heard.iter().filter(|(beat, _)| beat.from != self.me);
        others.map(move |(beat, age)| (&**beat, *age + since))
    }
}

impl StreamPlaces {
    /// Creates the places after this start.
    pub fn new(starts: u64) -> Self {
        Self { last: ["0-0"; 3].map(str::to_owned), is_first: true, starts }
    }

    /// Returns the ids after which the streams are read after this start, and whether the end of
    /// the revocations was not reached yet.
    pub fn after(&mut self, starts: u64) -> (&[String; 3], bool) {
        if starts != self.starts {
            *self = Self::new(starts);
        }
        (&self.last, self.is_first)
    }

    /// Records that the entry with this id was read.
    pub fn read(&mut self, stream: ReplicaStream, id: String) {
        let [revocations, refusals, bells] = &mut self.last;
        *match stream {
            ReplicaStream::Revocations => revocations,
            ReplicaStream::Refusals => refusals,
            ReplicaStream::Bells => bells,
        } = id;
    }

    /// Records that there were no more revocations. Returns `true` the first time.
    pub fn end(&mut self) -> bool {
        std::mem::replace(&mut self.is_first, false)
    }
}
