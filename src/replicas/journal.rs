//! The entries that a replica has published and read, by their numbers. A number that is missing
//! shows that an entry was lost. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::message::{Beat, JournalEntry, Message, ReplicaId};

/// The time that an entry may take from the beat that announces it to the reader.
const ON_ITS_WAY: Duration = Duration::from_millis(1500);

/// The shortest time between two requests to publish everything again.
const ASKED_AGAIN: Duration = Duration::from_secs(5);

/// The largest number of replicas whose entries are counted.
const MAX_REPLICAS: usize = 1000;

/// The entries of all replicas, from the view of one.
pub struct Journal {
    me: ReplicaId,
    /// The number of this replica's last entry.
    last: u64,
    /// The entries of this replica that are not in the stream yet.
    pending: VecDeque<JournalEntry>,
    /// The number of the last entry of each replica that was applied.
    applied: BTreeMap<ReplicaId, u64>,
    /// The number up to which the entries of each replica were applied, or are known to be lost.
    accounted: BTreeMap<ReplicaId, u64>,
    /// The replicas whose beat announces entries that were not read yet, and since when.
    announced: BTreeMap<ReplicaId, (u64, Instant)>,
    /// `true` once the stream was read to its end for the first time.
    is_loaded: bool,
    asked_again: Option<Instant>,
    /// `true` if all replicas are to be asked to publish again as soon as it is time.
    asks_again: bool,
}

/// The meaning of an entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The message to apply.
    pub message: Option<Message>,
    /// `true` if an entry was lost: verdicts from before now must not be used.
    pub is_gap: bool,
}

impl Journal {
    /// Creates the journal of a replica that starts.
    pub fn new(me: ReplicaId) -> Self {
        Self {
            me,
            last: 0,
            pending: VecDeque::new(),
            applied: BTreeMap::new(),
            accounted: BTreeMap::new(),
            announced: BTreeMap::new(),
            is_loaded: false,
            asked_again: None,
            // Redis may have lost entries of replicas that are gone.
            asks_again: true,
        }
    }

    /// Adds an entry of this replica, and returns its number.
    pub fn publish(&mut self, message: Message) -> u64 {
        self.last += 1;
        let entry = JournalEntry { from: self.me.clone(), number: self.last, message };
        self.pending.push_back(entry);
        self.last
    }

    /// Has all replicas asked to publish again: with the next call of
    /// [`add_request`](Self::add_request), unless there was a request lately.
    pub fn ask_again(&mut self) {
        self.asks_again = true;
    }

    /// Adds the request that all replicas publish again, if there is to be one and it is time.
    pub fn add_request(&mut self, now: Instant) {
        let is_due = self.asked_again.is_none_or(|at| now.duration_since(at) >= ASKED_AGAIN);
        if self.asks_again && is_due {
            (self.asks_again, self.asked_again) = (false, Some(now));
            self.publish(Message::Again);
        }
    }

    /// Returns the earliest entry that is not in the stream yet.
    pub fn pending(&self) -> Option<&JournalEntry> {
        self.pending.front()
    }

    /// Returns whether one of the entries that are not in the stream yet is such a message.
    pub fn has_pending(&self, is_such: impl Fn(&Message) -> bool) -> bool {
        self.pending.iter().any(|entry| is_such(&entry.message))
    }

    /// Returns the number of entries that are not in the stream yet.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Records that the entry with this number is in the stream.
    pub fn published(&mut self, number: u64) {
        if self.pending.front().is_some_and(|entry| entry.number == number) {
            self.pending.pop_front();
        }
    }

    /// Takes an entry of the stream.
    pub fn read(&mut self, entry: JournalEntry) -> Found {
        let JournalEntry { from, number, message } = entry;
        if from == self.me || number == 0 {
            return Found::default();
        }
        let known = self.accounted.get(&from).copied();
        // An entry that is put back is older than what was read.
        if known.is_some_and(|known| number <= known) {
            return Found::default();
        }
        if known.is_none() && self.accounted.len() >= MAX_REPLICAS {
            return Found { message: Some(message), is_gap: true };
        }
        // While the stream is read for the first time, its older entries may have been trimmed.
        let expected = known.map_or(if self.is_loaded { 1 } else { number }, |known| known + 1);
        self.accounted.insert(from.clone(), number);
        self.applied.insert(from, number);
        Found { message: Some(message), is_gap: number != expected }
    }

    /// Records that the stream was read to its end.
    pub fn loaded(&mut self) {
        self.is_loaded = true;
    }

    /// Records that the stream is a new one, which is read from its start.
    pub fn new_epoch(&mut self) {
        self.is_loaded = false;
        self.announced.clear();
    }

    /// Takes the beats of the other replicas. Returns `true` if one of them has published an entry
    /// that does not come.
    pub fn heard<'a>(&mut self, beats: impl Iterator<Item = &'a Beat>, now: Instant) -> bool {
        let mut is_gap = false;
        for beat in beats.filter(|beat| beat.from != self.me) {
            let known = self.accounted.get(&beat.from).copied().unwrap_or_default();
            if beat.last <= known {
                self.announced.remove(&beat.from);
                continue;
            }
            let announced = self.announced.get(&beat.from).copied();
            let (last, since) =
                announced.filter(|(last, _)| *last > known).unwrap_or((beat.last, now));
            if now.duration_since(since) < ON_ITS_WAY {
                if self.announced.len() < MAX_REPLICAS {
                    self.announced.insert(beat.from.clone(), (last, since));
                }
                continue;
            }
            self.announced.remove(&beat.from);
            self.accounted.insert(beat.from.clone(), last);
            is_gap = true;
        }
        is_gap
    }

    /// Returns what this replica says of itself.
    pub fn beat(&self, version: &str) -> Beat {
        let published = self.pending.front().map_or(self.last, |entry| entry.number - 1);
        Beat {
            from: self.me.clone(),
            version: version.to_owned(),
            last: published,
            applied: self.applied.clone(),
        }
    }

    /// Forgets replicas that are gone: those that are not among `alive`.
    pub fn retain(&mut self, alive: impl Fn(&str) -> bool) {
        // Entries of a replica that is gone may still come, so its number is kept while there are
        // few.
        if self.accounted.len() > MAX_REPLICAS / 2 {
            self.accounted.retain(|replica, _| alive(replica));
            self.applied.retain(|replica, _| alive(replica));
        }
        self.announced.retain(|replica, _| alive(replica));
    }

    /// Returns the number of the replicas in `beats` that have applied this entry of this replica.
    pub fn confirmed<'a>(&self, number: u64, beats: impl Iterator<Item = &'a Beat>) -> usize {
        let applied = |beat: &&Beat| beat.applied.get(&self.me).is_some_and(|at| *at >= number);
        beats.filter(|beat| beat.from != self.me).filter(applied).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(from: &str, number: u64) -> JournalEntry {
        JournalEntry { from: from.into(), number, message: Message::Again }
    }

    fn beat(from: &str, last: u64) -> Beat {
        Beat { from: from.into(), version: String::new(), last, applied: BTreeMap::new() }
    }

    fn loaded() -> Journal {
        let mut journal = Journal::new("me".into());
        journal.loaded();
        journal
    }

    #[test]
    fn a_missing_number_is_a_gap() {
        let mut journal = loaded();
        for (number, is_gap) in [(1, false), (2, false), (4, true), (5, false)] {
            let found = journal.read(entry("a", number));
            assert_eq!((found.is_gap, found.message.is_some()), (is_gap, true), "{number}");
        }
        assert!(journal.read(entry("b", 2)).is_gap, "the first entry of a replica is missing");
    }

    #[test]
    fn entries_that_are_put_back_are_not_read_again() {
        let mut journal = loaded();
        journal.read(entry("a", 1));
        journal.read(entry("a", 2));
        assert_eq!(journal.read(entry("a", 1)), Found::default());
        assert_eq!(journal.read(entry("a", 2)), Found::default());
        assert_eq!(journal.read(entry("me", 7)), Found::default(), "its own");
    }

    #[test]
    fn a_stream_may_be_trimmed_at_its_start() {
        let mut journal = Journal::new("me".into());
        assert!(!journal.read(entry("a", 5)).is_gap);
        assert!(!journal.read(entry("a", 6)).is_gap);
        journal.loaded();
        assert!(journal.read(entry("a", 8)).is_gap);
    }

    #[test]
    fn an_entry_that_a_beat_announces_must_come_soon() {
        let (mut journal, now) = (loaded(), Instant::now());
        let later = now + ON_ITS_WAY;
        assert!(!journal.heard([beat("a", 2)].iter(), now));
        assert!(!journal.heard([beat("a", 2)].iter(), later - Duration::from_millis(1)));
        assert!(journal.heard([beat("a", 2)].iter(), later));
        assert!(!journal.heard([beat("a", 2)].iter(), later), "once");
        assert!(!journal.read(entry("a", 3)).is_gap, "what comes next is complete");
        assert!(!journal.heard([beat("a", 3)].iter(), later));
    }

    #[test]
    fn an_entry_counts_as_applied_only_if_it_was_read() {
        let (mut journal, now) = (loaded(), Instant::now());
        journal.read(entry("a", 1));
        journal.heard([beat("a", 2)].iter(), now);
        journal.heard([beat("a", 2)].iter(), now + ON_ITS_WAY);
        assert_eq!(journal.beat("v").applied["a"], 1);
        journal.read(entry("a", 3));
        assert_eq!(journal.beat("v").applied["a"], 3);
    }

    /// Redis may lose the beats of all replicas for a moment.
    #[test]
    fn what_was_applied_is_not_forgotten_with_a_beat() {
        let mut journal = loaded();
        journal.read(entry("a", 1));
        journal.retain(|_| false);
        assert_eq!(journal.beat("v").applied["a"], 1);
    }

    #[test]
    fn entries_wait_until_they_are_published() {
        let mut journal = loaded();
        assert_eq!((journal.publish(Message::Again), journal.publish(Message::Again)), (1, 2));
        assert_eq!(journal.beat("v").last, 0);
        journal.published(1);
        assert_eq!(
            (journal.pending().map(|entry| entry.number), journal.beat("v").last),
            (Some(2), 1)
        );
        journal.published(2);
        assert_eq!((journal.pending(), journal.beat("v").last), (None, 2));
    }

    #[test]
    fn replicas_that_applied_an_entry_are_counted() {
        let journal = loaded();
        let with = |from: &str, number| {
            let applied = [("me".to_owned(), number)].into();
            Beat { applied, ..beat(from, 0) }
        };
        let beats = [with("a", 3), with("b", 2), with("me", 9), beat("c", 9)];
        assert_eq!([2, 3, 4].map(|number| journal.confirmed(number, beats.iter())), [2, 1, 0]);
    }

    #[test]
    fn all_are_asked_to_publish_again_once_in_a_while() {
        let (mut journal, now) = (loaded(), Instant::now());
        journal.add_request(now);
        assert_eq!(journal.pending.len(), 1, "it has started");
        journal.ask_again();
        journal.add_request(now + Duration::from_secs(1));
        assert_eq!(journal.pending.len(), 1, "later");
        journal.add_request(now + ASKED_AGAIN);
        journal.add_request(now + 2 * ASKED_AGAIN);
        assert_eq!(journal.pending.len(), 2);
    }
}
