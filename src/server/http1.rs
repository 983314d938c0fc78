//! One HTTP/1.1 connection. It alternates between two phases: it waits for a request, with nothing
//! but its stream, and hyper serves requests until none has come for a while. A connection that
//! waits has neither hyper's state nor its buffers.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Request, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::Worker;
use super::ambiguity_scan::AmbiguityScan;
use super::deadlines::{DRAINING_GRACE, Deadlines};
use super::linger::{LINGER_TIME, linger};
use super::scanned::Scanned;
use super::seen_phase::SeenPhase;
use crate::gate::{ConnectionInfo, ConnectionState};

/// The size that the read buffer may grow to, in bytes, if twice `max_header_bytes` is not larger.
/// It bounds how much of a body is read at once.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// The time without a request after which a connection gives up hyper's state and buffers. Creating
/// them for a later request costs a few microseconds.
const REST_AFTER: Duration = Duration::from_millis(250);

/// The interval at which a connection with a request under way checks whether it may rest.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Serves a connection whose client speaks HTTP/1.1, until the connection ends.
pub(super) async fn serve_http1<S>(
    worker: &Rc<Worker>,
    stream: S,
    peer: SocketAddr,
    deadlines: &Rc<Deadlines>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let connection = Http1Connection {
        worker,
        peer: peer.ip(),
        deadlines,
        scan: Rc::default(),
        state: Rc::default(),
    };
    let mut stream = Scanned::new(stream, connection.scan.clone());
    let mut phase = SeenPhase::new(&worker.phase);
    let mut timer = pin!(sleep_until(deadlines.first_check(false)));
    let unread = loop {
        match connection.rest(&mut stream, &mut phase, timer.as_mut()).await {
            Rested::RequestBegins => {}
            Rested::Ended => break false,
            Rested::DeadlinePassed => return Ok(()),
        }
        // Boxed, so that the waiting connection does not have the size of the serving one.
        let serving = Box::pin(connection.serve(stream, &mut phase, timer.as_mut()));
        match serving.await {
            Served::Rests(rests) => stream = rests,
            Served::Ended { stream: ended, unread } => {
                stream = ended;
                break unread;
            }
            Served::Broken => return Ok(()),
        }
    };
    deadlines.connection_ended();
    Box::pin(end(stream, unread)).await
}

/// Closes a connection that has ended. `unread`: the client may still be sending.
async fn end<S>(mut stream: S, unread: bool) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // The time limit covers a client that has stopped reading.
    timeout(LINGER_TIME, stream.shutdown())
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if unread {
        linger(stream, LINGER_TIME).await;
    }
    Ok(())
}

/// The parts of a connection that both of its phases use.
struct Http1Connection<'a> {
    worker: &'a Rc<Worker>,
    peer: IpAddr,
    deadlines: &'a Rc<Deadlines>,
    scan: Rc<AmbiguityScan>,
    state: Rc<ConnectionState>,
}

/// The end of a wait for a request.
enum Rested {
    RequestBegins,
    /// The client has closed the connection, or the gate drains.
    Ended,
    DeadlinePassed,
}

/// The end of a phase in which hyper served requests.
enum Served<S> {
    /// No request has come for a while.
    Rests(Scanned<S, AmbiguityScan>),
    Ended {
        stream: Scanned<S, AmbiguityScan>,
        /// The client may still be sending.
        unread: bool,
    },
    /// The connection failed, or a deadline has passed.
    Broken,
}

impl Http1Connection<'_> {
    /// Takes note of a phase that the worker was told to be in. Returns whether the connection has
    /// to end after the request under way.
    fn told(&self, drain_begins: bool) -> bool {
        self.state.leave();
        if drain_begins {
            self.deadlines.drain();
        }
        // The response that ends the upload closes the connection.
        drain_begins && !self.state.has_upload()
    }

    /// Waits for the first byte of a request.
    async fn rest<S>(
        &self,
        stream: &mut Scanned<S, AmbiguityScan>,
        phase: &mut SeenPhase,
        mut timer: Pin<&mut Sleep>,
    ) -> Rested
    where
        S: AsyncRead + Unpin,
    {
        loop {
            tokio::select! {
                biased;
                // Polled first, so that a request that arrived meanwhile is not begun during the
                // drain.
                drain_begins = phase.changes() => if self.told(drain_begins) {
                    // A client whose connection was accepted just before the drain sends its first
                    // request without knowing of it.
                    if self.state.has_begun() {
                        return Rested::Ended;
                    }
                    let check = timer.deadline().min(Instant::now() + DRAINING_GRACE);
                    timer.as_mut().reset(check);
                },
                begins = poll_fn(|cx| stream.poll_ahead(cx)) => return match begins {
                    Ok(true) => Rested::RequestBegins,
                    Ok(false) | Err(_) => Rested::Ended,
                },
                () = &mut timer => match self.deadlines.check(false) {
                    _ if !self.state.has_begun() && self.deadlines.drain_is_over() => {
                        return Rested::Ended;
                    }
                    Some(next) => timer.as_mut().reset(next.into()),
                    None => return Rested::DeadlinePassed,
                },
            }
        }
    }

    /// Serves requests until none has come for [`REST_AFTER`].
    async fn serve<S>(
        &self,
        stream: Scanned<S, AmbiguityScan>,
        phase: &mut SeenPhase,
        mut timer: Pin<&mut Sleep>,
    ) -> Served<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let later_request = self.state.has_begun();
        let has_served = Cell::new(false);
        let service = service_fn(|request: Request<Incoming>| {
            has_served.set(true);
            let ambiguous = self.scan.ambiguous();
            // The end of the connection may mark the end of an HTTP/1.0 response, so a connection
            // that breaks must not look like a regular end.
            let delimited_by_close =
                request.version() == Version::HTTP_10 && request.method() != Method::HEAD;
            let connection_info = ConnectionInfo {
                peer: self.peer,
                http2: false,
                ambiguous,
                connection: self.state.clone(),
                progress: self.deadlines.begin(),
            };
            let serving = self.worker.newest.serving();
            let received = serving.snapshot.gate.receive(request, connection_info);
            let (deadlines, scan) = (self.deadlines.clone(), self.scan.clone());
            Box::pin(async move {
                let response = serving.snapshot.gate.serve(received, &serving.upstream).await;
                deadlines.answer_begins(delimited_by_close && !response.body().is_end_stream());
                Ok::<_, Infallible>(response.map(|body| NotifyEnd {
                    body,
                    deadlines,
                    scan,
                    broke_off: false,
                }))
            })
        });
        let max_header_bytes = self.deadlines.settings().max_header_bytes;
        let mut connection = http1::Builder::new()
            .max_buf_size(READ_BUFFER_BYTES.max(max_header_bytes * 2))
            .max_header_size(max_header_bytes)
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service);

        let first_check = timer.deadline().min(Instant::now() + REST_AFTER);
        timer.as_mut().reset(first_check);
        let ended = loop {
            tokio::select! {
                biased;
                // Polled first, so that a request that arrived meanwhile is not begun during the
                // drain.
                drain_begins = phase.changes() => if self.told(drain_begins) {
                    // hyper would read the head of a later request to its end, because it does not
                    // know of the earlier requests.
                    if later_request && !has_served.get() {
                        break Some(Ok(()));
                    }
                    Pin::new(&mut connection).graceful_shutdown();
                },
                ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break Some(ended),
                () = &mut timer => match self.deadlines.check(false) {
                    Some(next) => match self.deadlines.rests_at(REST_AFTER) {
                        Some(rests_at) if rests_at <= Instant::now().into_std() => {
                            self.deadlines.forget_request();
                            return Served::Rests(resting(connection.into_parts()));
                        }
                        rests_at => {
                            let look = rests_at.map(Instant::from_std);
                            let look = look.unwrap_or_else(|| Instant::now() + LOOK_AGAIN);
                            timer.as_mut().reset(look.min(next.into()));
                        }
                    },
                    None => break None,
                },
            }
        };
        let current = self.deadlines.current();
        if let Some(progress) = &current {
            progress.cut();
        }
        let unread = match ended {
            Some(Ok(())) => current.is_some_and(|progress| progress.request_body_ended().is_none()),
            // The request cannot be parsed. hyper has answered it, and may not have read it to its
            // end.
            Some(Err(error)) if error.is_parse() => true,
            Some(Err(_)) | None => return Served::Broken,
        };
        Served::Ended { stream: connection.into_parts().io.into_inner(), unread }
    }
}

/// Returns the stream of a connection that hyper no longer serves, with the bytes that hyper has
/// read ahead.
fn resting<S, V>(
    parts: http1::Parts<TokioIo<Scanned<S, AmbiguityScan>>, V>,
) -> Scanned<S, AmbiguityScan> {
    let mut stream = parts.io.into_inner();
    stream.put_back(&parts.read_buf);
    stream
}

pin_project_lite::pin_project! {
    /// The body of an HTTP/1.1 response. Its end starts the wait for the next request.
    struct NotifyEnd<B>
    where
        B: http_body::Body,
    {
        #[pin]
        body: B,
        deadlines: Rc<Deadlines>,
        scan: Rc<AmbiguityScan>,
        broke_off: bool,
    }
    impl<B> PinnedDrop for NotifyEnd<B>
    where
        B: http_body::Body,
    {
        fn drop(this: Pin<&mut Self>) {
            let whole = this.body.is_end_stream() && !this.broke_off;
            this.deadlines.answer_ends(whole);
            this.deadlines.idle(this.scan.within_head());
        }
    }
}

impl<B: http_body::Body> http_body::Body for NotifyEnd<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = this.body.poll_frame(cx);
        *this.broke_off |= matches!(frame, std::task::Poll::Ready(Some(Err(_))));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
