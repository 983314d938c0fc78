//! The clock of Redis, as far as a replica believes it.
//!
//! The times of shared verdicts are those of Redis, because the clocks of replicas differ. An
//! attacker at Redis could set its clock back, and so make an old verdict look new. A replica
//! therefore compares it with its own monotonic clock, and uses no verdict from before a step.

use std::time::{Duration, Instant};

/// The difference between the clocks from which on it counts as a step.
const STEP: Duration = Duration::from_secs(1);

/// The clock of Redis.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedisClock {
    /// A time of Redis (Unix time, microseconds), and the instant at which it was told.
    anchor: Option<(Instant, u64)>,
    /// The time from which on verdicts are used.
    floor: u64,
    /// The same as an instant, which needs no time of Redis.
    floor_at: Option<Instant>,
}

impl RedisClock {
    /// Takes the time that Redis tells, and returns the time that it has.
    pub fn told(&mut self, told: u64, now: Instant) -> u64 {
        let Some(expected) = self.now(now) else {
            self.anchor = Some((now, told));
            return told;
        };
        if Duration::from_micros(expected.abs_diff(told)) <= STEP {
            return expected;
        }
        self.anchor = Some((now, told));
        self.floor = self.floor.max(expected).max(told);
        told
    }

    /// Returns the time of Redis, if it has told it before.
    pub fn now(&self, now: Instant) -> Option<u64> {
        let (at, then) = self.anchor?;
        let since = now.saturating_duration_since(at);
        Some(then.saturating_add(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Makes verdicts from before this instant void.
    pub fn set_floor(&mut self, now: Instant) {
        self.floor = self.floor.max(self.now(now).unwrap_or_default());
        self.floor_at = self.floor_at.max(Some(now));
    }

    /// Returns the age of a verdict that was asked for at this time of Redis, and at this time of
    /// the clock of the replica that asked; `unix` is the time of this replica's clock. `None` if
    /// the verdict must not be used.
    pub fn age(
        &self,
        (asked_redis, asked_unix): (u64, u64),
        now: Instant,
        unix: u64,
    ) -> Option<Duration> {
        let by_redis = self.now(now)?.checked_sub(asked_redis);
        // A verdict from the near future was asked for while the anchor was being told.
        let by_redis = match by_redis {
            Some(age) => age,
            None if asked_redis.saturating_sub(self.now(now)?) < 1_000_000 => 0,
            None => return None,
        };
        let by_unix = unix.saturating_sub(asked_unix);
        let age = Duration::from_micros(by_redis.max(by_unix));
        let since_floor = self.floor_at.map(|at| now.saturating_duration_since(at));
        let is_void = (asked_redis <= self.floor && self.floor > 0)
            || since_floor.is_some_and(|since| age >= since);
        (!is_void).then_some(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const START: u64 = 1_700_000_000 * SECOND;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_verdict_is_as_old_as_the_slower_clock_says() {
        let (mut clock, start) = (RedisClock::default(), Instant::now());
        clock.told(START, start);
        let asked = (START + SECOND, 50 * SECOND);
        let age = |unix| clock.age(asked, at(start, 11), unix);
        assert_eq!(age(60 * SECOND), Some(Duration::from_secs(10)), "the clocks agree");
        assert_eq!(age(55 * SECOND), Some(Duration::from_secs(10)), "its own clock is slow");
        assert_eq!(age(65 * SECOND), Some(Duration::from_secs(15)), "its own clock is fast");
        assert_eq!(age(40 * SECOND), Some(Duration::from_secs(10)), "asked in its future");
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_old_verdict_new() {
        let (mut clock, start) = (RedisClock::default(), Instant::now());
        clock.told(START, start);
        let old = (START + SECOND, 0);
        assert!(clock.age(old, at(start, 2), 0).is_some());
        clock.told(START + 2 * SECOND, at(start, 100));
        assert_eq!(clock.age(old, at(start, 100), 0), None, "from before the step");
        let new = (START + 3 * SECOND, 0);
        assert_eq!(clock.age(new, at(start, 101), 0), None, "could be from before the step");
    }

    /// Each step is below the tolerance.
    #[test]
    fn a_clock_cannot_be_walked_back_in_small_steps() {
        let (mut clock, start) = (RedisClock::default(), Instant::now());
        clock.told(START, start);
        let old = (START + SECOND, 0);
        for step in 2..100 {
            clock.told(START + 2 * SECOND, at(start, step));
        }
        assert!(clock.age(old, at(start, 100), 0).is_none_or(|age| age.as_secs() >= 90));
    }

    #[test]
    fn a_verdict_from_before_the_floor_is_not_used() {
        let (mut clock, start) = (RedisClock::default(), Instant::now());
        clock.told(START, start);
        clock.set_floor(at(start, 10));
        assert_eq!(clock.age((START + 10 * SECOND, 0), at(start, 11), 0), None);
        assert!(clock.age((START + 10 * SECOND + 1, 0), at(start, 11), 0).is_some());
        assert_eq!(clock.age((START + 20 * SECOND, 0), at(start, 11), 0), None, "the far future");
    }

    #[test]
    fn a_floor_holds_even_if_it_is_set_before_redis_has_told_its_time() {
        let (mut clock, start) = (RedisClock::default(), Instant::now());
        clock.set_floor(start);
        clock.told(START + 10 * SECOND, at(start, 10));
        assert_eq!(clock.age((START, 0), at(start, 10), 0), None);
        assert!(clock.age((START + 1, 0), at(start, 10), 0).is_some());
    }
}
