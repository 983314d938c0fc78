//! The clock by which credentials end.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the microseconds since 1970: fine enough to tell what was sealed before an instant from
/// what was sealed after it. A clock before 1970 makes everything look sealed late, and so ended;
/// see [`unix_now`].
pub fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(u64::MAX, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Seconds since 1970. A clock before that makes everything look ended, which is the safe side.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}
