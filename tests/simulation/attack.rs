//! What changes beside the replicas: the truth about credentials, what operators revoke, and what
//! an attacker who controls Redis does.

use std::sync::Arc;

use moorgate::rate_limit::{Nanos, nanos};
use moorgate::replicas::message::{Beat, JournalEntry};

use super::look::SECOND;
use super::scenario::START;
use super::world::{Event, World};

/// What an attacker has seen in Redis, and puts back.
#[derive(Default)]
pub(crate) struct Attacker {
    verdicts: Vec<(String, String)>,
    entries: Vec<Arc<JournalEntry>>,
    beats: Vec<(String, f64, Arc<Beat>)>,
    epochs: Vec<Option<String>>,
    until: Nanos,
}

impl World {
    /// Changes the truth about a credential, or an operator revokes it, or both.
    pub(crate) fn changes(&mut self) {
        let pause = self.random.u64(SECOND / 4..3 * SECOND);
        self.after(pause, Event::Changes);
        let who = self.random.usize(..self.scenario.credentials);
        let now = self.now;
        let is_valid = self.provider.is_valid(who);
        let what = self.random.u8(..4);
        if what < 3 {
            self.provider.set_valid(who, now, !is_valid);
        }
        if what > 0 && is_valid {
            let running: Vec<_> =
                (0..self.replicas.len()).filter(|it| !self.replicas[*it].is_dead).collect();
            let origin = running[self.random.usize(..running.len())];
            let whole_secret = self.random.bool();
            self.revoke(who, whole_secret, origin);
        }
    }

    /// Ends all faults.
    pub(crate) fn calm(&mut self) {
        self.say(|| "all faults end".to_owned());
        self.is_calm = true;
        self.redis.is_down = false;
        self.redis.withholds = false;
        self.provider.is_down = false;
        self.replicas.iter_mut().for_each(|replica| replica.cut = None);
        self.disturbed();
    }

    pub(crate) fn attack_begins(&mut self, calm: Nanos) {
        self.attacker.until = calm;
        let begin = nanos(START).saturating_sub(self.now) + self.random.u64(..5 * SECOND);
        self.after(begin, Event::Attack);
    }

    /// An attacker who controls Redis does something.
    pub(crate) fn attack(&mut self) {
        if self.now >= self.attacker.until {
            return;
        }
        let pause = self.random.u64(SECOND / 50..SECOND);
        self.after(pause, Event::Attack);
        self.spy();
        self.disturbed();
        let what = self.random.u8(..10);
        let data = &mut self.redis.data;
        let random = &mut self.random;
        let ends = f64::MAX;
        match what {
            // Old answers come back, without the refusals since; some under the keys of others.
            0..3 => {
                data.verdicts.values.clear();
                let answers: Vec<_> =
                    self.attacker.verdicts.iter().filter(|(key, _)| key.contains(":v:")).collect();
                for _ in 0..random.usize(1..200) {
                    let Some((key, value)) = random.choice(&answers) else { break };
                    let other = random.choice(&answers).filter(|_| random.u8(..5) == 0);
                    let value = other.map_or(value, |(_, value)| value);
                    data.verdicts.values.insert(key.clone(), (value.clone(), ends));
                }
            }
            3 => {
                for (key, value) in &self.attacker.verdicts {
                    data.verdicts.values.insert(key.clone(), (value.clone(), ends));
                }
            }
            4 => data.verdicts.values.clear(),
            5 => {
                let entries = data.revocations.entries();
                for _ in 0..random.usize(1..5) {
                    if !entries.is_empty() {
                        let place = random.usize(..entries.len());
                        entries.remove(place);
                    }
                }
                if random.u8(..4) == 0 {
                    entries.clear();
                }
            }
            6 => {
                let entry = random.choice(&self.attacker.entries).cloned();
                if let Some(entry) = entry {
                    data.revocations.add(u64::MAX / 2, entry);
                }
            }
            7 => {
                let beat = random.choice(&self.attacker.beats).cloned();
                if let Some((id, v, beat)) = beat {
                    data.beats.beats.insert(id, (v, beat));
                }
            }
            8 => data.beats.epoch = random.choice(&self.attacker.epochs).cloned().flatten(),
            _ => self.redis.withholds = !self.redis.withholds,
        }
        self.say(|| format!("the attacker does {what}"));
        self.wake_readers();
    }

    /// Notes what is in Redis.
    fn spy(&mut self) {
        let Attacker { verdicts, entries, beats, epochs, .. } = &mut self.attacker;
        let data = &mut self.redis.data;
        verdicts.extend(
            data.verdicts.values.iter().map(|(key, (value, _))| (key.clone(), value.clone())),
        );
        if verdicts.len() > 2000 {
            verdicts.drain(..1000);
        }
        entries.extend(data.revocations.entries().iter().map(|(_, entry)| entry.clone()));
        if entries.len() > 2000 {
            entries.drain(..1000);
        }
        beats.extend(data.beats.beats.iter().map(|(id, (v, beat))| (id.clone(), *v, beat.clone())));
        if beats.len() > 2000 {
            beats.drain(..1000);
        }
        epochs.push(data.beats.epoch.clone());
    }
}
