//! Deadlines of a connection. Nothing is armed or disarmed per request: what happens sets a time, and one timer a
//! connection looks at those times no less often than the shortest deadline.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::ServerSettings;
use crate::body::Progress;
use crate::watched::Traffic;

/// What one connection is waiting for.
pub(super) struct Deadlines {
    settings: std::sync::Arc<ServerSettings>,
    traffic: Rc<Traffic>,
    waiting: Cell<Waiting>,
    /// HTTP/1.1: the request under way. HTTP/2: the one that was accepted last, until its stream's task begins.
    current: RefCell<Option<Rc<Progress>>>,
    open_streams: Cell<usize>,
    /// HTTP/2: the client took nothing for too long, whatever the stream.
    stalled: Cell<bool>,
    /// HTTP/2: the same of the last bytes of an answer.
    tail_stalled: Cell<bool>,
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
    pub(super) fn new(settings: std::sync::Arc<ServerSettings>, traffic: Rc<Traffic>) -> Self {
        Self {
            settings,
            traffic,
            waiting: Cell::new(Waiting::FirstHead(Instant::now())),
            current: RefCell::new(None),
            open_streams: Cell::new(0),
            stalled: Cell::new(false),
            tail_stalled: Cell::new(false),
        }
    }

    /// How the connection is treated.
    pub(super) fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// A request's head has come to its end.
    pub(super) fn begin(&self) -> Rc<Progress> {
        self.waiting.set(Waiting::Serving);
        let progress = Rc::new(Progress::default());
        self.current.replace(Some(progress.clone()));
        progress
    }

    /// HTTP/1.1: the answer has ended, the next request may come.
    pub(super) fn idle(&self) {
        self.traffic.mark();
        self.waiting.set(Waiting::NextRequest(Instant::now()));
    }

    /// HTTP/2: the task of the stream that was accepted last begins.
    fn open_stream(&self) -> Option<Rc<Progress>> {
        self.open_streams.set(self.open_streams.get() + 1);
        self.current.take()
    }

    fn close_stream(&self) {
        self.open_streams.set(self.open_streams.get() - 1);
        if self.open_streams.get() == 0 {
            self.idle();
        }
    }

    /// The request under way on HTTP/1.1, or the last one.
    pub(super) fn current(&self) -> Option<Rc<Progress>> {
        self.current.borrow().clone()
    }

    /// How long until the deadlines must be looked at again, or none where one has passed. `http2`: bytes between
    /// requests are no head then, for pings and window updates come at any time.
    pub(super) fn check(&self, http2: bool) -> Option<Instant> {
        let now = Instant::now();
        let settings = &self.settings;
        let head = match self.waiting.get() {
            Waiting::FirstHead(since) => Some(since + settings.header_timeout),
            Waiting::NextRequest(since) => match self.traffic.first_read() {
                Some(begun) if !http2 => Some(begun + settings.header_timeout),
                // A client that still takes the end of its answer is not idle.
                _ if self.traffic.write_blocked().is_some() => None,
                _ => Some(self.traffic.unblocked().map_or(since, |then| then.max(since)) + settings.idle_timeout),
            },
            Waiting::Serving => None,
        };
        let written = self.traffic.write_blocked().map(|since| since + settings.stall_timeout);
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
        // A wait that begins later cannot end before the shortest deadline from now, so none is missed.
        let shortest = settings.header_timeout.min(settings.idle_timeout).min(settings.stall_timeout);
        Some(deadline.unwrap_or(now + shortest).min(now + shortest))
    }
}

/// Runs HTTP/2 streams on the worker's own thread, each with its own deadline: at a zero window hyper polls neither
/// the answer's body nor anything else of ours, so only what wraps the whole stream can end it.
#[derive(Clone)]
pub(super) struct StreamExecutor(pub(super) Rc<Deadlines>);

impl<F: Future + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let progress = self.0.open_stream();
        let tick = self.0.settings.stall_timeout;
        let open = OpenStream { deadlines: self.0.clone(), progress };
        tokio::task::spawn_local(Stream { stream, done: false, timer: tokio::time::sleep(tick), open });
    }
}

/// Counts a stream as open until its task ends, and marks its request as cut off if it has not ended by then.
struct OpenStream {
    deadlines: Rc<Deadlines>,
    progress: Option<Rc<Progress>>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if let Some(progress) = &self.progress {
            if self.deadlines.stalled.get() {
                progress.set_stalled();
            }
            progress.cut();
        }
        self.deadlines.close_stream();
    }
}

pin_project! {
    struct Stream<F> {
        // Dropped first, so that its request is marked before the bodies in `stream` are dropped.
        open: OpenStream,
        #[pin]
        timer: Sleep,
        // It is done when the last piece of the answer is queued, which the client's window may hold up for ever.
        done: bool,
        #[pin]
        stream: F,
    }
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if !*this.done {
            *this.done = this.stream.poll(cx).is_ready();
        }
        let progress = this.open.progress.as_ref();
        if *this.done && progress.is_none_or(|progress| progress.poll_sent(cx).is_ready()) {
            return Poll::Ready(());
        }
        while this.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let timeout = this.open.deadlines.settings.stall_timeout;
            let deadline = progress.and_then(|progress| progress.stalls_at(timeout));
            if deadline.is_some_and(|deadline| deadline <= now) {
                if let Some(progress) = progress {
                    progress.set_stalled();
                }
                // A stream that has ended for us cannot be reset any more; its connection can be closed.
                if *this.done {
                    this.open.deadlines.tail_stalled.set(true);
                }
                return Poll::Ready(());
            }
            this.timer.as_mut().reset(deadline.unwrap_or(now + timeout).min(now + timeout).into());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::watched::Watched;

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
        let traffic = Rc::new(Traffic::default());
        let (socket, mut client) = tokio::io::duplex(1);
        let mut socket = Watched::new(socket, traffic.clone());
        let deadlines = Deadlines::new(std::sync::Arc::new(settings), traffic);
        deadlines.idle();
        assert!(timeout(SHORT * 2, socket.write_all(b"ab")).await.is_err());
        assert!(deadlines.check(false).is_some(), "closed on a client that still reads");

        client.read_exact(&mut [0; 1]).await.unwrap();
        socket.write_all(b"b").await.unwrap();
        assert!(deadlines.check(false).is_some(), "closed at once");
        sleep(SHORT * 2).await;
        assert!(deadlines.check(false).is_none());
    }
}
