//! What happens in a run: its size, and the faults. All of it follows from the seed.

use std::time::Duration;

use fastrand::Rng;
use moorgate::rate_limit::{Nanos, nanos};

/// The plan of a run.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) replicas: usize,
    pub(crate) callers: usize,
    pub(crate) hot: usize,
    /// Requests of all other callers in a second.
    pub(crate) crowd: f64,
    pub(crate) credentials: usize,
    /// Requests with credentials in a second.
    pub(crate) logins: f64,
    /// `true` if an attacker has Redis for a while.
    pub(crate) is_attacked: bool,
    pub(crate) length: Duration,
    /// The faults and their times, in order.
    pub(crate) faults: Vec<(Nanos, Fault)>,
}

/// A fault, or its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The network between a replica and Redis is cut; `true`: calls are refused at once.
    Cut(usize, bool),
    Mended(usize),
    /// Redis answers nobody.
    Down,
    Up,
    /// Redis loses its data.
    Lost,
    /// Redis has its data of now again later.
    Saved,
    /// Redis has the data that it had when they were saved.
    WentBack,
    /// The clock of Redis is set by so many microseconds.
    Clock(i64),
    /// The wall clock of a replica is set by so many microseconds.
    Wall(usize, i64),
    ProviderDown,
    ProviderUp,
    /// A replica dies.
    Died(usize),
    /// A replica starts.
    Started,
}

/// The time after the faults in which all replicas must come to know all.
pub(crate) const CALM: Duration = Duration::from_secs(15);

/// The time in which all replicas get to know each other.
pub(crate) const START: Duration = Duration::from_secs(13);

impl Scenario {
    /// Creates the plan of a seed. Each tenth one is a large one, and each third has no faults.
    pub(crate) fn new(seed: u64, random: &mut Rng) -> Self {
        let is_large = seed.is_multiple_of(10);
        let replicas = match (is_large, random.u8(..4)) {
            (true, 0) => 200,
            (true, _) => random.usize(30..150),
            (false, 0) => random.usize(6..16),
            (false, _) => random.usize(2..6),
        };
        let length = Duration::from_millis(if is_large {
            random.u64(12_000..16_000)
        } else {
            random.u64(20_000..45_000)
        });
        let faults = if seed.is_multiple_of(3) { 0 } else { random.usize(1..12) };
        let mut scenario = Self {
            replicas,
            callers: if is_large { 100_000 } else { random.usize(1000..20_000) },
            hot: random.usize(4..12),
            crowd: if is_large { 5000.0 } else { 600.0 },
            credentials: 2 * random.usize(5..40),
            logins: if is_large { 500.0 } else { 200.0 },
            is_attacked: faults > 0 && random.u8(..4) == 0,
            length,
            faults: Vec::new(),
        };
        for _ in 0..faults {
            scenario.add_fault(random);
        }
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }

    fn add_fault(&mut self, random: &mut Rng) {
        let length = nanos(self.length);
        let at = nanos(START) + random.u64(..length);
        // Of all lengths, from a tenth of a second to a minute.
        let lasts = (1e8 * 600_f64.powf(random.f64())) as Nanos;
        let replica = random.usize(..self.replicas);
        let faults = &mut self.faults;
        match random.u8(..14) {
            0..4 => {
                faults.push((at, Fault::Cut(replica, random.bool())));
                faults.push((at + lasts, Fault::Mended(replica)));
            }
            4 => {
                faults.push((at, Fault::Down));
                faults.push((at + lasts, Fault::Up));
            }
            5 => faults.push((at, Fault::Lost)),
            6 => {
                faults.push((at, Fault::Saved));
                faults.push((at + lasts / 20, Fault::WentBack));
            }
            7 => {
                let step = if random.bool() { 5_000_000 } else { -5_000_000 };
                faults.push((at, Fault::Clock(step)));
            }
            8 => faults.push((at, Fault::Died(replica))),
            9 => faults.push((at, Fault::Started)),
            10 => {
                let step = if random.bool() { 5_000_000 } else { -5_000_000 };
                faults.push((at, Fault::Wall(replica, step)));
            }
            11 => {
                faults.push((at, Fault::ProviderDown));
                faults.push((at + lasts / 4, Fault::ProviderUp));
            }
            _ => {
                faults.push((at, Fault::Died(replica)));
                faults.push((at + lasts / 20, Fault::Started));
            }
        }
    }
}
