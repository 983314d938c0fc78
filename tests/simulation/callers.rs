//! The callers of a simulation, and when and where they send requests.

use std::time::Duration;

use fastrand::Rng;
use moorgate::rate_limit::{Nanos, Quota, nanos};

/// The quotas of callers.
pub(crate) struct Quotas(pub(crate) Vec<QuotaKind>);

/// A quota and its numbers.
#[derive(Clone, Copy)]
pub(crate) struct QuotaKind {
    pub(crate) quota: Quota,
    /// Events in a second.
    pub(crate) rate: f64,
    pub(crate) burst: f64,
}

/// A caller that sends many requests.
pub(crate) struct Hot {
    pub(crate) caller: usize,
    /// Requests in a second.
    pub(crate) load: f64,
    pattern: Pattern,
    spread: Spread,
    /// The requests of the present burst that are left.
    left: u32,
}

/// The times of requests.
#[derive(Clone, Copy)]
enum Pattern {
    Even,
    Random,
    Bursts(u32),
}

/// The replicas that requests go to.
#[derive(Clone, Copy)]
enum Spread {
    One(usize),
    Even,
    Uneven,
    /// Nearly all to one of them.
    Mostly(usize),
    /// One at a time, and another after each of these times.
    Moving(Nanos),
}

impl QuotaKind {
    pub(crate) fn new(rate: u32, burst: u32) -> Self {
        let quota = Quota::new(rate, Duration::from_secs(1), burst);
        Self { quota, rate: rate.into(), burst: burst.into() }
    }

    /// Returns the events that one of so many replicas may use at once without the others.
    pub(crate) fn share(&self, replicas: f64) -> f64 {
        (self.burst / replicas).max(1.0)
    }
}

impl Quotas {
    pub(crate) fn random(random: &mut Rng) -> Self {
        let all = [(50, 100), (100, 200), (100, 20), (20, 40), (200, 50), (20, 12), (5, 60)];
        let kind = |random: &mut Rng| {
            let (rate, burst) = all[random.usize(..all.len())];
            QuotaKind::new(rate, burst)
        };
        Self((0..4).map(|_| kind(random)).collect())
    }

    pub(crate) fn of(&self, caller: usize) -> &QuotaKind {
        &self.0[caller % self.0.len()]
    }
}

impl Hot {
    pub(crate) fn random(random: &mut Rng, caller: usize, kind: &QuotaKind, busy: f64) -> Self {
        let times = [0.5, 0.9, 1.5, 2.0, 2.0, 3.0][random.usize(..6)];
        let pattern = match random.u8(..4) {
            0 => Pattern::Random,
            1 => Pattern::Bursts(random.u32(2..40)),
            _ => Pattern::Even,
        };
        let spread = match random.u8(..5) {
            0 => Spread::One(random.usize(..1000)),
            1 => Spread::Even,
            2 => Spread::Uneven,
            3 => Spread::Mostly(random.usize(..1000)),
            _ => Spread::Moving(nanos(Duration::from_millis(random.u64(300..6000)))),
        };
        Self { caller, load: times * kind.rate * busy, pattern, spread, left: 0 }
    }

    /// Returns the time from one request to the next.
    pub(crate) fn pause(&mut self, random: &mut Rng) -> Nanos {
        let mean = 1e9 / self.load;
        (match self.pattern {
            Pattern::Even => mean,
            Pattern::Random => -mean * random.f64().max(1e-9).ln(),
            Pattern::Bursts(length) if self.left == 0 => {
                self.left = length;
                mean * f64::from(length)
            }
            Pattern::Bursts(_) => 0.0,
        }) as Nanos
            + self.count()
    }

    fn count(&mut self) -> Nanos {
        self.left = self.left.saturating_sub(1);
        1000
    }

    /// Returns the place of the replica of a request, among `replicas` that run.
    pub(crate) fn place(&self, random: &mut Rng, replicas: usize, now: Nanos) -> usize {
        (match self.spread {
            Spread::One(place) => place,
            Spread::Even => random.usize(..replicas),
            Spread::Uneven => (random.f64().powi(3) * replicas as f64) as usize,
            Spread::Mostly(place) if random.u8(..10) > 0 => place,
            Spread::Mostly(_) => random.usize(..replicas),
            Spread::Moving(every) => (now / every) as usize,
        }) % replicas
    }

    /// Returns whether the load is steadily above the rate.
    pub(crate) fn is_steady(&self, kind: &QuotaKind) -> bool {
        !matches!(self.pattern, Pattern::Bursts(_)) && self.load >= 1.4 * kind.rate
    }
}
