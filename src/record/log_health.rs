//! The failures of a log, as shown to operators.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// The health of a log.
#[derive(Default)]
pub(super) struct LogHealth {
    failing: AtomicBool,
    last: Mutex<Option<(SystemTime, String)>>,
}

/// The health of a log as seen so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSeen {
    /// `true` if the last line could not be written.
    pub failing: bool,
    /// The time of the last line that was lost, and why it was lost.
    pub lost: Option<(SystemTime, String)>,
}

impl LogHealth {
    /// Records that a line could not be written.
    pub(super) fn failed(&self, why: &str, now: SystemTime) {
        self.lost(why, now);
        self.failing.store(true, Ordering::Relaxed);
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
        LogSeen { failing: self.failing.load(Ordering::Relaxed), lost }
    }
}
