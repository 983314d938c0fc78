//! Revocations: on their way to every replica.

use std::sync::Arc;

use moorgate::identity::model::revocation::{Moment, Revoked};
use moorgate::rate_limit::Nanos;
use moorgate::replicas::message::{JournalEntry, Message, RevocationMessage};

use super::look::SECOND;
use super::redis::unix;
use super::replica::Task;
use super::verdicts::pair;
use super::world::{Event, World};

/// The time between two looks at the confirmations.
const LOOK: Nanos = SECOND / 50;

/// A revocation by an operator.
pub(crate) struct Fact {
    what: Revoked,
    /// The credentials that it is about.
    pub(crate) who: Vec<usize>,
    pub(crate) at: Nanos,
    /// The Unix time by the clock of the replica that was told, in microseconds.
    stamp: u64,
    origin: usize,
    /// The number of the entry.
    number: u64,
    /// The times at which it arrived at each replica.
    pub(crate) arrived: Vec<Option<Nanos>>,
}

impl World {
    /// An operator revokes a credential at a replica.
    pub(crate) fn revoke(&mut self, who: usize, whole_secret: bool, origin: usize) {
        let (now, at) = (self.now, self.at(self.now));
        let what = self.provider.revoked(who, whole_secret);
        let gate = &mut self.replicas[origin].gate;
        let moment = Moment { at, unix_micros: unix(now, gate.skew) };
        gate.revocations.revoke(what, moment);
        let stamp = moment.unix_micros;
        let message = Message::Revoked(vec![RevocationMessage::new(what, stamp)]);
        let number = gate.view.journal().publish(message);
        let who = if whole_secret { pair(who).to_vec() } else { vec![who] };
        self.say(|| format!("credentials {who:?} are revoked at replica {origin}"));
        let fact = Fact { what, who, at: now, stamp, origin, number, arrived: vec![None; 400] };
        self.revoked.push(fact);
        self.arrives_at(origin, what, stamp);
        self.wake(origin, Task::Beat);
        self.after(LOOK, Event::Confirmed(self.revoked.len() - 1));
    }

    /// Takes an entry of the stream of revocations.
    pub(crate) fn take(&mut self, number: usize, entry: &Arc<JournalEntry>) {
        let at = self.at(self.now);
        let gate = &mut self.replicas[number].gate;
        let found = gate.view.take(JournalEntry::clone(entry));
        let revocations = match &found.message {
            None => return,
            Some(Message::Again) => &[][..],
            Some(Message::Revoked(revocations)) => {
                for revocation in revocations {
                    let moment = Moment { at, unix_micros: revocation.at };
                    gate.revocations.revoke(revocation.what(), moment);
                }
                revocations
            }
            Some(Message::StillRevoked(revocations)) => {
                for revocation in revocations {
                    let moment = Moment { at, unix_micros: revocation.at };
                    gate.revocations.learn_again(revocation.what(), moment);
                }
                revocations
            }
        };
        for revocation in revocations {
            self.arrives_at(number, revocation.what(), revocation.at);
        }
        if found.is_gap {
            self.drop_verdicts(number, "an entry is missing");
        }
        self.wake(number, Task::Beat);
    }

    fn arrives_at(&mut self, number: usize, what: Revoked, stamp: u64) {
        let now = self.now;
        for fact in self.revoked.iter_mut().filter(|fact| fact.what == what && fact.stamp <= stamp)
        {
            fact.arrived[number].get_or_insert(now);
        }
    }

    /// A replica drops its verdicts, because a revocation may have been missed.
    pub(crate) fn drop_verdicts(&mut self, number: usize, why: &str) {
        self.say(|| format!("replica {number} drops its verdicts: {why}"));
        let (now, at) = (self.now, self.at(self.now));
        let gate = &mut self.replicas[number].gate;
        gate.cache.clear(now);
        gate.clock.set_floor(at);
        gate.dropped = now;
    }

    /// Looks whether all replicas have confirmed a revocation, which they must have within a second
    /// unless something disturbs them.
    pub(crate) fn confirmed(&mut self, fact: usize) {
        let Fact { at, origin, number, .. } = self.revoked[fact];
        let (confirmed, alive) = self.replicas[origin].gate.view.confirmed(number);
        if confirmed >= alive || self.replicas[origin].is_dead {
            return;
        }
        if self.now < at + SECOND {
            self.wake(origin, Task::Beat);
            return self.after(LOOK, Event::Confirmed(fact));
        }
        let was_disturbed = self.audit.disturbed.iter().any(|when| *when + 3 * SECOND >= at);
        if !was_disturbed {
            self.fail(format!(
                "only {confirmed} of {alive} replicas have confirmed revocation {fact} of \
                 {:.3} s",
                at as f64 / 1e9
            ));
        }
    }

    /// Checks that every replica that runs knows every revocation that any of them knew.
    pub(crate) fn all_arrived(&self) -> Result<(), String> {
        for (place, fact) in self.revoked.iter().enumerate() {
            let knows =
                |number: &usize| self.revocation(fact.who[0], *number).stamp() >= fact.stamp;
            let running: Vec<_> =
                (0..self.replicas.len()).filter(|it| !self.replicas[*it].is_dead).collect();
            // A replica that dies before it has told anybody takes the revocation with it.
            let was_told = running.iter().any(knows);
            if let Some(number) = running.iter().find(|number| was_told && !knows(number)) {
                return Err(format!(
                    "replica {number} does not know revocation {place}, of credential {} at \
                     replica {} at {:.3} s",
                    fact.who[0],
                    fact.origin,
                    fact.at as f64 / 1e9
                ));
            }
        }
        Ok(())
    }
}
