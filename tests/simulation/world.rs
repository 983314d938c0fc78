//! The world of a run: the clock, the replicas, Redis, and the messages between them.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use moorgate::rate_limit::shared::SharedTaken;
use moorgate::rate_limit::{Nanos, nanos};

use super::attack::Attacker;
use super::audit::Audit;
use super::callers::{Hot, Quotas};
use super::provider::Provider;
use super::redis::{Answer, Question, Redis, RedisData};
use super::replica::{Replica, Task};
use super::revoking::Fact;
use super::scenario::{Fault, Scenario};

/// The shortest time between two exchanges of a replica, if requests wait.
pub(crate) const GAP: Duration = Duration::from_millis(5);

/// The longest time of a question to Redis.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(50);

/// The longest time for which a replica waits for an entry of a stream.
pub(crate) const BLOCK: Duration = Duration::from_millis(500);

/// The world.
pub(crate) struct World {
    pub(crate) random: Rng,
    pub(crate) now: Nanos,
    pub(crate) scenario: Scenario,
    queue: BinaryHeap<Scheduled>,
    order: u64,
    pub(crate) redis: Redis,
    pub(crate) saved: Option<RedisData>,
    /// The last time at which Redis lost its data.
    pub(crate) lost_data: Nanos,
    /// The replicas that wait for an entry of a stream.
    pub(crate) blocked: Vec<Call>,
    pub(crate) replicas: Vec<Replica>,
    /// The replicas that requests are sent to.
    pub(crate) serving: Vec<usize>,
    pub(crate) quotas: Quotas,
    pub(crate) hot: Vec<Hot>,
    pub(crate) audit: Audit,
    sessions: u64,
    pub(crate) calls: u64,
    pub(crate) requests: u64,
    pub(crate) provider: Provider,
    pub(crate) revoked: Vec<Fact>,
    pub(crate) attacker: Attacker,
    /// The questions about credentials so far, and their outcomes.
    pub(crate) asked: u64,
    pub(crate) learned: u64,
    pub(crate) let_in: u64,
    pub(crate) refused: u64,
    /// The instant of the time 0.
    pub(crate) start: Instant,
    /// By how much the clocks of Redis and of replicas were set, in microseconds.
    pub(crate) stepped: (u64, u64),
    pub(crate) is_calm: bool,
    failure: Option<String>,
    pub(crate) trace: bool,
    /// The caller whose events are printed.
    pub(crate) watched: Option<usize>,
}

/// Something that happens at a time.
struct Scheduled {
    at: Nanos,
    order: u64,
    event: Event,
}

pub(crate) enum Event {
    /// A caller of the crowd sends a request.
    Crowd,
    /// A hot caller sends a request.
    Hot(usize),
    /// Some caller sends three bursts within a second, over all replicas.
    Flood,
    /// A caller sends a request to the replica at this place.
    Request(usize, usize),
    /// A replica gives an event of a caller back.
    GivesBack(usize, usize, SharedTaken),
    /// A task of a replica goes on, if this is the wake-up that counts.
    Turn(usize, Task, u64),
    /// A question reaches Redis.
    Arrives(Call),
    /// A question waited for long enough.
    Unblocks(u64),
    Answered(Call, Answer),
    /// A question has failed.
    Failed(usize, u64),
    /// A replica looks again whether another one knows the answer to a question.
    LooksAgain(usize, u64),
    /// The provider hears a question of a replica.
    Hears(usize, u64),
    /// A replica has the answer of the provider.
    Verdict(usize, u64, Option<bool>),
    /// A request with a credential comes.
    Login,
    /// The truth about a credential changes, and an operator may revoke it.
    Changes,
    /// An attacker at Redis does something.
    Attack,
    /// A second after a revocation.
    Confirmed(usize),
    /// The faults end.
    Calm,
    /// Requests of a replica have waited for long enough.
    Deadline(usize),
    /// A replica connects to Redis.
    Connects(usize),
    /// A replica may be sent requests.
    Serves(usize),
    Fault(Fault),
    /// The bounds are moved on.
    Look,
}

/// A question under way.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) number: u64,
    pub(crate) replica: usize,
    pub(crate) session: u64,
    pub(crate) task: Task,
    pub(crate) question: Question,
    pub(crate) sent: Nanos,
}

impl World {
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        let scenario = Scenario::new(seed, &mut random);
        let quotas = Quotas::random(&mut random);
        let busy = if scenario.replicas > 50 { 0.5 } else { 1.0 };
        let hot: Vec<_> = (0..scenario.hot)
            .map(|caller| Hot::random(&mut random, caller, quotas.of(caller), busy))
            .collect();
        let provider = Provider::new(scenario.credentials, &mut random);
        let audit = Audit::new(&quotas, scenario.callers, hot.len());
        Self {
            random,
            now: nanos(Duration::from_secs(10)),
            scenario,
            queue: BinaryHeap::new(),
            order: 0,
            redis: Redis::new(),
            saved: None,
            lost_data: 0,
            blocked: Vec::new(),
            replicas: Vec::new(),
            serving: Vec::new(),
            quotas,
            hot,
            audit,
            sessions: 0,
            calls: 0,
            requests: 0,
            provider,
            revoked: Vec::new(),
            attacker: Attacker::default(),
            asked: 0,
            learned: 0,
            let_in: 0,
            refused: 0,
            start: Instant::now(),
            stepped: (0, 0),
            is_calm: false,
            failure: None,
            trace,
            watched: None,
        }
    }

    pub(crate) fn after(&mut self, time: Nanos, event: Event) {
        self.order += 1;
        self.queue.push(Scheduled { at: self.now + time, order: self.order, event });
    }

    /// Moves the clock to the next event until `end`, and returns the event.
    pub(crate) fn next(&mut self, end: Nanos) -> Option<Event> {
        let Scheduled { at, event, .. } = self.queue.pop()?;
        self.now = at;
        (at <= end).then_some(event)
    }

    /// Makes a task go on after this time, unless it is woken before.
    pub(crate) fn schedule(&mut self, replica: usize, task: Task, after: Nanos) {
        let state = self.replicas[replica].task(task);
        state.turn += 1;
        let turn = state.turn;
        self.after(after, Event::Turn(replica, task, turn));
    }

    /// Wakes a task.
    pub(crate) fn wake(&mut self, replica: usize, task: Task) {
        let is_up = self.replicas[replica].session.is_some();
        let state = self.replicas[replica].task(task);
        if state.is_calling || !is_up {
            state.is_wanted = true;
        } else {
            self.schedule(replica, task, 0);
        }
    }

    /// Sends a question of a task.
    pub(crate) fn call(&mut self, replica: usize, task: Task, question: Question) {
        let Some(session) = self.replicas[replica].session else { return };
        self.calls += 1;
        let (number, sent) = (self.calls, self.now);
        self.replicas[replica].task(task).is_calling = true;
        let call = Call { number, replica, session, task, question, sent };
        match self.replicas[replica].cut {
            Some(true) => self.after(1_000_000, Event::Failed(replica, session)),
            Some(false) => self.after(nanos(TIMEOUT), Event::Failed(replica, session)),
            None => {
                let way = self.way();
                self.after(way, Event::Arrives(call));
            }
        }
    }

    /// Returns the time that a message takes.
    fn way(&mut self) -> Nanos {
        let most = if self.random.u8(..100) == 0 { 20_000_000 } else { 800_000 };
        self.random.u64(50_000..most)
    }

    /// Has Redis answer a question.
    pub(crate) fn arrives(&mut self, mut call: Call) {
        let replica = &self.replicas[call.replica];
        if replica.is_dead {
            // It may have asked just before.
            if self.random.bool() {
                return;
            }
        } else if self.redis.is_down || replica.cut.is_some() {
            return self.lost(&call);
        }
        let replica = &self.replicas[call.replica];
        let epoch = format!("{:016x}", self.random.u64(..));
        let (id, known) = (&replica.id, replica.known);
        let is_change =
            !matches!(call.question, Question::Read(..) | Question::Claim(..) | Question::Put(..));
        let answer = self.redis.answer(self.now, id, known, &mut call.question, &epoch);
        match answer {
            Some(answer) => self.reply(call, answer),
            None => {
                self.after(nanos(BLOCK), Event::Unblocks(call.number));
                self.blocked.push(call);
            }
        }
        if is_change {
            self.wake_readers();
        }
    }

    /// Answers the replicas that wait for an entry, if there is one.
    pub(crate) fn wake_readers(&mut self) {
        for mut blocked in std::mem::take(&mut self.blocked) {
            match self.redis.answer(self.now, "", (1, 1), &mut blocked.question, "") {
                Some(answer) => self.reply(blocked, answer),
                None => self.blocked.push(blocked),
            }
        }
    }

    /// Ends the wait of a replica for an entry of a stream.
    pub(crate) fn unblocks(&mut self, number: u64) {
        let Some(place) = self.blocked.iter().position(|call| call.number == number) else {
            return;
        };
        let call = self.blocked.swap_remove(place);
        self.reply(call, Answer::Entries(Vec::new()));
    }

    fn reply(&mut self, call: Call, answer: Answer) {
        let way = self.way();
        self.after(way, Event::Answered(call, answer));
    }

    /// The replica learns that a question was lost when its time is over.
    pub(crate) fn lost(&mut self, call: &Call) {
        let limit = nanos(TIMEOUT) + if call.task == Task::Read { nanos(BLOCK) } else { 0 };
        let left = (call.sent + limit).saturating_sub(self.now);
        self.after(left, Event::Failed(call.replica, call.session));
    }

    /// Returns the number of a new session with Redis.
    pub(crate) fn session(&mut self) -> u64 {
        self.sessions += 1;
        self.sessions
    }

    /// Returns the instant of a time.
    pub(crate) fn at(&self, time: Nanos) -> Instant {
        self.start + Duration::from_nanos(time)
    }

    /// Ends the run, because a condition does not hold.
    pub(crate) fn fail(&mut self, why: String) {
        let at = self.now as f64 / 1e9;
        self.failure.get_or_insert(format!("at {at:.3} s, {why}"));
    }

    pub(crate) fn failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    pub(crate) fn say(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9.3} {}", self.now as f64 / 1e9, text());
        }
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The earliest is the greatest, because the queue gives out the greatest first.
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}
