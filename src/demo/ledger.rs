//! What a stand-in has seen: the oracle of the tests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A list of everything that reached a stand-in, in order. It keeps nothing until it is told to, so
/// that a demo may run for days; it can be read while the stand-in runs, and waited on, so that no
/// test has to sleep.
pub struct Ledger<T> {
    kept: AtomicBool,
    entries: Mutex<Vec<Arc<T>>>,
    changed: Notify,
}

impl<T> Ledger<T> {
    /// From now on, keep an entry of whatever arrives.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Release);
    }

    /// Everything kept so far, oldest first.
    pub fn entries(&self) -> Vec<Arc<T>> {
        lock(&self.entries).clone()
    }

    /// Everything kept so far, which is kept no longer: for a run that is too long to remember all
    /// of it.
    pub fn take(&self) -> Vec<Arc<T>> {
        std::mem::take(&mut lock(&self.entries))
    }

    /// How many entries have been kept so far.
    pub fn count(&self) -> usize {
        lock(&self.entries).len()
    }

    /// Waits until `condition` holds of the entries, which it may already do, and returns them.
    pub async fn wait_until(&self, condition: impl Fn(&[Arc<T>]) -> bool) -> Vec<Arc<T>> {
        loop {
            // Listening starts before looking, or a change between the two would be missed.
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

    /// Adds an entry, which is not even made where none is kept.
    pub(super) fn enter(&self, entry: impl FnOnce() -> T) -> Option<Arc<T>> {
        if !self.kept.load(Ordering::Acquire) {
            return None;
        }
        let entry = Arc::new(entry());
        lock(&self.entries).push(Arc::clone(&entry));
        self.announce();
        Some(entry)
    }

    /// Wakes those who wait, for an entry has changed.
    pub(super) fn announce(&self) {
        self.changed.notify_waiters();
    }
}

/// A lock whose holder panicked is still good: no holder leaves what it guards half-changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_nothing_until_it_is_told_to() {
        let ledger = Ledger::new();
        assert!(ledger.enter(|| 1).is_none());
        ledger.keep();
        assert!(ledger.enter(|| 2).is_some());
        assert_eq!(ledger.entries(), [Arc::new(2)]);
        assert_eq!(ledger.take(), [Arc::new(2)]);
        assert_eq!(ledger.count(), 0);
    }

    #[tokio::test]
    async fn can_be_waited_on() {
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
