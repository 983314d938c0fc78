//! The time of the last incident of one kind. Workers record it without a lock, and the status page
//! shows it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time for which an incident that may happen again stays among the known problems after it was
/// last met.
pub const RECENT: Duration = Duration::from_secs(10 * 60);

/// The time of the last incident, to the millisecond (Unix time). 0: there was none.
#[derive(Default)]
pub struct LastTime(AtomicU64);

impl LastTime {
    /// Records an incident.
    pub fn set(&self, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.0.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Forgets all incidents.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Returns the time of the last incident.
    pub fn get(&self) -> Option<SystemTime> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            millis => UNIX_EPOCH.checked_add(Duration::from_millis(millis)),
        }
    }
}

/// Returns whether an incident at this time is [`RECENT`]. A clock that was set back makes it
/// recent.
pub fn is_recent(at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(at).map_or(true, |passed| passed < RECENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_incident_is_recent_for_ten_minutes() {
        let (last, first) = (LastTime::default(), UNIX_EPOCH + Duration::from_millis(1_800_000));
        assert_eq!(last.get(), None);
        last.set(first);
        assert_eq!(last.get(), Some(first));
        let after = |seconds| is_recent(first, first + Duration::from_secs(seconds));
        assert_eq!((after(0), after(599), after(600)), (true, true, false));
        assert!(is_recent(first, UNIX_EPOCH), "the clock was set back");
        last.clear();
        assert_eq!(last.get(), None);
    }
}
