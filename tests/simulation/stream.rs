//! A model of a stream of Redis: entries with ids that go up, trimmed at a length.

use std::collections::VecDeque;

/// The id of an entry: a time in milliseconds, and a number among those of that time.
pub(crate) type StreamId = (u64, u64);

/// A stream.
#[derive(Clone)]
pub(crate) struct Stream<T> {
    entries: VecDeque<(StreamId, T)>,
    last: StreamId,
    longest: usize,
}

impl<T: Clone> Stream<T> {
    /// Creates an empty stream that keeps so many entries.
    pub(crate) fn new(longest: usize) -> Self {
        Self { entries: VecDeque::new(), last: (0, 0), longest }
    }

    /// Adds an entry at this time of the server. Ids go up even if its clock was set back.
    pub(crate) fn add(&mut self, milliseconds: u64, entry: T) {
        let (last, number) = self.last;
        self.last = if milliseconds > last { (milliseconds, 0) } else { (last, number + 1) };
        self.entries.push_back((self.last, entry));
        if self.entries.len() > self.longest {
            self.entries.pop_front();
        }
    }

    /// Returns at most `count` entries after this id.
    pub(crate) fn after(&self, id: StreamId, count: usize) -> Vec<(StreamId, T)> {
        let first = self.entries.partition_point(|(other, _)| *other <= id);
        self.entries.range(first..).take(count).cloned().collect()
    }

    /// Returns the entries, which only an attacker changes.
    #[allow(dead_code, reason = "the test that compares the model with the script has no attacker")]
    pub(crate) fn entries(&mut self) -> &mut VecDeque<(StreamId, T)> {
        &mut self.entries
    }
}
