//! The progress of a request: counters for the record, and the time since which the gate has waited
//! for the client.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::ResponseObserver;

/// The progress of one request, shared by its two bodies, its record and the connection that it
/// came on.
#[derive(Default)]
pub struct Progress {
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    request_body_ended: Cell<Option<Instant>>,
    failure: Cell<Option<BodyFailure>>,
    /// The time since which the client owes the next piece of its body.
    awaiting_request_body: Cell<Option<Instant>>,
    /// The number of pieces of the response that were handed over and are not completely sent.
    unsent: Cell<usize>,
    /// The time since which the client has taken nothing of these pieces.
    awaiting_window: Cell<Option<Instant>>,
    /// The waker of the task that waits until all of these pieces are sent.
    awaiting_end: Cell<Option<Waker>>,
    stalled: Cell<bool>,
    /// `true` if the whole connection stalled; `None` for a request without a connection.
    connection_stalled: Option<Rc<Cell<bool>>>,
    cut: Cell<bool>,
    /// The observer of a response that has ended in the gate and not at the client.
    observer: Cell<Option<Box<dyn ResponseObserver>>>,
}

/// The reason why the body of a request did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFailure {
    /// The client broke off, or its stream was reset.
    Aborted,
    /// The client sent trailers.
    Trailers,
}

impl Progress {
    /// Creates the progress of a request on a connection. The connection sets `stalled` when its
    /// client has made no progress for too long.
    pub fn on_connection(stalled: Rc<Cell<bool>>) -> Self {
        Self { connection_stalled: Some(stalled), ..Self::default() }
    }

    /// Returns the number of bytes of the request's body that came from the client.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.get()
    }

    /// Returns the number of bytes of the response's body that were handed over for the client.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.get()
    }

    /// Returns the time at which the request's body ended, if it did.
    pub fn request_body_ended(&self) -> Option<Instant> {
        self.request_body_ended.get()
    }

    /// Returns the reason why the request's body broke off, if it did.
    pub fn failure(&self) -> Option<BodyFailure> {
        self.failure.get()
    }

    /// Returns whether the client made no progress for too long.
    pub fn stalled(&self) -> bool {
        self.stalled.get() || self.connection_stalled.as_ref().is_some_and(|stalled| stalled.get())
    }

    /// Returns the time at which the wait for the rest of the request's body becomes too long, if
    /// the gate is waiting for it.
    pub fn request_stalls_at(&self, timeout: Duration) -> Option<Instant> {
        self.awaiting_request_body.get().map(|since| since + timeout)
    }

    /// Returns the time at which the wait for the request's body or for the client's window becomes
    /// too long, if the gate is waiting for either.
    pub fn stalls_at(&self, timeout: Duration) -> Option<Instant> {
        let since = [self.awaiting_request_body.get(), self.awaiting_window.get()]
            .into_iter()
            .flatten()
            .min();
        since.map(|since| since + timeout)
    }

    /// Records that the gate waited for the client for too long.
    pub fn set_stalled(&self) {
        self.stalled.set(true);
    }

    /// Records that the connection is about to be dropped. hyper reports the drop like a regular
    /// end of the body, so an end that it reports from then on was not sent by the client.
    pub fn cut(&self) {
        self.cut.set(true);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.get()
    }

    pub(super) fn await_request(&self) {
        if self.awaiting_request_body.get().is_none() {
            self.awaiting_request_body.set(Some(Instant::now()));
        }
    }

    pub(super) fn request_moved(&self, bytes: u64) {
        self.awaiting_request_body.set(None);
        self.bytes_in.set(self.bytes_in.get() + bytes);
    }

    pub(super) fn request_no_longer_read(&self) {
        self.awaiting_request_body.set(None);
    }

    pub(crate) fn end_request(&self) {
        if self.request_body_ended.get().is_none() {
            self.request_body_ended.set(Some(Instant::now()));
        }
    }

    /// Sets the end of the request's body to now, if it has ended: another server was asked
    /// meanwhile, and the wait for this one begins only now.
    pub fn wait_begins(&self) {
        if self.request_body_ended.get().is_some() {
            self.request_body_ended.set(Some(Instant::now()));
        }
    }

    pub(super) fn fail(&self, failure: BodyFailure) {
        self.failure.set(Some(failure));
    }

    /// Returns the time since which the client has taken nothing of what was handed over, if there
    /// is anything.
    pub fn window_awaited_since(&self) -> Option<Instant> {
        self.awaiting_window.get()
    }

    /// Keeps the observer until all that was handed over is sent or never will be. Only then is the
    /// response over. If nothing is unsent, it is over now, and the observer is dropped.
    pub(super) fn keep(&self, observer: Box<dyn ResponseObserver>) {
        if self.unsent.get() > 0 {
            self.observer.set(Some(observer));
        }
    }

    /// Ends the response now, even if pieces of it are not sent: its observer writes the record
    /// when it is dropped.
    pub fn end(&self) {
        drop(self.observer.take());
    }

    /// Returns `Ready` once all that was handed over of the response is sent or never will be.
    pub fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.unsent.get() == 0 {
            return Poll::Ready(());
        }
        self.awaiting_end.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    pub(super) fn piece_begins(&self, bytes: u64) {
        self.bytes_out.set(self.bytes_out.get() + bytes);
        if self.unsent.replace(self.unsent.get() + 1) == 0 {
            self.awaiting_window.set(Some(Instant::now()));
        }
    }

    pub(super) fn window_moved(&self) {
        self.awaiting_window.set(Some(Instant::now()));
    }

    pub(super) fn piece_ends(&self) {
        self.unsent.set(self.unsent.get().saturating_sub(1));
        if self.unsent.get() == 0 {
            self.awaiting_window.set(None);
            if let Some(waker) = self.awaiting_end.take() {
                waker.wake();
            }
            self.end();
        }
    }
}
