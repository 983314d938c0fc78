//! The limits of three replicas whose connections to Redis work, beside those of one gate: callers
//! at twice the rate, in every kind of uneven load.

use std::time::Duration;

use super::lease_model::LeaseModel;
use moorgate::rate_limit::shared::{PERIOD, Reservation, SharedTable};
use moorgate::rate_limit::{Nanos, Quota, nanos};

/// The time that a run takes.
const SECONDS: u32 = 10;

/// The time from one step of a run to the next.
const STEP: Duration = Duration::from_millis(1);

/// The shortest time between two calls of a replica, if requests wait.
const GAP: Duration = Duration::from_millis(5);

/// The longest wait of a request for Redis.
const TIMEOUT: Duration = Duration::from_millis(50);

/// One replica, and the load of the one caller on it.
struct Replica {
    name: String,
    table: SharedTable,
    /// The time between two requests; `None`: there are none.
    every: Option<Duration>,
    next: Nanos,
    called_at: Nanos,
    /// The requests that wait for Redis, by the time at which they came.
    waiting: Vec<Nanos>,
}

/// Runs all of them.
pub(crate) fn all() {
    for (rate, burst) in
        [(50, 100), (100, 200), (100, 2), (100, 5), (10, 20), (1000, 50), (100, 1000), (20, 12)]
    {
        for parts in [[100, 0, 0], [70, 20, 10], [34, 33, 33], [50, 50, 0]] {
            let quota = Quota::new(rate, Duration::from_secs(1), burst);
            let admitted = twice_the_rate(quota, rate, &parts);
            let expected = rate * SECONDS + burst;
            println!("{rate}/s burst {burst}, load {parts:?}: {admitted} of {expected}");
            assert!(admitted <= expected, "more than one gate would admit");
            assert!(admitted * 100 >= expected * 95, "less than 95 %");
        }
    }
}

/// Sends requests of one caller at twice the rate, in these parts of 100 to the replicas. Returns
/// the number of admitted requests.
fn twice_the_rate(quota: Quota, rate: u32, parts: &[u32]) -> u32 {
    let count = u32::try_from(parts.len()).unwrap();
    let start = nanos(Duration::from_secs(10));
    let mut replicas: Vec<_> = parts
        .iter()
        .enumerate()
        .map(|(number, part)| Replica::new(number, count, 2 * rate * part, start))
        .collect();
    let (mut model, mut rung, mut admitted) = (LeaseModel::default(), 0, 0);
    for step in 0..SECONDS * 1000 {
        let now = start + nanos(STEP * step);
        for replica in &mut replicas {
            admitted += replica.step(quota, &mut model, count, now);
        }
        for bell in &model.bells[rung..] {
            for replica in &replicas {
                replica.table.hear(bell.key, bell.quota, now);
            }
        }
        rung = model.bells.len();
    }
    admitted
}

impl Replica {
    /// Creates a replica with this load, in requests per 100 seconds.
    fn new(number: usize, count: u32, load: u32, start: Nanos) -> Self {
        let table = SharedTable::new(false);
        table.set_key([1, 2]);
        table.set_replicas(count);
        table.set_connected(true, start);
        let every = (load > 0).then(|| Duration::from_secs(100) / load);
        let name = format!("replica{number}");
        Self { name, table, every, next: start, called_at: 0, waiting: Vec::new() }
    }

    /// Lets requests come, and exchanges events with Redis when it is time. Returns the number of
    /// admitted requests.
    fn step(&mut self, quota: Quota, model: &mut LeaseModel, count: u32, now: Nanos) -> u32 {
        let mut admitted = 0;
        while let Some(every) = self.every
            && self.next <= now
        {
            self.next += nanos(every);
            admitted += self.request(quota, now, now);
        }
        let gap = if self.table.is_awaited() { GAP } else { PERIOD };
        if now - self.called_at < nanos(gap) {
            return admitted;
        }
        self.called_at = now;
        let questions = self.table.plan(now, 256);
        let tagged: Vec<_> = questions.iter().map(|question| ('i', question.clone())).collect();
        let time = now as f64 / 1000.0;
        let answers = model.call(time, &self.name, (count, count), &tagged);
        self.table.apply(&questions, &answers, count, now);
        for came in std::mem::take(&mut self.waiting) {
            if now - came <= nanos(TIMEOUT) {
                admitted += self.request(quota, came, now);
            }
        }
        admitted
    }

    /// Tries a request that came at `came`. Returns 1 if it is admitted.
    fn request(&mut self, quota: Quota, came: Nanos, now: Nanos) -> u32 {
        let key = self.table.key(&"caller");
        match self.table.reserve(key, quota, now, Duration::ZERO, came == now) {
            Reservation::Taken(..) => return 1,
            Reservation::Refused(_) => {}
            Reservation::Ask(_) => self.waiting.push(came),
        }
        0
    }
}
