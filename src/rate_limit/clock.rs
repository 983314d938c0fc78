//! The clock of rate limits.

use std::time::Instant;

use super::gcra::{Nanos, nanos};

/// A clock that counts the time since its creation.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Default for Clock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock {
    /// Returns the current time.
    pub fn now(self) -> Nanos {
        self.at(Instant::now())
    }

    /// Returns the time of an instant. An instant before the creation of the clock counts as its
    /// creation.
    pub fn at(self, instant: Instant) -> Nanos {
        nanos(instant.saturating_duration_since(self.0))
    }
}
