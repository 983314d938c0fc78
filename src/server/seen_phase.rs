//! The phase of the worker, as one of its connections has seen it.

use tokio::sync::watch;

use super::Phase;

/// The phase of the worker, as a connection has seen it so far.
pub(super) struct SeenPhase {
    told: watch::Receiver<Phase>,
    seen: Phase,
}

impl SeenPhase {
    /// Creates the view of a connection that has seen nothing but [`Phase::Serving`].
    pub(super) fn new(told: &watch::Receiver<Phase>) -> Self {
        Self { told: told.clone(), seen: Phase::Serving }
    }

    /// Returns the phase that the connection has seen.
    pub(super) fn seen(&self) -> Phase {
        self.seen
    }

    /// Waits for a phase that was not seen yet. Returns `true` if it begins the drain.
    pub(super) async fn changes(&mut self) -> bool {
        let seen = self.seen;
        let now = match self.told.wait_for(|now| *now != seen).await {
            Ok(now) => *now,
            // Without a sender, the phase stays as it is.
            Err(_) => std::future::pending().await,
        };
        self.seen = now;
        now.is_draining() && !seen.is_draining()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn each_phase_is_seen_once() {
        let (sender, told) = watch::channel(Phase::Serving);
        let mut phase = SeenPhase::new(&told);
        let at_once = std::time::Duration::ZERO;
        assert!(timeout(at_once, phase.changes()).await.is_err());
        for (next, drain_begins) in
            [(Phase::Leaving, false), (Phase::Draining, true), (Phase::Cut, false)]
        {
            {
                let mut changes = pin!(phase.changes());
                // It waits already when the phase changes.
                assert!(timeout(at_once, changes.as_mut()).await.is_err());
                sender.send_replace(next);
                assert_eq!(changes.await, drain_begins);
            }
            assert_eq!(phase.seen(), next);
            assert!(timeout(at_once, phase.changes()).await.is_err());
        }
    }
}
