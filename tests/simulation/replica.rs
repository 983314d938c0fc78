//! A replica of the simulation: its table of limits, its link to Redis, and its tasks.

use std::time::Instant;

use moorgate::rate_limit::shared::SharedTable;
use moorgate::rate_limit::{Nanos, nanos};

use super::gate::GateState;
use super::world::{GAP, TIMEOUT};

/// A task of a replica, which asks Redis one question at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Exchange,
    Beat,
    Read,
    /// The question about a credential with this number.
    Asks(u64),
}

/// The number of tasks with a state.
const TASKS: usize = 4;

/// A replica.
pub(crate) struct Replica {
    pub(crate) id: String,
    pub(crate) is_dead: bool,
    pub(crate) started: Nanos,
    pub(crate) table: SharedTable,
    /// The number of its session with Redis; `None` while the link is down.
    pub(crate) session: Option<u64>,
    /// `Some` while the network between it and Redis is cut; `true` if calls are refused at once.
    pub(crate) cut: Option<bool>,
    /// The replicas that it knows, and those of them that answer. (1, 1) until the first beat.
    pub(crate) known: (u32, u32),
    pub(crate) has_heard: bool,
    /// The last time at which it had Redis.
    pub(crate) had_redis: Option<Nanos>,
    /// `true` if its table takes events from Redis.
    pub(crate) is_connected: bool,
    /// The time until which it counts as alone for the bounds: its table was without Redis then.
    pub(crate) alone_until: Nanos,
    pub(crate) tasks: [TaskState; TASKS],
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) gate: GateState,
}

/// The state of a task.
#[derive(Clone, Copy, Default)]
pub(crate) struct TaskState {
    /// The number of the wake-up that counts.
    pub(crate) turn: u64,
    /// `true` while it waits for an answer.
    pub(crate) is_calling: bool,
    /// `true` if it was woken while it waited for an answer.
    pub(crate) is_wanted: bool,
}

/// A request that waits for Redis.
pub(crate) struct Waiting {
    pub(crate) caller: usize,
    pub(crate) deadline: Nanos,
}

impl Replica {
    /// Creates a replica that starts.
    pub(crate) fn new(number: usize, started: Nanos, at: Instant) -> Self {
        let id = format!("{number:016x}");
        let table = SharedTable::new(number % 2 == 1);
        table.set_key([1, 2]);
        Self {
            is_dead: false,
            started,
            table,
            session: None,
            cut: None,
            known: (1, 1),
            has_heard: false,
            had_redis: None,
            is_connected: false,
            alone_until: started,
            tasks: Default::default(),
            waiting: Vec::new(),
            gate: GateState::new(&id, at),
            id,
        }
    }

    pub(crate) fn task(&mut self, task: Task) -> &mut TaskState {
        let place = match task {
            Task::Exchange => 0,
            Task::Beat => 1,
            Task::Read => 2,
            Task::Asks(_) => 3,
        };
        &mut self.tasks[place]
    }

    /// Adds a request that waits for the next answer.
    pub(crate) fn wait(&mut self, caller: usize, now: Nanos) -> Nanos {
        let deadline = now + nanos(TIMEOUT);
        self.waiting.push(Waiting { caller, deadline });
        deadline
    }

    /// Returns the time from now to the next exchange, if nothing wakes it.
    pub(crate) fn pause(&self) -> Nanos {
        if self.table.is_awaited() {
            nanos(GAP)
        } else {
            nanos(moorgate::rate_limit::shared::PERIOD)
        }
    }
}
