//! What is known of the registry's health, for people. All workers write it with every answer, so
//! that costs two atomics and no lock; what goes wrong takes a lock, for it is rare and has cost
//! more already.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::denial::UpstreamFault;

/// The health of one registry.
#[derive(Default)]
pub struct UpstreamHealth {
    /// When it answered last (Unix time, seconds) in the upper half, how long that took
    /// (microseconds) in the lower one: one word, so that the two belong together. 0: never.
    answered: AtomicU64,
    failing: AtomicBool,
    failed: Mutex<Option<(SystemTime, UpstreamFault)>>,
}

/// What was seen of the registry so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamSeen {
    /// Whether its last answer could be used; `None` where it was not asked yet.
    pub up: Option<bool>,
    /// When the last such answer came, to the second, and how long its head took.
    pub answered: Option<(SystemTime, Duration)>,
    /// When it did not do its part last, and how.
    pub failed: Option<(SystemTime, UpstreamFault)>,
}

impl UpstreamHealth {
    /// It gave an answer that can be used, after so long.
    pub(super) fn answered(&self, took: Duration, now: SystemTime) {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.answered.store(u64::from(seconds) << 32 | u64::from(micros), Ordering::Relaxed);
        if self.failing.load(Ordering::Relaxed) {
            self.failing.store(false, Ordering::Relaxed);
        }
    }

    /// It did not do its part.
    pub(super) fn failed(&self, fault: UpstreamFault, now: SystemTime) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, fault));
        self.failing.store(true, Ordering::Relaxed);
    }

    /// What was seen so far.
    pub fn seen(&self) -> UpstreamSeen {
        let word = self.answered.load(Ordering::Relaxed);
        let answered = (word != 0).then(|| {
            let at = UNIX_EPOCH + Duration::from_secs(word >> 32);
            (at, Duration::from_micros(word & u64::from(u32::MAX)))
        });
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = answered.is_some() || failed.is_some();
        UpstreamSeen { up: asked.then(|| !self.failing.load(Ordering::Relaxed)), answered, failed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_and_the_last_fault_are_kept() {
        let (health, took) = (UpstreamHealth::default(), Duration::from_micros(1_234_567));
        assert_eq!(health.seen(), UpstreamSeen::default());
        let first = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        health.answered(took, first + Duration::from_millis(999));
        let answered = Some((first, took));
        assert_eq!(health.seen(), UpstreamSeen { up: Some(true), answered, failed: None });
        let second = first + Duration::from_secs(1);
        health.failed(UpstreamFault::Unreachable, second);
        let failed = Some((second, UpstreamFault::Unreachable));
        assert_eq!(health.seen(), UpstreamSeen { up: Some(false), answered, failed });
        health.answered(Duration::MAX, second);
        let longest = Duration::from_micros(u32::MAX.into());
        assert_eq!(
            health.seen(),
            UpstreamSeen { up: Some(true), answered: Some((second, longest)), failed }
        );
    }
}
