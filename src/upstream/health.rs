//! The health of the registry, for people. All workers record every response, so a response costs
//! two atomic operations and no lock. A fault takes a lock, because it is rare and has cost more
//! already.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::denial::UpstreamFault;

/// The health of one registry.
#[derive(Default)]
pub struct UpstreamHealth {
    /// The time of the last usable response (Unix time, seconds) in the upper half, and the time
    /// that it took (microseconds) in the lower half. Both are in one word, so that they belong to
    /// the same response. 0: there was none.
    answered: AtomicU64,
    failing: AtomicBool,
    failed: Mutex<Option<(SystemTime, UpstreamFault)>>,
}

/// The health of the registry as seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamSeen {
    /// `true` if the last response could be used; `None` if the registry was not asked yet.
    pub up: Option<bool>,
    /// The time of the last usable response, to the second, and the time that its head took.
    pub answered: Option<(SystemTime, Duration)>,
    /// The time of the last fault, and the fault.
    pub failed: Option<(SystemTime, UpstreamFault)>,
}

impl UpstreamHealth {
    /// Records a usable response whose head took `took`.
    pub(super) fn answered(&self, took: Duration, now: SystemTime) {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.answered.store(u64::from(seconds) << 32 | u64::from(micros), Ordering::Relaxed);
        if self.failing.load(Ordering::Relaxed) {
            self.failing.store(false, Ordering::Relaxed);
        }
    }

    /// Records a fault of the registry.
    pub(super) fn failed(&self, fault: UpstreamFault, now: SystemTime) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, fault));
        self.failing.store(true, Ordering::Relaxed);
    }

    /// Returns the health as seen so far.
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
