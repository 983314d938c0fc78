//! The reasons why clients are not served, as operators see them: accepts that fail, a full gate,
//! and workers that have stopped.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::recent::{LastTime, is_recent};

/// The health of the public listener, over all workers.
#[derive(Default)]
pub struct ListenerHealth {
    not_accepted: Mutex<Option<(SystemTime, String)>>,
    full: LastTime,
    /// The number of workers with a connection that waits for a place.
    waiting: AtomicUsize,
    stopped: AtomicUsize,
}

/// The troubles of the public listener that may go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerSeen {
    /// The last time at which no connection could be accepted, and the error of the system.
    pub not_accepted: Option<(SystemTime, String)>,
    /// The last time at which a connection had to wait, because there were as many as allowed.
    pub full: Option<SystemTime>,
    /// The number of workers that have stopped.
    pub stopped_workers: usize,
}

/// A connection that waits for a place.
pub(super) struct WaitingClients<'a>(&'a ListenerHealth);

impl ListenerHealth {
    /// Records that no connection could be accepted.
    pub(super) fn not_accepted(&self, error: &io::Error, now: SystemTime) {
        let failed = Some((now, error.to_string()));
        *self.not_accepted.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    /// Records that a connection waits for a place, until the returned value is dropped.
    pub(super) fn full(&self, now: SystemTime) -> WaitingClients<'_> {
        self.full.set(now);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        WaitingClients(self)
    }

    /// Records that a worker has stopped.
    pub(super) fn worker_stopped(&self) {
        self.stopped.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the troubles that may go on.
    pub fn seen(&self, now: SystemTime) -> ListenerSeen {
        let not_accepted = self.not_accepted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let waits = self.waiting.load(Ordering::Relaxed) > 0;
        ListenerSeen {
            not_accepted: not_accepted.filter(|(at, _)| is_recent(*at, now)),
            full: self.full.get().filter(|at| waits || is_recent(*at, now)),
            stopped_workers: self.stopped.load(Ordering::Relaxed),
        }
    }
}

impl Drop for WaitingClients<'_> {
    fn drop(&mut self) {
        self.0.full.set(SystemTime::now());
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reports a worker whose thread ends by a panic.
pub(super) struct ReportPanic<'a>(pub(super) &'a ListenerHealth);

impl Drop for ReportPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.worker_stopped();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recent::RECENT;

    #[test]
    fn troubles_of_the_listener_are_shown_while_they_may_go_on() {
        let (health, now) = (ListenerHealth::default(), SystemTime::now());
        assert_eq!(health.seen(now), ListenerSeen::default());
        health.not_accepted(&io::Error::other("too many open files"), now);
        let (waiting, later) = (health.full(now), now + RECENT);
        let seen = health.seen(now);
        assert_eq!(seen.not_accepted, Some((now, "too many open files".to_owned())));
        assert!(seen.full.is_some() && seen.stopped_workers == 0);
        let seen = health.seen(later);
        assert!(seen.not_accepted.is_none() && seen.full.is_some(), "a connection still waits");
        drop(waiting);
        assert!(health.seen(SystemTime::now()).full.is_some(), "the next one may wait");
        assert!(health.seen(SystemTime::now() + RECENT).full.is_none());
    }

    #[test]
    fn a_worker_that_panics_counts_as_stopped() {
        let health = ListenerHealth::default();
        std::thread::scope(|scope| {
            let work = || {
                let _report = ReportPanic(&health);
            };
            scope.spawn(work).join().unwrap();
            let work = || {
                let _report = ReportPanic(&health);
                panic!("a test");
            };
            scope.spawn(work).join().unwrap_err();
        });
        assert_eq!(health.seen(SystemTime::now()).stopped_workers, 1);
    }
}
