//! Deadlines of a connection. Nothing is armed or disarmed per request: what happens sets a time,
//! and one timer a connection looks at those times no less often than the shortest deadline.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::ServerSettings;
use crate::body::Progress;
use crate::net::monitored_io::IoStatus;

/// How long an idle HTTP/2 connection outlives the beginning of a drain, or its last stream within
/// one.
const DRAINING_GRACE: Duration = Duration::from_millis(500);

/// For so long within a drain a stream that has ended gives its connection that time anew: a client
/// that opens one after the other holds up no drain.
const DRAINING_LIMIT: Duration = Duration::from_secs(3);

/// How long the shut window of an HTTP/2 stream is waited for once its client has said that it
/// leaves (GOAWAY).
const LEAVING_GRACE: Duration = Duration::from_millis(400);

/// How often these are looked at.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// What one connection is waiting for.
pub(super) struct Deadlines {
    settings: std::sync::Arc<ServerSettings>,
    io_status: Rc<IoStatus>,
    waiting: Cell<Waiting>,
    /// HTTP/1.1: the request under way. HTTP/2: the one that was accepted last, until its stream's
    /// task begins.
    current: RefCell<Option<Rc<Progress>>>,
    open_streams: Cell<usize>,
    /// The client took nothing for too long, whatever the stream.
    stalled: Rc<Cell<bool>>,
    /// HTTP/2: the same of the last bytes of an answer.
    tail_stalled: Cell<bool>,
    /// Since when the gate drains.
    draining: Cell<Option<Instant>>,
    /// HTTP/2: since when the client has said that it leaves.
    leaving: Cell<Option<Instant>>,
    /// HTTP/1.0: the answer has begun and not come to its end.
    breakable: Cell<bool>,
}

#[derive(Clone, Copy)]
enum Waiting {
    /// For the end of the first head, since then.
    FirstHead(Instant),
    /// For the next request, since then.
    NextRequest(Instant),
    /// For nothing: a request is being served.
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
            breakable: Cell::new(false),
        }
    }

    /// How the connection is treated.
    pub(super) fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// A request's head has come to its end.
    pub(super) fn begin(&self) -> Rc<Progress> {
        self.waiting.set(Waiting::Serving);
        let progress = Rc::new(Progress::on_connection(self.stalled.clone()));
        self.current.replace(Some(progress.clone()));
        progress
    }

    /// The answer has ended, the next request may come. `within_head`: half of it has come already.
    pub(super) fn idle(&self, within_head: bool) {
        self.io_status.mark();
        if within_head {
            self.io_status.begin_reading();
        }
        self.waiting.set(Waiting::NextRequest(Instant::now()));
    }

    /// HTTP/1.1: an answer begins. `delimited_by_close`: its client may take the end of the
    /// connection for its end, so any end before that is a reset.
    pub(super) fn answer_begins(&self, delimited_by_close: bool) {
        self.breakable.set(delimited_by_close);
        self.io_status.reset_on_close(delimited_by_close);
    }

    /// HTTP/1.1: the answer's body has ended. `whole`: as it should.
    pub(super) fn answer_ends(&self, whole: bool) {
        if whole {
            self.breakable.set(false);
        }
    }

    /// HTTP/1.1: the connection has ended as it should. What has not gone all the same is lost.
    pub(super) fn answers_have_ended(&self) {
        if !self.breakable.get() && self.io_status.write_blocked().is_none() {
            self.io_status.reset_on_close(false);
        }
    }

    /// HTTP/2: whether the client is still taking the last answer, where the connection ends with
    /// no stream open: it says so again and again, by opening its windows.
    pub(super) fn is_being_read(&self) -> bool {
        let speaks = self.io_status.last_read().is_some_and(|last| last.elapsed() < DRAINING_GRACE);
        let rests = matches!(self.waiting.get(), Waiting::NextRequest(_));
        speaks && rests && !self.tail_stalled.get() && self.io_status.write_blocked().is_none()
    }

    /// The gate drains.
    pub(super) fn drain(&self) {
        self.draining.set(Some(Instant::now()));
    }

    /// HTTP/2: the client has said that it leaves.
    pub(super) fn leave(&self) {
        if self.leaving.get().is_none() {
            self.leaving.set(Some(Instant::now()));
        }
    }

    /// HTTP/2: the last piece of an answer was not taken in time.
    pub(super) fn stall_tail(&self) {
        self.tail_stalled.set(true);
    }

    /// HTTP/2: when a client that leaves, and has shut the window of a stream since then, is no
    /// longer waited for. While its socket takes nothing, its windows may open at any time.
    pub(super) fn leaves_at(&self, shut_since: Option<Instant>) -> Option<Instant> {
        let since = self.leaving.get()?.max(shut_since?);
        let open = self.io_status.write_blocked().is_none();
        open.then(|| {
            self.io_status.unblocked().map_or(since, |then| then.max(since)) + LEAVING_GRACE
        })
    }

    /// HTTP/2: the task of the stream that was accepted last begins.
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

    /// The request under way on HTTP/1.1, or the last one.
    pub(super) fn current(&self) -> Option<Rc<Progress>> {
        self.current.borrow().clone()
    }

    /// How long until the deadlines must be looked at again, or none where one has passed. `http2`:
    /// bytes between requests are no head then, for pings and window updates come at any time.
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
                // A client that still takes the end of its answer is not idle.
                _ if blocked => (None, None),
                _ => (Some(idle_since(since) + settings.idle_timeout), Some(idle_since(since))),
            },
            Waiting::Serving => (None, None),
        };
        // hyper closes an idle HTTP/1.1 connection itself. Of HTTP/2 it waits for the answer to a
        // PING first.
        let draining = self.draining.get().filter(|_| http2);
        let drained =
            draining.zip(idle).map(|(draining, idle)| match now - draining < DRAINING_LIMIT {
                true => draining.max(idle) + DRAINING_GRACE,
                false => idle,
            });
        let head = head.into_iter().chain(drained).min();
        let written = self.io_status.write_blocked().map(|since| since + settings.stall_timeout);
        // HTTP/2 has a deadline for each stream; and the window of HTTP/1.1 is the socket's.
        let body = self.current().filter(|_| !http2);
        let body = body.and_then(|progress| progress.request_stalls_at(settings.stall_timeout));
        let deadline = [head, written, body].into_iter().flatten().min();
        if self.tail_stalled.get() || deadline.is_some_and(|deadline| deadline <= now) {
            self.stalled.set(self.tail_stalled.get() || head.is_none());
            if let Some(progress) = self.current().filter(|_| head.is_none()) {
                progress.set_stalled();
            }
            return None;
        }
        // A wait that begins later cannot end before the shortest deadline from now, so none is
        // missed.
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

    /// An answer's end may be with us long after its body was handed over: its reader is not idle.
    #[tokio::test]
    async fn idle_time_begins_when_the_answer_has_gone() {
        const SHORT: Duration = Duration::from_millis(50);
        let long = Duration::from_secs(60);
        let settings = ServerSettings {
            tls: None,
            certificate_ends: None,
            proxy_protocol: None,
            handshake_timeout: long,
            header_timeout: long,
            idle_timeout: SHORT,
            stall_timeout: long,
            max_header_bytes: 1,
        };
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
