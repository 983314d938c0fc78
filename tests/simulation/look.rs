//! The state of all replicas, from which the bounds follow.

use moorgate::rate_limit::{Nanos, nanos};

use super::audit::Standing;
use super::scenario::START;
use super::world::World;

pub(crate) const SECOND: Nanos = 1_000_000_000;

/// The time between two steps of the bounds.
pub(crate) const LOOK: Nanos = 100_000_000;

/// The time for which a replica that lost Redis may count as one that answers: until the others
/// have heard of its silence.
const LAG: Nanos = 5 * SECOND;

/// The time after which a silent replica is gone, at the earliest.
const GONE: Nanos = 26 * SECOND;

/// The time for which a dead replica may still count.
const DISTURBS: Nanos = 31 * SECOND;

/// The time after a disturbance from which on the replicas must admit what one gate admits.
const SETTLED: usize = 8;

/// The seconds over which the admitted events are compared with the rate.
const WINDOW: usize = 10;

impl World {
    /// Moves the bounds on.
    pub(crate) fn look(&mut self) {
        let now = self.now;
        let mut connected = 0.0;
        let mut alone = Vec::new();
        let mut is_disturbed = false;
        for number in 0..self.replicas.len() {
            let replica = &mut self.replicas[number];
            if replica.is_dead {
                let had = replica.had_redis.map(|had| had.max(self.lost_data));
                is_disturbed |= had.is_some_and(|had| now < had + DISTURBS);
                connected += f64::from(replica.had_redis.is_some_and(|at| now - at < LAG));
                continue;
            }
            let has_redis = replica.session.is_some() && replica.has_heard;
            if has_redis {
                replica.had_redis = Some(now);
            } else {
                replica.alone_until = now + LOOK;
                is_disturbed = true;
            }
            if replica.had_redis.is_some_and(|at| now - at < LAG) {
                connected += 1.0;
            }
            if replica.alone_until >= now {
                alone.push(self.last_known(number));
            }
        }
        if is_disturbed {
            self.disturbed();
        }
        let standing =
            Standing { connected, known: self.known_at(now), alone, running: self.running() };
        self.audit.pass(&self.quotas, LOOK as f64 / 1e9, &standing);
    }

    /// Returns the number of replicas that one of them knew when it had Redis last.
    pub(crate) fn last_known(&self, number: usize) -> f64 {
        self.replicas[number].had_redis.map_or(1.0, |at| self.known_at(at)).max(1.0)
    }

    /// Returns the smallest number of replicas that may be known at a time: those that have beaten
    /// for two seconds, and within the time after which they are gone.
    fn known_at(&self, at: Nanos) -> f64 {
        let lost = self.lost_data;
        let counts = |replica: &&super::replica::Replica| {
            // One that dies soon after a loss of data may not have beaten since.
            let since = if replica.is_dead { lost + 2 * SECOND } else { lost };
            replica.started + 2 * SECOND <= at
                && replica
                    .had_redis
                    .is_some_and(|had| had + GONE >= at && (had >= since || at < lost))
        };
        self.replicas.iter().filter(counts).count() as f64
    }

    /// Returns by how much the age of a verdict may be wrong: by the steps of the clocks of Redis,
    /// as long as those of replicas were set as well.
    pub(crate) fn clock_error(&self) -> Nanos {
        let (redis, walls) = self.stepped;
        redis.min(walls) * 1000
    }

    pub(crate) fn running(&self) -> f64 {
        self.replicas.iter().filter(|replica| !replica.is_dead).count() as f64
    }

    /// Notes that something disturbs the replicas.
    pub(crate) fn disturbed(&mut self) {
        let now = self.now;
        self.audit.disturbed.push(now);
    }

    /// Checks that callers with enough requests were admitted as often as their rate allows,
    /// wherever nothing disturbed the replicas.
    pub(crate) fn is_enough(&self, end: usize) -> Result<(), String> {
        let first = (nanos(START) / SECOND) as usize + SETTLED;
        // Events are leased as a whole, and many replicas hold more of them than a few.
        let part = if self.replicas.len() <= 5 { 0.05 } else { 0.2 };
        for (number, hot) in self.hot.iter().enumerate() {
            let kind = self.quotas.of(hot.caller);
            if !hot.is_steady(kind) {
                continue;
            }
            for window in first..end.saturating_sub(WINDOW) {
                let from = (window.saturating_sub(SETTLED)) as Nanos * SECOND;
                let to = (window + WINDOW) as Nanos * SECOND;
                if self.audit.disturbed.iter().any(|at| (from..to).contains(at)) {
                    continue;
                }
                let admitted = f64::from(self.audit.admitted(number, window, WINDOW));
                let expected = kind.rate * WINDOW as f64;
                let tolerated = part * (expected + kind.burst) + 2.0;
                if admitted < expected - tolerated {
                    return Err(format!(
                        "caller {number} ({}/s, burst {}) was admitted {admitted} times from {window} s on, \
                         not {expected}",
                        kind.rate, kind.burst
                    ));
                }
            }
        }
        Ok(())
    }
}
