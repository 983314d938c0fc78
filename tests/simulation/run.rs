//! One run of the simulation: what happens at each event.

use std::time::Duration;

use moorgate::rate_limit::shared::Reservation;
use moorgate::rate_limit::{Nanos, nanos};

use super::look::{LOOK, SECOND};
use super::redis::{Answer, Question};
use super::replica::{Replica, Task};
use super::scenario::{Fault, START};
use super::world::{Call, Event, World};

/// The time between two beats.
const BEAT: Duration = Duration::from_secs(1);

impl World {
    /// Runs the world to its end.
    ///
    /// # Errors
    /// The condition that does not hold.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for _ in 0..self.scenario.replicas {
            self.start();
        }
        for (at, fault) in self.scenario.faults.clone() {
            self.after(at.saturating_sub(self.now), Event::Fault(fault));
        }
        self.after(0, Event::Look);
        self.after(nanos(START), Event::Flood);
        let begin = nanos(START).saturating_sub(self.now);
        self.after(begin, Event::Crowd);
        for hot in 0..self.hot.len() {
            let offset = self.random.u64(..SECOND);
            self.after(begin + offset, Event::Hot(hot));
        }
        let end = nanos(START) + nanos(self.scenario.length);
        while let Some(event) = self.next(end) {
            self.happens(event);
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
        }
        self.now = end;
        self.is_enough()
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Crowd => {
                let caller = self.random.usize(self.hot.len()..self.scenario.callers);
                let place = self.random.usize(..1000);
                self.request(caller, place);
                let pause = -1e9 / self.scenario.crowd * self.random.f64().max(1e-9).ln();
                self.after(pause as Nanos, Event::Crowd);
            }
            Event::Hot(number) => {
                let replicas = self.serving.len();
                if replicas > 0 {
                    let place = self.hot[number].place(&mut self.random, replicas, self.now);
                    self.request(self.hot[number].caller, place);
                }
                let pause = self.hot[number].pause(&mut self.random);
                self.after(pause, Event::Hot(number));
            }
            Event::Flood => {
                let caller = self.hot.len() + self.random.usize(..4);
                let most = self.quotas.of(caller).burst as usize * 3;
                for _ in 0..most {
                    let (soon, place) = (self.random.u64(..SECOND), self.random.usize(..1000));
                    self.after(soon, Event::Request(caller, place));
                }
            }
            Event::Request(caller, place) => self.request(caller, place),
            Event::GivesBack(replica, caller, taken) => {
                let replica = &self.replicas[replica];
                if !replica.is_dead {
                    replica.table.give_back(replica.table.key(&caller), taken, self.now);
                    self.audit.give_back(caller);
                }
            }
            Event::Turn(replica, task, turn) => self.turn(replica, task, turn),
            Event::Arrives(call) => self.arrives(call),
            Event::Unblocks(number) => self.unblocks(number),
            Event::Answered(call, answer) => self.answered(call, answer),
            Event::Failed(replica, session) => {
                if self.replicas[replica].session == Some(session) {
                    self.link_down(replica);
                }
            }
            Event::Deadline(replica) => self.deadline(replica),
            Event::Connects(replica) => self.connects(replica),
            Event::Serves(replica) => {
                if !self.replicas[replica].is_dead {
                    self.serving.push(replica);
                }
            }
            Event::Fault(fault) => self.fault(fault),
            Event::Look => {
                self.look();
                self.after(LOOK, Event::Look);
            }
        }
    }

    /// Sends a request of a caller to the replica at this place.
    fn request(&mut self, caller: usize, place: usize) {
        if self.serving.is_empty() {
            return;
        }
        self.requests += 1;
        let replica = self.serving[place % self.serving.len()];
        if !self.try_request(caller, replica, true) {
            let deadline = self.replicas[replica].wait(caller, self.now);
            self.after(deadline - self.now, Event::Deadline(replica));
            self.wake(replica, Task::Exchange);
        }
    }

    /// Tries a request. Returns `false` if Redis must be asked first.
    fn try_request(&mut self, caller: usize, number: usize, first: bool) -> bool {
        let quota = self.quotas.of(caller).quota;
        let replica = &self.replicas[number];
        let key = replica.table.key(&caller);
        match replica.table.reserve(key, quota, self.now, Duration::ZERO, first) {
            Reservation::Ask(_) => return false,
            Reservation::Refused(_) => {}
            Reservation::Taken(taken, _) => {
                if let Err(beyond) = self.audit.admit(&self.quotas, caller, self.now) {
                    let kind = self.quotas.of(caller);
                    self.failure.get_or_insert(format!(
                        "at {:.3} s, replica {number} admits {beyond:.1} events of caller {caller} \
                         ({}/s, burst {}) beyond the bound",
                        self.now as f64 / 1e9,
                        kind.rate,
                        kind.burst
                    ));
                }
                if self.random.u8(..50) == 0 {
                    let later = self.random.u64(..2 * SECOND);
                    self.after(later, Event::GivesBack(number, caller, taken));
                }
            }
        }
        true
    }

    /// Lets the requests go on that have waited for Redis.
    fn round(&mut self, number: usize) {
        for waiting in std::mem::take(&mut self.replicas[number].waiting) {
            if !self.try_request(waiting.caller, number, false) {
                self.replicas[number].waiting.push(waiting);
            }
        }
        if !self.replicas[number].waiting.is_empty() {
            self.replicas[number].task(Task::Exchange).is_wanted = true;
        }
    }

    /// Lets the requests go on that have waited for too long: without Redis.
    fn deadline(&mut self, number: usize) {
        let now = self.now;
        let waiting = &self.replicas[number].waiting;
        if self.replicas[number].is_dead || !waiting.iter().any(|it| it.deadline <= now) {
            return;
        }
        self.disconnect(number);
        let waiting = std::mem::take(&mut self.replicas[number].waiting);
        let (late, early) = waiting.into_iter().partition(|waiting| waiting.deadline <= now);
        self.replicas[number].waiting = early;
        let late: Vec<super::replica::Waiting> = late;
        for waiting in late {
            self.try_request(waiting.caller, number, false);
        }
    }

    /// Makes a table go on without Redis.
    pub(crate) fn disconnect(&mut self, number: usize) {
        let now = self.now;
        let replica = &mut self.replicas[number];
        replica.table.set_connected(false, now);
        let is_new = replica.alone_until < now;
        replica.alone_until = now + LOOK;
        if is_new {
            let known = self.last_known(number);
            self.audit.add_share(&self.quotas, known);
            self.disturbed();
        }
    }

    fn turn(&mut self, number: usize, task: Task, turn: u64) {
        let now = self.now;
        let replica = &mut self.replicas[number];
        if replica.is_dead || replica.task(task).turn != turn || replica.session.is_none() {
            return;
        }
        replica.task(task).is_wanted = false;
        match task {
            Task::Exchange => {
                replica.table.set_connected(true, now);
                let questions = replica.table.plan(now, 256);
                if questions.is_empty() {
                    let pause = replica.pause();
                    self.schedule(number, task, pause);
                } else {
                    self.call(number, task, Question::Leases(questions));
                }
            }
            Task::Beat => self.call(number, task, Question::Beat),
            Task::Read => {
                let after = replica.bells_after;
                self.call(number, task, Question::Read(after));
            }
        }
    }

    fn answered(&mut self, call: Call, answer: Answer) {
        let (now, number) = (self.now, call.replica);
        let replica = &mut self.replicas[number];
        if replica.is_dead || replica.session != Some(call.session) {
            return;
        }
        if replica.cut.is_some() || self.redis.is_down {
            return self.lost(&call);
        }
        let is_late = call.task != Task::Read && now - call.sent > 50_000_000;
        if is_late {
            return self.link_down(number);
        }
        let state = replica.task(call.task);
        state.is_calling = false;
        let is_wanted = state.is_wanted;
        match answer {
            Answer::Leases(questions, answers) => {
                let (_, live) = replica.known;
                replica.table.apply(&questions, &answers, live, now);
                self.round(number);
                let replica = &mut self.replicas[number];
                let is_wanted = replica.task(Task::Exchange).is_wanted;
                let is_awaited = replica.table.is_awaited();
                let pause = if is_wanted && !is_awaited { 0 } else { replica.pause() };
                self.schedule(number, Task::Exchange, pause);
            }
            Answer::Beat(reply) => {
                replica.hear(reply.beats.iter().map(|(_, age, ())| *age));
                self.schedule(number, Task::Beat, if is_wanted { 0 } else { nanos(BEAT) });
            }
            Answer::Entries(last, bells) => {
                replica.bells_after = Some(last);
                for bell in &bells {
                    replica.table.hear(bell.key, bell.quota, now);
                }
                if !bells.is_empty() {
                    self.wake(number, Task::Exchange);
                }
                self.schedule(number, Task::Read, 0);
            }
        }
    }

    /// Starts a replica.
    fn start(&mut self) {
        let number = self.replicas.len();
        self.replicas.push(Replica::new(number, self.now));
        let soon = self.random.u64(..SECOND / 10);
        self.after(soon, Event::Connects(number));
        self.after(2 * SECOND, Event::Serves(number));
        let running = self.running();
        self.audit.add_share(&self.quotas, running);
        self.disturbed();
    }

    fn connects(&mut self, number: usize) {
        let replica = &self.replicas[number];
        if replica.is_dead || replica.session.is_some() {
            return;
        }
        if replica.cut.is_some() || self.redis.is_down {
            let again = SECOND * 3 / 4 + self.random.u64(..SECOND / 2);
            return self.after(again, Event::Connects(number));
        }
        let session = self.session();
        self.say(|| format!("replica {number} has Redis"));
        self.disturbed();
        let replica = &mut self.replicas[number];
        replica.session = Some(session);
        replica.tasks.iter_mut().for_each(|task| task.is_calling = false);
        for task in [Task::Exchange, Task::Beat, Task::Read] {
            self.schedule(number, task, 0);
        }
    }

    fn link_down(&mut self, number: usize) {
        self.say(|| format!("replica {number} has no Redis"));
        self.disconnect(number);
        let replica = &mut self.replicas[number];
        replica.session = None;
        replica.tasks.iter_mut().for_each(|task| task.is_calling = false);
        self.after(1_000_000, Event::Connects(number));
    }

    fn fault(&mut self, fault: Fault) {
        self.say(|| format!("{fault:?}"));
        self.disturbed();
        let soon = self.random.u64(..3 * SECOND / 2);
        self.after(soon, Event::Flood);
        match fault {
            Fault::Cut(replica, refuses) => self.replicas[replica].cut = Some(refuses),
            Fault::Mended(replica) => self.replicas[replica].cut = None,
            Fault::Down => self.redis.is_down = true,
            Fault::Up => {
                self.redis.is_down = false;
                self.audit.add_seconds(&self.quotas, 3.0);
            }
            Fault::Lost => {
                self.redis.data = Default::default();
                self.lost_data = self.now;
                self.audit.add_seconds(&self.quotas, f64::INFINITY);
            }
            Fault::Saved => self.saved = Some(self.redis.data.clone()),
            Fault::WentBack => {
                let Some(saved) = self.saved.take() else { return };
                self.redis.data = saved;
                self.lost_data = self.now;
                self.audit.add_seconds(&self.quotas, f64::INFINITY);
            }
            Fault::Clock(step) => {
                self.redis.skew += step;
                self.audit.add_seconds(&self.quotas, 8.0);
            }
            Fault::Died(replica) => {
                if self.running() > 1.0 && !self.replicas[replica].is_dead {
                    let running = self.running();
                    self.replicas[replica].is_dead = true;
                    self.serving.retain(|other| *other != replica);
                    self.audit.add_share(&self.quotas, running);
                }
            }
            Fault::Started => {
                if self.replicas.len() < 200 {
                    self.start();
                }
            }
        }
    }
}
