//! How far a request has come: counters for the record, and since when the client has been waited
//! for.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::ResponseObserver;

/// One request's progress, shared by its two bodies, its record and the connection that it came on.
#[derive(Default)]
pub struct Progress {
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    request_ended: Cell<Option<Instant>>,
    failure: Cell<Option<BodyFailure>>,
    /// Since when the client owes the next piece of its body.
    awaiting_request: Cell<Option<Instant>>,
    /// Pieces of the response that were handed over and have not gone, not all of them at least.
    unsent: Cell<usize>,
    /// Since when the client has taken none of them.
    awaiting_window: Cell<Option<Instant>>,
    /// Who waits for all of them to go.
    awaiting_end: Cell<Option<Waker>>,
    stalled: Cell<bool>,
    /// The same of the whole connection.
    connection_stalled: Rc<Cell<bool>>,
    cut: Cell<bool>,
    /// The observer of a response that has ended here and not at the client.
    observer: Cell<Option<Box<dyn ResponseObserver>>>,
}

/// Why a request's body did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFailure {
    /// The client broke off, or its stream was reset.
    Aborted,
    /// The client sent trailers.
    Trailers,
}

impl Progress {
    /// Begins a request on a connection that tells by this flag that its client took nothing for
    /// too long.
    pub fn on_connection(stalled: Rc<Cell<bool>>) -> Self {
        Self { connection_stalled: stalled, ..Self::default() }
    }

    /// Bytes of the request's body that came from the client.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.get()
    }

    /// Bytes of the response's body that went to the client.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.get()
    }

    /// When the request's body ended, if it did.
    pub fn request_ended(&self) -> Option<Instant> {
        self.request_ended.get()
    }

    /// Why the request's body broke off, if it did.
    pub fn failure(&self) -> Option<BodyFailure> {
        self.failure.get()
    }

    /// Whether the client made no progress for too long.
    pub fn stalled(&self) -> bool {
        self.stalled.get() || self.connection_stalled.get()
    }

    /// When the client will have been waited for too long for the rest of its body, if it is being
    /// waited for.
    pub fn request_stalls_at(&self, timeout: Duration) -> Option<Instant> {
        self.awaiting_request.get().map(|since| since + timeout)
    }

    /// The same, for its window too.
    pub fn stalls_at(&self, timeout: Duration) -> Option<Instant> {
        let since =
            [self.awaiting_request.get(), self.awaiting_window.get()].into_iter().flatten().min();
        since.map(|since| since + timeout)
    }

    /// The client was waited for too long.
    pub fn set_stalled(&self) {
        self.stalled.set(true);
    }

    /// The connection is about to be dropped: from here on the end of the body is no end that the
    /// client sent. hyper does not tell the two apart.
    pub fn cut(&self) {
        self.cut.set(true);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.get()
    }

    pub(super) fn await_request(&self) {
        if self.awaiting_request.get().is_none() {
            self.awaiting_request.set(Some(Instant::now()));
        }
    }

    pub(super) fn request_moved(&self, bytes: u64) {
        self.awaiting_request.set(None);
        self.bytes_in.set(self.bytes_in.get() + bytes);
    }

    pub(super) fn request_no_longer_read(&self) {
        self.awaiting_request.set(None);
    }

    pub(crate) fn end_request(&self) {
        if self.request_ended.get().is_none() {
            self.request_ended.set(Some(Instant::now()));
        }
    }

    pub(super) fn fail(&self, failure: BodyFailure) {
        self.failure.set(Some(failure));
    }

    /// Since when the client has taken nothing of what was handed over, if there is anything.
    pub fn awaits_window(&self) -> Option<Instant> {
        self.awaiting_window.get()
    }

    /// Keeps the observer until all that was handed over has gone, or never will. Only then is the
    /// response over.
    pub(super) fn keep(&self, observer: Box<dyn ResponseObserver>) {
        if self.unsent.get() > 0 {
            self.observer.set(Some(observer));
        }
    }

    /// Ends the response now, whatever has not gone.
    pub fn end(&self) {
        drop(self.observer.take());
    }

    /// Ready as soon as all that was handed over of the response has gone, or never will.
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
