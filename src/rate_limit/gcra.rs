//! The generic cell rate algorithm (ITU-T I.371): a token bucket that takes one word per caller.
//! Pure functions: the time is a parameter.
//!
//! The word is the *theoretical arrival time*: the time at which the caller will have paid for all
//! that it took. The caller owes the time from now until then. A caller that owes nothing needs no
//! word; its word may also be 0.

use std::time::Duration;

/// Nanoseconds since an instant that is the same for all words.
pub type Nanos = u64;

/// The bound on waits. A write that would have to wait for less than this waits, and its event is
/// taken from the quota beforehand.
pub const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The number of the smallest parts of an event that are counted.
pub(super) const MILLION: i64 = 1_000_000;

/// The rate at which an event may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The cost of one event.
    interval: Nanos,
    /// The largest debt.
    capacity: Nanos,
    burst: u32,
}

/// An event that was taken from a quota, so that it can be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Taken {
    cost: Nanos,
    /// The time at which the event will have been paid for.
    paid: Nanos,
}

impl Quota {
    /// Creates a quota of `count` events in each `per`, with up to `burst` events at once after a
    /// time of rest. Both numbers are at least 1. A burst takes at most 584 years to come back.
    pub fn new(count: u32, per: Duration, burst: u32) -> Self {
        let (count, burst) = (count.max(1), burst.max(1));
        let interval = nanos(per).div_ceil(count.into()).max(1);
        Self { interval, capacity: interval.saturating_mul(burst.into()), burst }
    }

    /// Returns the part of the quota that one of `replicas` gates may use without the others. It
    /// admits one event at a time at least.
    #[must_use]
    pub fn share(&self, replicas: u32) -> Self {
        let interval = self.interval.saturating_mul(replicas.max(1).into());
        let burst = (self.burst / replicas.max(1)).max(1);
        // The capacity of a share is that of the quota: each event takes as much longer to pay for
        // as the share is smaller.
        Self { interval, capacity: self.capacity.max(interval), burst }
    }

    /// Returns the time in which one event comes back, in nanoseconds.
    pub fn interval(&self) -> Nanos {
        self.interval
    }

    /// Creates a quota with one event in each `interval`, in nanoseconds, and this burst.
    pub fn with_interval(interval: Nanos, burst: u32) -> Self {
        let (interval, burst) = (interval.max(1), burst.max(1));
        Self { interval, capacity: interval.saturating_mul(burst.into()), burst }
    }

    /// Returns the time that the caller owes.
    pub fn debt(&self, word: Nanos, now: Nanos) -> Nanos {
        self.owed(word, now)
    }

    /// Returns the available events, in millionths. The number is negative if the caller has
    /// reserved events that are not available yet.
    pub fn level(&self, word: Nanos, now: Nanos) -> i64 {
        let left = i128::from(self.capacity) - i128::from(self.owed(word, now));
        i64::try_from(left * i128::from(MILLION) / i128::from(self.interval)).unwrap_or(i64::MAX)
    }

    /// Returns the word of a caller with this level, in millionths of an event, which is limited
    /// to the burst.
    pub fn word_at(&self, level: i64, now: Nanos) -> Nanos {
        let left = i128::from(level) * i128::from(self.interval) / i128::from(MILLION);
        let owed = i128::from(self.capacity) - left;
        now.saturating_add(u64::try_from(owed.max(0)).unwrap_or(u64::MAX))
    }

    /// Returns the number of events that a caller may take at once after a long rest.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// Returns the time in which a whole burst comes back.
    pub fn window(&self) -> Duration {
        Duration::from_nanos(self.capacity)
    }

    /// Takes one event.
    ///
    /// # Errors
    /// [`Duration`] if no event is available: the time until one is, if the caller takes no other
    /// before.
    pub fn take(&self, word: &mut Nanos, now: Nanos) -> Result<Taken, Duration> {
        self.reserve(word, now, Duration::ZERO).map(|(taken, _)| taken)
    }

    /// Takes one event that may become available only after a wait. The wait is at most `patience`
    /// and less than [`LONGEST_WAIT`]. The caller waits for the returned time, and then has the
    /// event.
    ///
    /// # Errors
    /// [`Duration`] if the wait would be longer: the length of that wait.
    pub fn reserve(
        &self,
        word: &mut Nanos,
        now: Nanos,
        patience: Duration,
    ) -> Result<(Taken, Duration), Duration> {
        match self.missing(*word, now) {
            wait if wait <= patience && wait < LONGEST_WAIT => Ok((self.charge(word, now), wait)),
            wait => Err(wait),
        }
    }

    /// Returns the number of available events, without taking one.
    pub fn remaining(&self, word: Nanos, now: Nanos) -> u32 {
        let left = self.capacity.saturating_sub(self.owed(word, now)) / self.interval;
        u32::try_from(left).unwrap_or(self.burst)
    }

    /// Returns the time until an event is available, without taking it. Zero if one is available
    /// now.
    pub fn missing(&self, word: Nanos, now: Nanos) -> Duration {
        let after = self.owed(word, now).saturating_add(self.interval);
        Duration::from_nanos(after.saturating_sub(self.capacity))
    }

    fn charge(&self, word: &mut Nanos, now: Nanos) -> Taken {
        *word = now.saturating_add(self.owed(*word, now)).saturating_add(self.interval);
        Taken { cost: self.interval, paid: *word }
    }

    /// Returns the caller's debt, limited to the largest that can arise under this quota: the word
    /// may have been written under a slower rate, before a reload.
    fn owed(&self, word: Nanos, now: Nanos) -> Nanos {
        word.saturating_sub(now).min(self.capacity.saturating_add(nanos(LONGEST_WAIT)))
    }
}

impl Taken {
    /// Gives the event back, except for the part that time has paid for by now. A caller that kept
    /// many events for long does not get a second burst.
    pub fn give_back(self, word: &mut Nanos, now: Nanos) {
        *word = word.saturating_sub(self.cost.min(self.paid.saturating_sub(now)));
    }
}

/// Returns the duration in nanoseconds, at most 584 years.
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn per_second(count: u32, burst: u32) -> Quota {
        Quota::new(count, Duration::from_secs(1), burst)
    }

    #[test]
    fn a_quota_admits_a_burst_and_then_the_rate() {
        let (quota, mut word) = (per_second(2, 3), 0);
        for left in [3, 2, 1] {
            assert_eq!(quota.remaining(word, 0), left);
            let _ = quota.take(&mut word, 0).unwrap();
        }
        assert_eq!(quota.remaining(word, 0), 0);
        assert_eq!(quota.take(&mut word, 0), Err(Duration::from_millis(500)));
        assert_eq!(quota.take(&mut word, SECOND / 4), Err(Duration::from_millis(250)));
        let _ = quota.take(&mut word, SECOND / 2).unwrap();
        assert_eq!(quota.take(&mut word, SECOND / 2), Err(Duration::from_millis(500)));
        assert_eq!(quota.remaining(word, 100 * SECOND), 3, "rest brings no more than a burst");
    }

    /// Checks the window as Docker Hub's headers give it: `5000;w=3600`.
    #[test]
    fn the_window_is_the_time_of_a_burst() {
        let quota = Quota::new(5000, Duration::from_secs(3600), 5000);
        assert_eq!((quota.burst(), quota.window()), (5000, Duration::from_secs(3600)));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (quota, mut word) = (per_second(1, 2), 0);
        let first = quota.take(&mut word, 0).unwrap();
        let second = quota.take(&mut word, 0).unwrap();
        second.give_back(&mut word, SECOND / 2);
        let _ = quota.take(&mut word, SECOND / 2).unwrap();
        assert!(quota.take(&mut word, SECOND / 2).is_err());
        // Time has paid for the first event by then.
        first.give_back(&mut word, SECOND);
        assert_eq!(quota.remaining(word, SECOND), 1);
    }

    #[test]
    fn a_place_in_the_near_future_can_be_reserved() {
        let (quota, mut word) = (per_second(2, 1), 0);
        let wait = |word: &mut Nanos| {
            quota
                .reserve(word, 0, LONGEST_WAIT)
                .map(|(_, wait)| wait.as_millis())
                .map_err(|wait| wait.as_millis())
        };
        let waits: Vec<_> = (0..5).map(|_| wait(&mut word)).collect();
        assert_eq!(waits, [Ok(0), Ok(500), Ok(1000), Ok(1500), Err(2000)]);
        assert_eq!(
            quota.take(&mut word, 0),
            Err(Duration::from_secs(2)),
            "whoever does not wait comes after those"
        );
        let _ = quota.take(&mut word, 2 * SECOND).unwrap();
    }

    #[test]
    fn a_faster_rate_caps_the_debt_from_a_slower_rate() {
        let (slow, fast, mut word) =
            (Quota::new(1, Duration::from_secs(3600), 1000), per_second(100, 100), 0);
        while slow.take(&mut word, 0).is_ok() {}
        assert!(fast.missing(word, 0) <= LONGEST_WAIT + Duration::from_millis(10));
    }

    /// Sends requests for 10 s at twice the rate. (A burst of 1 saves up nothing: a request that
    /// comes a moment early has no effect.)
    #[test]
    fn requests_at_twice_the_rate_are_admitted_at_the_rate() {
        for (count, burst) in [(7, 2), (100, 2), (100, 200), (1000, 50), (99_991, 2)] {
            let (quota, mut word, mut admitted) = (per_second(count, burst), 0, 0);
            let step = SECOND / (2 * u64::from(count));
            for at in 0..20 * u64::from(count) {
                admitted += u64::from(quota.take(&mut word, at * step).is_ok());
            }
            let expected = u64::from(10 * count + burst);
            assert!(
                admitted <= expected && admitted * 100 >= expected * 95,
                "{admitted} of {expected}"
            );
        }
    }

    proptest! {
        /// Checks that no window admits more than the burst and the rate in it, for requests at any
        /// times, with or without waiting. Also checks that the returned wait is exact: the request
        /// passes after it, and not before.
        #[test]
        fn no_window_admits_more_than_the_burst_and_the_rate(
            count in 1_u32..1000,
            per in prop::sample::select(vec![1_u64, 60, 3600]),
            burst in 1_u32..50,
            requests in prop::collection::vec((0_u64..100, any::<bool>()), 1..200),
            scale in 1_u64..1_000_000_000,
        ) {
            let quota = Quota::new(count, Duration::from_secs(per), burst);
            let (mut word, mut now, mut admitted) = (0, SECOND, Vec::new());
            for (gap, waits) in requests {
                now += gap * scale;
                let outcome = match waits {
                    true => quota.reserve(&mut word, now, LONGEST_WAIT).map(|(_, wait)| wait),
                    false => quota.take(&mut word, now).map(|_| Duration::ZERO),
                };
                match outcome {
                    Ok(wait) => {
                        prop_assert!(wait < LONGEST_WAIT);
                        admitted.push(now + nanos(wait));
                    }
                    Err(wait) => {
                        let then = now + nanos(wait);
                        prop_assert!(quota.take(&mut word.clone(), then - 1).is_err());
                        prop_assert!(quota.take(&mut word.clone(), then).is_ok());
                    }
                }
            }
            prop_assert!(admitted.is_sorted());
            for (first, begin) in admitted.iter().enumerate() {
                for (last, end) in admitted.iter().enumerate().skip(first) {
                    let refilled =
                        u128::from(end - begin) * u128::from(count) / u128::from(per * SECOND);
                    let may = u128::from(burst) + refilled;
                    prop_assert!((last - first + 1) as u128 <= may);
                }
            }
        }

        /// Checks that giving back all events restores the state before, with no more than a burst.
        #[test]
        fn giving_back_all_events_restores_the_full_burst(
            count in 1_u32..100, burst in 1_u32..50, takes in 0_usize..100,
        ) {
            let (quota, mut word) = (per_second(count, burst), 0);
            let taken: Vec<_> =
                (0..takes).map_while(|_| quota.take(&mut word, SECOND).ok()).collect();
            for one in taken {
                one.give_back(&mut word, SECOND);
            }
            prop_assert_eq!(quota.remaining(word, SECOND), burst);
        }
    }
}
