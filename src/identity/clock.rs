//! The clock by which credentials end.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970. A clock before that makes everything look ended, which is the safe side.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}
