//! The deadlines of a connection. A request neither arms nor disarms a timer: each event records a
//! time, and one timer per connection checks these times at intervals no longer than the shortest
//! time-out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::ServerSettings;
use crate::body::Progress;
use crate::net::monitored_io::IoStatus;

/// The time that an idle HTTP/2 connection stays open after the beginning of a drain, or after its
/// last stream has ended during a drain. An HTTP/1.1 connection waits as long for its first
/// request. A client from which the gate has read something within this time still reads its
/// response.
pub(super) const DRAINING_GRACE: Duration = Duration::from_millis(500);

/// The time from the beginning of a drain during which each stream that ends restarts
/// [`DRAINING_GRACE`]. The bound keeps a client that opens one stream after the other from holding
/// up the drain.
const DRAINING_LIMIT: Duration = Duration::from_secs(3);

/// The longest wait for an HTTP/2 stream with a closed window after its client has sent GOAWAY.
const LEAVING_GRACE: Duration = Duration::from_millis(400);

/// The longest interval between checks while a connection drains or its client leaves, and between
/// checks of an HTTP/2 stream.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// The deadlines of one connection, with the times from which they are counted.
pub(super) struct Deadlines {
    settings: std::sync::Arc<ServerSettings>,
    io_status: Rc<IoStatus>,
    waiting: Cell<Waiting>,
    /// HTTP/1.1: the request under way. HTTP/2: the request that was accepted last, until the task
    /// of its stream begins.
    current: RefCell<Option<Rc<Progress>>>,
    open_streams: Cell<usize>,
    /// `true` if the connection as a whole stalled: the client made no progress for too long.
    stalled: Rc<Cell<bool>>,
    /// HTTP/2: `true` if the client did not take the last bytes of a response in time.
    tail_stalled: Cell<bool>,
    /// The time at which the drain began.
    draining: Cell<Option<Instant>>,
    /// HTTP/2: the time at which the client sent GOAWAY.
    leaving: Cell<Option<Instant>>,
    /// HTTP/1.0: `true` while a response that the end of the connection may delimit is incomplete.
    cut_would_look_complete: Cell<bool>,
}

#[derive(Clone, Copy)]
enum Waiting {
    /// Waiting for the end of the first head, since this time.
    FirstHead(Instant),
    /// Waiting for the next request, since this time.
    NextRequest(Instant),
    /// Not waiting: a request is being served.
    Serving,
}

impl Deadlines {
    pub(super) fn new(settings: std::sync::Arc<ServerSettings>, io_status: Rc<IoStatus>) -> Self {
        Self {
            settings,
            io_status,
            waiting: Cell::new(Waiting::FirstHead(Instant::now())),
            current: RefCell::new(None),
            open_streams: Cell::new(0),
            stalled: Rc::default(),
            tail_stalled: Cell::new(false),
            draining: Cell::new(None),
            leaving: Cell::new(None),
            cut_would_look_complete: Cell::new(false),
        }
    }

    /// Returns the settings of the connection.
    pub(super) fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// Records that the head of a request has ended. Returns the progress of the request.
    pub(super) fn begin(&self) -> Rc<Progress> {
        self.waiting.set(Waiting::Serving);
        let progress = Rc::new(Progress::on_connection(self.stalled.clone()));
        self.current.replace(Some(progress.clone()));
        progress
    }

    /// Records that the response has ended and that the next request may come. `within_head`: a
    /// part of its head has already come.
    pub(super) fn idle(&self, within_head: bool) {
        self.io_status.mark();
        if within_head {
            self.io_status.begin_reading();
        }
        self.waiting.set(Waiting::NextRequest(Instant::now()));
    }

    /// HTTP/1.1: records that a response begins. `delimited_by_close`: its client may take the end
    /// of the connection for the end of the response, so an earlier end of the connection is a
    /// reset.
    pub(super) fn answer_begins(&self, delimited_by_close: bool) {
        self.cut_would_look_complete.set(delimited_by_close);
        self.io_status.reset_on_close(delimited_by_close);
    }

    /// HTTP/1.1: records that the body of the response has ended. `whole`: the body is complete.
    pub(super) fn answer_ends(&self, whole: bool) {
        if whole {
            self.cut_would_look_complete.set(false);
        }
    }

    /// HTTP/1.1: records that the connection has ended normally. A close then does not reset the
    /// connection, unless a response is incomplete or its last bytes could not be written.
    pub(super) fn connection_ended(&self) {
        if !self.cut_would_look_complete.get() && self.io_status.write_blocked().is_none() {
            self.io_status.reset_on_close(false);
        }
    }

    /// HTTP/2: returns whether the client is still reading the last response when the connection
    /// ends without an open stream. Such a client keeps sending window updates.
    pub(super) fn is_being_read(&self) -> bool {
        let speaks = self.io_status.last_read().is_some_and(|last| last.elapsed() < DRAINING_GRACE);
        let rests = matches!(self.waiting.get(), Waiting::NextRequest(_));
        speaks && rests && !self.tail_stalled.get() && self.io_status.write_blocked().is_none()
    }

    /// Records that the gate drains.
    pub(super) fn drain(&self) {
        self.draining.set(Some(Instant::now()));
    }

    /// HTTP/1.1: returns whether a drain leaves no time for a first request.
    pub(super) fn drain_is_over(&self) -> bool {
        self.draining.get().is_some_and(|since| since.elapsed() >= DRAINING_GRACE)
    }

    /// HTTP/2: records that the client sent GOAWAY.
    pub(super) fn leave(&self) {
        if self.leaving.get().is_none() {
            self.leaving.set(Some(Instant::now()));
        }
    }

    /// HTTP/2: records that the client did not take the last piece of a response in time.
    pub(super) fn stall_tail(&self) {
        self.tail_stalled.set(true);
    }

    /// HTTP/2: returns the time until which the gate waits for a client that sent GOAWAY and has
    /// kept the window of a stream closed since `shut_since`. Returns `None` while the client's
    /// socket takes no bytes, because its windows may open at any time then.
    pub(super) fn leaves_at(&self, shut_since: Option<Instant>) -> Option<Instant> {
        let since = self.leaving.get()?.max(shut_since?);
        let open = self.io_status.write_blocked().is_none();
        open.then(|| {
            self.io_status.unblocked().map_or(since, |then| then.max(since)) + LEAVING_GRACE
        })
    }

    /// HTTP/2: records that the task of the stream that was accepted last begins. Returns the
    /// progress of its request.
    pub(super) fn open_stream(&self) -> Option<Rc<Progress>> {
        self.open_streams.set(self.open_streams.get() + 1);
        self.current.take()
    }

    pub(super) fn close_stream(&self) {
        self.open_streams.set(self.open_streams.get() - 1);
        if self.open_streams.get() == 0 {
            self.idle(false);
        }
    }

    /// Returns the progress of the request under way on HTTP/1.1, or of the last one.
    pub(super) fn current(&self) -> Option<Rc<Progress>> {
        self.current.borrow().clone()
    }

    /// Returns the time of the first check of a new connection. A timer for the present would cost
    /// each connection a turn of the event loop of its own.
    pub(super) fn first_check(&self, http2: bool) -> tokio::time::Instant {
        self.check(http2).unwrap_or_else(Instant::now).into()
    }

    /// HTTP/1.1: returns the time at which the connection has been without a request for `pause`.
    /// Returns `None` if a request is under way or a part of the next one has come, or if the end
    /// of a response is not sent yet.
    pub(super) fn rests_at(&self, pause: Duration) -> Option<Instant> {
        let Waiting::NextRequest(since) = self.waiting.get() else { return None };
        let current = self.current();
        let body_ended = current.is_none_or(|progress| progress.request_body_ended().is_some());
        let silent = self.io_status.first_read().is_none();
        let sent = self.io_status.write_blocked().is_none();
        let since = self.io_status.unblocked().map_or(since, |then| then.max(since));
        (body_ended && silent && sent).then_some(since + pause)
    }

    /// HTTP/1.1: forgets the last request, which has ended.
    pub(super) fn forget_request(&self) {
        self.current.replace(None);
    }

    /// Returns the time at which the deadlines must be checked again, or `None` if a deadline has
    /// passed. In that case it also records whether the client stalled. `http2`: bytes between
    /// requests do not begin a head, because pings and window updates come at any time.
    pub(super) fn check(&self, http2: bool) -> Option<Instant> {
        let now = Instant::now();
        let settings = &self.settings;
        let blocked = self.io_status.write_blocked().is_some();
        let idle_since =
            |since: Instant| self.io_status.unblocked().map_or(since, |then| then.max(since));
        let (head, idle) = match self.waiting.get() {
            Waiting::FirstHead(since) => (Some(since + settings.header_timeout), Some(since)),
            Waiting::NextRequest(since) => match self.io_status.first_read() {
                Some(begun) if !http2 => (Some(begun + settings.header_timeout), None),
                // A client that still reads the end of its response is not idle.
                _ if blocked => (None, None),
                _ => (Some(idle_since(since) + settings.idle_timeout), Some(idle_since(since))),
            },
            Waiting::Serving => (None, None),
        };
        // hyper closes an idle HTTP/1.1 connection itself. On HTTP/2 it first waits for the answer
        // to a PING.
        let draining = self.draining.get().filter(|_| http2);
        let drained =
            draining.zip(idle).map(|(draining, idle)| match now - draining < DRAINING_LIMIT {
                true => draining.max(idle) + DRAINING_GRACE,
                false => idle,
            });
        // The nearest deadline of a connection that owes no response.
        let no_request = head.into_iter().chain(drained).min();
        let written = self.io_status.write_blocked().map(|since| since + settings.stall_timeout);
        // Each HTTP/2 stream has its own deadline. The only window of HTTP/1.1 is that of the
        // socket, which `written` covers.
        let body = self.current().filter(|_| !http2);
        let body = body.and_then(|progress| progress.request_stalls_at(settings.stall_timeout));
        let deadline = [no_request, written, body].into_iter().flatten().min();
        if self.tail_stalled.get() || deadline.is_some_and(|deadline| deadline <= now) {
            self.stalled.set(self.tail_stalled.get() || no_request.is_none());
            if let Some(progress) = self.current().filter(|_| no_request.is_none()) {
                progress.set_stalled();
            }
            return None;
        }
        // A wait that begins later ends no earlier than the shortest time-out from now, so no
        // deadline is missed. A drain and a client that leaves bring nearer ones, and an HTTP/2
        // connection checks again when they begin.
        let mut shortest =
            settings.header_timeout.min(settings.idle_timeout).min(settings.stall_timeout);
        if draining.is_some() || self.leaving.get().is_some() {
            shortest = shortest.min(TICK);
        }
        Some(deadline.unwrap_or(now + shortest).min(now + shortest))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::net::monitored_io::MonitoredIo;

    const LONG: Duration = Duration::from_secs(60);

    fn settings(idle_timeout: Duration) -> ServerSettings {
        ServerSettings {
            tls: None,
            certificate_ends: None,
            proxy_protocol: None,
            handshake_timeout: LONG,
            header_timeout: LONG,
            idle_timeout,
            stall_timeout: LONG,
            max_header_bytes: 1,
        }
    }

    #[test]
    fn the_first_check_is_not_due_at_once() {
        let deadlines = Deadlines::new(std::sync::Arc::new(settings(LONG)), Rc::default());
        let due = Instant::from(deadlines.first_check(false));
        assert!(due.duration_since(Instant::now()) > LONG / 2);
    }

    /// The end of a response may stay in the gate long after its body was handed over. A client
    /// that reads it is not idle.
    #[tokio::test]
    async fn idle_time_starts_when_the_response_has_been_sent() {
        const SHORT: Duration = Duration::from_millis(50);
        let settings = settings(SHORT);
        let io_status = Rc::new(IoStatus::default());
        let (socket, mut client) = tokio::io::duplex(1);
        let mut socket = MonitoredIo::new(socket, io_status.clone());
        let deadlines = Deadlines::new(std::sync::Arc::new(settings), io_status);
        deadlines.idle(false);
        assert!(timeout(SHORT * 2, socket.write_all(b"ab")).await.is_err());
        assert!(deadlines.check(false).is_some(), "closed on a client that still reads");

        client.read_exact(&mut [0; 1]).await.unwrap();
        socket.write_all(b"b").await.unwrap();
        assert!(deadlines.check(false).is_some(), "closed at once");
        sleep(SHORT * 2).await;
        assert!(deadlines.check(false).is_none());
    }
}
