//! One client connection: a PROXY header if the peer must send one, TLS, then HTTP/1.1 or HTTP/2 as
//! the client chose. Each wait has a deadline.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;

use http::{Method, Request, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::ambiguity_scan::AmbiguityScan;
use super::deadlines::Deadlines;
use super::http2::serve_http2;
use super::linger::{LINGER_TIME, linger};
use super::proxy_protocol;
use super::scanned::Scanned;
use super::tls::handshake;
use super::{Phase, Worker};
use crate::gate::{ConnectionInfo, ConnectionState};
use crate::net::monitored_io::{IoStatus, MonitoredIo};

/// The size that the HTTP/1.1 read buffer may grow to, in bytes, if twice `max_header_bytes` is not
/// larger. It bounds how much of a body is read at once.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Serves a connection until it ends.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    mut socket: TcpStream,
    peer: SocketAddr,
) -> io::Result<()> {
    let accepted = Instant::now();
    let io_status = Rc::new(IoStatus::default());
    let settings = worker.newest.serving().snapshot.server.clone();
    let handshake_by = accepted + settings.handshake_timeout;
    let peer = match &settings.proxy_protocol {
        None => peer,
        Some(trusted) => {
            proxy_protocol::client(&mut socket, peer, trusted, handshake_by, &worker.log_throttle)
                .await?
        }
    };
    let Some(tls) = &settings.tls else {
        let deadlines = Rc::new(Deadlines::new(settings, io_status.clone()));
        return serve_http1(worker, MonitoredIo::tcp(socket, io_status), peer, &deadlines).await;
    };
    let handshake = handshake(tls, socket, &io_status);
    let stream = timeout_at(handshake_by, handshake).await??;
    io_status.mark();
    let deadlines = Rc::new(Deadlines::new(settings, io_status));
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        serve_http2(worker, stream, peer, &deadlines).await
    } else {
        serve_http1(worker, stream, peer, &deadlines).await
    }
}

/// Serves any stream, such as one in memory; for tests, benches and fuzzers.
pub(super) async fn serve_stream<S>(
    worker: &Rc<Worker>,
    stream: S,
    peer: SocketAddr,
    http2: bool,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let io_status = Rc::new(IoStatus::default());
    let deadlines =
        Rc::new(Deadlines::new(worker.newest.serving().snapshot.server.clone(), io_status.clone()));
    let stream = MonitoredIo::new(stream, io_status);
    if http2 {
        serve_http2(worker, stream, peer, &deadlines).await
    } else {
        serve_http1(worker, stream, peer, &deadlines).await
    }
}

async fn serve_http1<S>(
    worker: &Rc<Worker>,
    stream: S,
    peer: SocketAddr,
    deadlines: &Rc<Deadlines>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let scan = Rc::new(AmbiguityScan::default());
    let state = Rc::new(ConnectionState::default());
    let service = service_fn(|request: Request<Incoming>| {
        let ambiguous = scan.ambiguous();
        // The end of the connection may mark the end of an HTTP/1.0 response, so a connection that
        // breaks must not look like a regular end.
        let delimited_by_close =
            request.version() == Version::HTTP_10 && request.method() != Method::HEAD;
        let connection_info = ConnectionInfo {
            peer: peer.ip(),
            http2: false,
            ambiguous,
            connection: state.clone(),
            progress: deadlines.begin(),
        };
        let serving = worker.newest.serving();
        let received = serving.snapshot.gate.receive(request, connection_info);
        let (deadlines, scan) = (deadlines.clone(), scan.clone());
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
    let mut connection = http1::Builder::new()
        .max_buf_size(READ_BUFFER_BYTES.max(deadlines.settings().max_header_bytes * 2))
        .max_header_size(deadlines.settings().max_header_bytes)
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(Scanned::new(stream, scan.clone())), service);

    let mut phase = worker.phase.clone();
    let mut seen = Phase::Serving;
    let mut timer = pin!(sleep_until(deadlines.first_check(false)));
    let ended = loop {
        tokio::select! {
            biased;
            // Polled first, so that a request that arrived meanwhile is not begun during the drain.
            Ok(now) = phase.wait_for(|now| *now != seen) => {
                state.leave();
                if now.is_draining() && !seen.is_draining() {
                    deadlines.drain();
                    // The response that ends the upload closes the connection.
                    if !state.has_upload() {
                        Pin::new(&mut connection).graceful_shutdown();
                    }
                }
                seen = *now;
            }
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break Some(ended),
            () = &mut timer => match deadlines.check(false) {
                Some(next) => timer.as_mut().reset(next.into()),
                None => break None,
            },
        }
    };
    let current = deadlines.current();
    if let Some(progress) = &current {
        progress.cut();
    }
    let unread = match ended {
        Some(Ok(())) => current.is_some_and(|progress| progress.request_body_ended().is_none()),
        // The request cannot be parsed. hyper has answered it, and may not have read it to its end.
        Some(Err(error)) if error.is_parse() => true,
        Some(Err(_)) | None => return Ok(()),
    };
    deadlines.connection_ended();
    let mut stream = connection.into_parts().io.into_inner();
    // The time limit covers a client that has stopped reading.
    timeout(LINGER_TIME, stream.shutdown())
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if unread {
        linger(stream, LINGER_TIME).await;
    }
    Ok(())
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
