//! The tasks of a replica: beats, the reader of the streams, and the exchange of limits.

use std::sync::Arc;
use std::time::Duration;

use moorgate::rate_limit::nanos;
use moorgate::replicas::message::Beat;
use moorgate::replicas::view::ReplicaStream;

use super::beat_model::BeatReply;
use super::redis::{Answer, Entry, Question};
use super::replica::Task;
use super::world::{Call, World};

/// The time between two beats.
const BEAT: Duration = Duration::from_secs(1);

impl World {
    pub(crate) fn turn(&mut self, number: usize, task: Task, turn: u64) {
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

    pub(crate) fn answered(&mut self, call: Call, answer: Answer) {
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
}
