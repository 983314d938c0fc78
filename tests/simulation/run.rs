//! One run of the simulation: what happens at each event.

use std::time::Duration;

use moorgate::rate_limit::shared::Reservation;
use moorgate::rate_limit::{Nanos, nanos};

use super::look::{LOOK, SECOND};
use super::replica::Task;
use super::scenario::{CALM, START};
use super::world::{Event, World};

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
        self.after(begin, Event::Login);
        self.after(begin, Event::Changes);
        let calm = nanos(START) + nanos(self.scenario.length);
        self.after(calm - self.now, Event::Calm);
        if self.scenario.is_attacked {
            self.attack_begins(calm);
        }
        let end = calm + nanos(CALM);
        while let Some(event) = self.next(end) {
            self.happens(event);
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
        }
        self.now = end;
        self.all_arrived()?;
        self.is_enough((calm / SECOND) as usize)
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Crowd | Event::Hot(_) | Event::Flood | Event::Changes if self.is_calm => {}
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
                    let soon = self.random.u64(..SECOND / 2);
                    let place = self.random.usize(..1000);
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
            Event::LooksAgain(replica, place) => {
                if self.replicas[replica].session.is_some() {
                    self.claim(replica, place);
                }
            }
            Event::Hears(replica, place) => self.hears(replica, place),
            Event::Verdict(replica, place, verdict) => self.verdict(replica, place, verdict),
            Event::Login => {
                if !self.serving.is_empty() {
                    let who = self.random.usize(..self.scenario.credentials);
                    let replica = self.serving[self.random.usize(..self.serving.len())];
                    self.login(who, replica);
                }
                let pause = -1e9 / self.scenario.logins * self.random.f64().max(1e-9).ln();
                self.after(pause as Nanos, Event::Login);
            }
            Event::Changes => self.changes(),
            Event::Attack => self.attack(),
            Event::Confirmed(fact) => self.confirmed(fact),
            Event::Calm => self.calm(),
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
                if self.watched == Some(caller) {
                    let left = self.audit.left(caller);
                    println!("{:.3} {number} admits {taken:?}, {left}", self.now as f64 / 1e9);
                }
                // Whoever controls Redis can make limits wrong.
                let is_attacked = self.scenario.is_attacked;
                let admitted = self.audit.admit(&self.quotas, caller, self.now);
                if let Err(beyond) =
                    admitted.or_else(|it| if is_attacked { Ok(()) } else { Err(it) })
                {
                    let kind = self.quotas.of(caller);
                    let (rate, burst) = (kind.rate, kind.burst);
                    self.fail(format!(
                        "replica {number} admits {beyond:.1} events of caller {caller} \
                         ({rate}/s, burst {burst}) beyond the bound"
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
    pub(crate) fn round(&mut self, number: usize) {
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
        let is_new = std::mem::take(&mut replica.is_connected);
        replica.alone_until = now + LOOK;
        if is_new {
            let known = self.last_known(number);
            self.audit.add_share(&self.quotas, known);
            self.disturbed();
        }
    }
}
