//! The clock of rate limits.

use std::time::Instant;

use super::gcra::{Nanos, nanos};

/// Time since somebody began to count.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Default for Clock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock {
    /// Now.
    pub fn now(self) -> Nanos {
        self.at(Instant::now())
    }

    /// An instant; what was before the count began is its beginning.
    pub fn at(self, instant: Instant) -> Nanos {
        nanos(instant.saturating_duration_since(self.0))
    }
}
