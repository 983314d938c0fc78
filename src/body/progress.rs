//! How far a request has come: counters for the record, and since when the client has been waited for.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// One request's progress, shared by its two bodies, its record and the connection that it came on.
#[derive(Default)]
pub struct Progress {
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    request_ended: Cell<Option<Instant>>,
    failure: Cell<Option<BodyFailure>>,
    /// Since when the client owes the next piece of its body.
    awaiting_request: Cell<Option<Instant>>,
    /// Since when a piece of the response has waited for the client's window.
    awaiting_window: Cell<Option<Instant>>,
    stalled: Cell<bool>,
    cut: Cell<bool>,
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
        self.stalled.get()
    }

    /// When the client will have owed the next piece of its body for too long, if it owes one.
    pub fn request_stalls_at(&self, timeout: Duration) -> Option<Instant> {
        self.awaiting_request.get().map(|since| since + timeout)
    }

    /// The same for HTTP/2, where the client may also owe window for the response. On HTTP/1.1 the socket tells.
    pub fn stream_stalls_at(&self, timeout: Duration) -> Option<Instant> {
        let window = self.awaiting_window.get().map(|since| since + timeout);
        self.request_stalls_at(timeout).into_iter().chain(window).min()
    }

    /// The client was waited for too long.
    pub fn set_stalled(&self) {
        self.stalled.set(true);
    }

    /// The connection is about to be dropped: from here on the end of the body is no end that the client sent. hyper
    /// does not tell the two apart.
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

    pub(super) fn await_window(&self, bytes: u64) {
        self.bytes_out.set(self.bytes_out.get() + bytes);
        self.awaiting_window.set(Some(Instant::now()));
    }

    pub(super) fn window_opened(&self) {
        self.awaiting_window.set(None);
    }
}
