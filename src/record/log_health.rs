//! The failures of a log, as shown to operators.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::recent::LastTime;

/// The health of a log.
#[derive(Default)]
pub(super) struct LogHealth {
    failing: AtomicBool,
    last: Mutex<Option<(SystemTime, String)>>,
    /// The time since which no line could be written.
    since: LastTime,
}

/// The health of a log as seen so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSeen {
    /// `true` if the last line could not be written.
    pub failing: bool,
    /// The time of the last line that was lost, and why it was lost.
    pub lost: Option<(SystemTime, String)>,
    /// The time since which no line could be written; `None` if the last line was written.
    pub since: Option<SystemTime>,
}

impl LogHealth {
    /// Records that a line could not be written.
    pub(super) fn failed(&self, why: &str, now: SystemTime) {
        self.lost(why, now);
        if !self.failing.swap(true, Ordering::Relaxed) {
            self.since.set(now);
        }
    }

    /// Records that a line was lost without an attempt to write it.
    pub(super) fn lost(&self, why: &str, now: SystemTime) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some((at, known)) if known == why => *at = now,
            last => *last = Some((now, why.to_owned())),
        }
    }

    /// Records that a line was written. Returns whether the log failed until then.
    pub(super) fn written(&self) -> bool {
        self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed)
    }

    /// Returns the health as seen so far.
    pub(super) fn seen(&self) -> LogSeen {
        let lost = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let failing = self.failing.load(Ordering::Relaxed);
        LogSeen { failing, lost, since: self.since.get().filter(|_| failing) }
    }
}
