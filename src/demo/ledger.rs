//! The record of the requests that a stand-in received, which the tests make assertions about.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The list of all requests that reached a stand-in, in order of arrival. It records nothing until
/// [`keep`](Self::keep) is called, so that a demo can run for days. Tests can read it while the
/// stand-in runs, and can wait for a change instead of sleeping.
pub struct Ledger<T> {
    kept: AtomicBool,
    entries: Mutex<Vec<Arc<T>>>,
    changed: Notify,
}

impl<T> Ledger<T> {
    /// Records an entry for every request from now on.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Release);
    }

    /// Returns all recorded entries, oldest first.
    pub fn entries(&self) -> Vec<Arc<T>> {
        lock(&self.entries).clone()
    }

    /// Removes all recorded entries and returns them. A run that is too long to keep all entries in
    /// memory uses it.
    pub fn take(&self) -> Vec<Arc<T>> {
        std::mem::take(&mut lock(&self.entries))
    }

    /// Returns the number of recorded entries.
    pub fn count(&self) -> usize {
        lock(&self.entries).len()
    }

    /// Waits until `condition` is true for the entries, and returns them. Returns at once if it is
    /// already true.
    pub async fn wait_until(&self, condition: impl Fn(&[Arc<T>]) -> bool) -> Vec<Arc<T>> {
        loop {
            // The listener is enabled before the entries are read, because a change between the two
            // would be missed otherwise.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let entries = self.entries();
            if condition(&entries) {
                return entries;
            }
            changed.await;
        }
    }

    pub(super) fn new() -> Self {
        Self {
            kept: AtomicBool::new(false),
            entries: Mutex::new(Vec::new()),
            changed: Notify::new(),
        }
    }

    /// Adds an entry. Does not call `entry` while the ledger does not record.
    pub(super) fn enter(&self, entry: impl FnOnce() -> T) -> Option<Arc<T>> {
        if !self.kept.load(Ordering::Acquire) {
            return None;
        }
        let entry = Arc::new(entry());
        lock(&self.entries).push(Arc::clone(&entry));
        self.announce();
        Some(entry)
    }

    /// Wakes the waiting tasks because an entry has changed.
    pub(super) fn announce(&self) {
        self.changed.notify_waiters();
    }
}

/// Locks the mutex, and ignores that an earlier holder panicked: no holder leaves the guarded value
/// half-changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ledger_keeps_nothing_before_keep_is_called() {
        let ledger = Ledger::new();
        assert!(ledger.enter(|| 1).is_none());
        ledger.keep();
        assert!(ledger.enter(|| 2).is_some());
        assert_eq!(ledger.entries(), [Arc::new(2)]);
        assert_eq!(ledger.take(), [Arc::new(2)]);
        assert_eq!(ledger.count(), 0);
    }

    #[tokio::test]
    async fn wait_until_returns_once_the_ledger_has_enough_entries() {
        let ledger = Arc::new(Ledger::new());
        ledger.keep();
        let writer = Arc::clone(&ledger);
        let (entries, ()) =
            tokio::join!(ledger.wait_until(|entries| entries.len() == 2), async move {
                writer.enter(|| 1);
                tokio::task::yield_now().await;
                writer.enter(|| 2);
            });
        assert_eq!(entries.len(), 2);
    }
}
