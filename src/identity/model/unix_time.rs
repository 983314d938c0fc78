//! The clock by which credentials expire.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the Unix time in microseconds, which is precise enough to order the sealing of a token
/// and a revocation. If the clock is before 1970, it returns the maximum, so everything counts as
/// expired; see [`unix_now`].
pub fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(u64::MAX, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Returns the Unix time in seconds. If the clock is before 1970, it returns the maximum, so
/// everything counts as expired, which is the safe side.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}
