//! One run of the simulation: what happens at each event.

use std::sync::Arc;
use std::time::Duration;

use moorgate::rate_limit::shared::Reservation;
use moorgate::rate_limit::{Nanos, nanos};
use moorgate::replicas::message::Beat;
use moorgate::replicas::view::ReplicaStream;

use super::beat_model::BeatReply;
use super::gate::Stage;
use super::look::{LOOK, SECOND};
use super::redis::{Answer, Entry, Question};
use super::replica::{Replica, Task};
use super::scenario::{CALM, Fault, START};
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
        let is_new = std::mem::take(&mut replica.is_connected);
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
                replica.is_connected = true;
                let questions = replica.table.plan(now, 256);
                if questions.is_empty() {
                    let pause = replica.pause();
                    self.schedule(number, task, pause);
                } else {
                    self.call(number, task, Question::Leases(questions));
                }
            }
            Task::Beat => {
                let at = self.start + Duration::from_nanos(now);
                replica.gate.view.add_due(|| replica.gate.revocations.all(), at);
                self.publish_or_beat(number);
            }
            Task::Read => {
                let starts = replica.gate.view.starts();
                let (after, is_first) = replica.gate.places.after(starts);
                let question = Question::Read(after.clone(), !is_first);
                self.call(number, task, question);
            }
            Task::Asks(_) => {}
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
        replica.task(call.task).is_calling = false;
        match answer {
            Answer::Leases(questions, answers) => {
                let (_, live) = replica.known;
                if let Some(caller) = self.watched {
                    let key = replica.table.key(&caller);
                    for (question, answer) in questions.iter().zip(&answers) {
                        if question.key == key {
                            println!("{:.3} {number} {question:?} {answer:?}", now as f64 / 1e9);
                        }
                    }
                }
                replica.table.apply(&questions, &answers, live, now);
                self.round(number);
                let replica = &mut self.replicas[number];
                let is_wanted = replica.task(Task::Exchange).is_wanted;
                let is_awaited = replica.table.is_awaited();
                let pause = if is_wanted && !is_awaited { 0 } else { replica.pause() };
                self.schedule(number, Task::Exchange, pause);
            }
            Answer::Published(entry) => {
                replica.gate.view.journal().published(entry);
                self.publish_or_beat(number);
            }
            Answer::Beat(reply) => {
                self.hear(number, reply);
                let is_wanted = self.replicas[number].task(Task::Beat).is_wanted;
                self.schedule(number, Task::Beat, if is_wanted { 0 } else { nanos(BEAT) });
            }
            Answer::Entries(entries) => {
                self.read(number, entries);
                self.schedule(number, Task::Read, 0);
            }
            Answer::Claim(reply, told) => {
                let Task::Asks(place) = call.task else { return };
                self.claimed(number, place, reply, told);
            }
            Answer::Put(found) => {
                let Task::Asks(place) = call.task else { return };
                self.was_put(number, place, found);
            }
            Answer::Announced => {}
        }
    }

    fn publish_or_beat(&mut self, number: usize) {
        let journal = self.replicas[number].gate.view.journal();
        let question = match journal.pending() {
            Some(entry) => Question::Publish(Arc::new(entry.clone())),
            None => Question::Beat(Arc::new(journal.beat("1"))),
        };
        self.call(number, Task::Beat, question);
    }

    /// Takes the beats of all replicas.
    fn hear(&mut self, number: usize, reply: BeatReply<Arc<Beat>>) {
        let at = self.at(self.now);
        let replica = &mut self.replicas[number];
        let told = reply.beats.into_iter().map(|(id, age, beat)| {
            (Duration::from_millis(age), Some(beat).filter(|beat| beat.from == id))
        });
        let heard = replica.gate.view.hear(told, &reply.epoch, at);
        replica.known = (heard.alive, heard.live);
        replica.has_heard = true;
        replica.table.set_replicas(heard.alive);
        if heard.is_gap {
            self.drop_verdicts(number, "an entry does not come");
        }
        if heard.is_new_epoch {
            self.drop_verdicts(number, "a new epoch");
        }
        if heard.is_gap || heard.is_new_epoch {
            self.wake(number, Task::Beat);
        }
    }

    /// Takes what the streams have.
    fn read(&mut self, number: usize, entries: Vec<(ReplicaStream, String, Entry)>) {
        let replica = &mut self.replicas[number];
        let has_more = entries.iter().any(|(stream, ..)| *stream == ReplicaStream::Revocations);
        if !has_more && replica.gate.places.end() {
            replica.gate.view.loaded();
        }
        let starts = Some(replica.gate.view.starts());
        let hears_bells = replica.gate.hears_bells == starts;
        if entries.iter().filter(|(stream, ..)| *stream == ReplicaStream::Bells).count() < 500 {
            replica.gate.hears_bells = starts;
        }
        for (stream, id, entry) in entries {
            self.replicas[number].gate.places.read(stream, id);
            match entry {
                Entry::Revocation(entry) => self.take(number, &entry),
                Entry::Refusal(refusal) => self.hear_refusal(number, refusal),
                Entry::Bell(_) if !hears_bells => {}
                Entry::Bell(bell) => {
                    let now = self.now;
                    self.replicas[number].table.hear(bell.key, bell.quota, now);
                    self.wake(number, Task::Exchange);
                }
            }
        }
    }

    /// Starts a replica.
    fn start(&mut self) {
        let number = self.replicas.len();
        let at = self.at(self.now);
        self.replicas.push(Replica::new(number, self.now, at));
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
        let askings: Vec<_> =
            replica.gate.askings.iter().map(|(place, it)| (*place, it.stage)).collect();
        self.after(1_000_000, Event::Connects(number));
        // Questions go on without Redis.
        for (place, stage) in askings {
            match stage {
                Stage::Others(_) => self.ask_provider(number, place),
                Stage::Sharing => drop(self.replicas[number].gate.askings.remove(&place)),
                Stage::Provider => {}
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.say(|| format!("{fault:?}"));
        self.disturbed();
        let most = if fault == Fault::Lost { SECOND / 5 } else { 3 * SECOND / 2 };
        let soon = self.random.u64(..most);
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
                self.stepped.0 += step.unsigned_abs();
                self.audit.add_seconds(&self.quotas, 8.0);
            }
            Fault::Wall(replica, step) => {
                self.stepped.1 += step.unsigned_abs();
                self.replicas[replica].gate.skew += step;
            }
            Fault::ProviderDown => self.provider.is_down = true,
            Fault::ProviderUp => self.provider.is_down = false,
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
