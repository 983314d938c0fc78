//! The faults of a run: replicas that start, die and lose Redis, and a Redis that loses its data.

use super::gate::Stage;
use super::look::SECOND;
use super::replica::{Replica, Task};
use super::scenario::Fault;
use super::world::{Event, World};

impl World {
    /// Starts a replica.
    pub(crate) fn start(&mut self) {
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

    pub(crate) fn connects(&mut self, number: usize) {
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

    pub(crate) fn link_down(&mut self, number: usize) {
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

    pub(crate) fn fault(&mut self, fault: Fault) {
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
