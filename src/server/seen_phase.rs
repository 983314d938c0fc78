//! The phase of the worker, as one of its connections has seen it.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};

use tokio::sync::watch;
use tokio::task::coop::unconstrained;

use super::Phase;

/// The phase of the worker, as a connection has seen it so far.
pub(super) struct SeenPhase {
    told: watch::Receiver<Phase>,
    /// Another receiver of the same phase, for a look that takes no lock.
    glance: watch::Receiver<Phase>,
    seen: Phase,
}

impl SeenPhase {
    /// Creates the view of a connection that has seen nothing but [`Phase::Serving`].
    pub(super) fn new(told: &watch::Receiver<Phase>) -> Self {
        Self { told: told.clone(), glance: told.clone(), seen: Phase::Serving }
    }

    /// Returns the phase that the connection has seen.
    pub(super) fn seen(&self) -> Phase {
        self.seen
    }

    /// Waits for a phase that was not seen yet. Returns `true` if it begins the drain.
    ///
    /// A connection polls this each time before it does anything else. It is therefore cheap while
    /// the phase stays the same: a look at the version of the phase.
    pub(super) async fn changes(&mut self) -> bool {
        let Self { told, glance, seen: before } = self;
        let seen = *before;
        // Without a limit, because a wait that only yields does not wait for the phase.
        let mut changed = pin!(unconstrained(told.wait_for(|now| *now != seen)));
        let mut waits: Option<Waker> = None;
        let now = poll_fn(|cx| {
            let will_wake = waits.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if will_wake && matches!(glance.has_changed(), Ok(false)) {
                return Poll::Pending;
            }
            waits = Some(cx.waker().clone());
            match changed.as_mut().poll(cx) {
                Poll::Ready(Ok(now)) => Poll::Ready(*now),
                // Without a sender, the phase stays as it is.
                Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
            }
        })
        .await;
        self.glance.mark_unchanged();
        self.seen = now;
        now.is_draining() && !seen.is_draining()
    }
}

#[cfg(test)]
mod tests {
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
