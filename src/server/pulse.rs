//! Shows whether the workers are alive: each answers a beat as soon as its runtime gets to it.

use tokio::sync::watch;

/// The beats that the workers answer.
#[derive(Clone, Debug)]
pub struct Pulse {
    beat: watch::Sender<u64>,
    /// The last beat that each worker has answered.
    answered: Vec<watch::Receiver<u64>>,
}

/// A worker's side of the pulse.
pub(super) struct Answering {
    beat: watch::Receiver<u64>,
    answered: watch::Sender<u64>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { beat: watch::Sender::new(0), answered: Vec::new() }
    }

    /// Adds a worker.
    pub(super) fn add_worker(&mut self) -> Answering {
        let (answered, told) = watch::channel(0);
        self.answered.push(told);
        Answering { beat: self.beat.subscribe(), answered }
    }

    /// Waits until each worker has been at work since the call. A worker that has ended counts as
    /// alive: the drain ended it, or the status page shows that it stopped.
    pub async fn all_answer(&mut self) {
        self.beat.send_modify(|beat| *beat += 1);
        let beat = *self.beat.borrow();
        for answered in &mut self.answered {
            let _ = answered.wait_for(|answered| *answered >= beat).await;
        }
    }
}

impl Answering {
    /// Answers each beat, for as long as the gate has a pulse.
    pub(super) async fn run(mut self) {
        while self.beat.changed().await.is_ok() {
            let beat = *self.beat.borrow_and_update();
            self.answered.send_replace(beat);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_hangs_gives_no_answer_and_one_that_has_ended_is_not_waited_for() {
        let hour = Duration::from_secs(3600);
        let mut pulse = Pulse::new();
        tokio::spawn(pulse.add_worker().run());
        drop(pulse.add_worker());
        pulse.all_answer().await;
        let hanging = pulse.add_worker();
        assert!(tokio::time::timeout(hour, pulse.all_answer()).await.is_err(), "one hangs");
        tokio::spawn(hanging.run());
        pulse.all_answer().await;
    }
}
