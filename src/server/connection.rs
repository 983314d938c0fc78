//! One connection: a PROXY header where there is one, TLS, then HTTP/1.1 or HTTP/2 as the client chose, each wait with its deadline.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::head_scan::{HeadScan, Scanned};
use super::proxy_protocol;
use super::stall::{Deadlines, StreamExecutor};
use super::tls::handshake;
use super::{Phase, Worker};
use crate::gate::Origin;
use crate::watched::{Traffic, Watched};

/// How much of a body is read at once on HTTP/1.1.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// HTTP/2: what a client may send before it must wait, for each stream and for all together.
const STREAM_WINDOW_BYTES: u32 = 512 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
const MAX_STREAMS: u32 = 128;
/// HTTP/2: streams that a client may reset before they are begun (rapid reset, CVE-2023-44487). Those that are begun are
/// given up at once and bounded by `MAX_STREAMS`.
const MAX_RESETS_WAITING: usize = 20;
/// HTTP/2: streams that a client may make the gate reset, in the whole life of a connection (MadeYouReset, CVE-2025-8671).
/// A stream too many counts, and an honest client may open some before it hears how many there may be.
const MAX_RESETS_PROVOKED: usize = 256;
const MAX_FRAME_BYTES: u32 = 32 * 1024;
/// HTTP/2: what waits for a stream's window to open.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// What is still read from a client that was answered before its body ended. Closing with bytes unread would reset the
/// connection, and the answer with it.
const LINGER_BYTES: usize = 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(5);

/// Serves a connection to its end.
pub(super) async fn serve(worker: &Rc<Worker>, mut socket: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let accepted = Instant::now();
    socket.set_nodelay(true)?;
    let traffic = Rc::new(Traffic::default());
    let settings = worker.newest.serving().generation.server.clone();
    let handshake_by = accepted + settings.handshake_timeout;
    let peer = match &settings.proxy_protocol {
        None => peer,
        Some(trusted) => proxy_protocol::client(&mut socket, peer, trusted, handshake_by, &worker.complaints).await?,
    };
    let Some(tls) = &settings.tls else {
        let deadlines = Rc::new(Deadlines::new(settings, traffic.clone()));
        return serve_http1(worker, Watched::new(socket, traffic), peer, &deadlines).await;
    };
    let handshake = handshake(tls, socket, &traffic);
    let stream = timeout_at(handshake_by, handshake).await??;
    traffic.mark();
    let deadlines = Rc::new(Deadlines::new(settings, traffic));
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        serve_http2(worker, stream, peer, &deadlines).await
    } else {
        serve_http1(worker, stream, peer, &deadlines).await
    }
}

/// Serves what was decrypted elsewhere, or is no socket.
pub(super) async fn serve_stream<S>(worker: &Rc<Worker>, stream: S, peer: SocketAddr, http2: bool) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let traffic = Rc::new(Traffic::default());
    let deadlines = Rc::new(Deadlines::new(worker.newest.serving().generation.server.clone(), traffic.clone()));
    let stream = Watched::new(stream, traffic);
    if http2 {
        serve_http2(worker, stream, peer, &deadlines).await
    } else {
        serve_http1(worker, stream, peer, &deadlines).await
    }
}

async fn serve_http1<S>(worker: &Rc<Worker>, stream: S, peer: SocketAddr, deadlines: &Rc<Deadlines>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let scan = Rc::new(HeadScan::default());
    let service = service_fn(|request| {
        let ambiguous = scan.ambiguous();
        let origin = Origin { peer: peer.ip(), http2: false, ambiguous, progress: deadlines.begin() };
        let serving = worker.newest.serving();
        let received = serving.generation.gate.receive(request, origin);
        let deadlines = deadlines.clone();
        Box::pin(async move {
            let response = serving.generation.gate.serve(received, &serving.upstream).await;
            Ok::<_, Infallible>(response.map(|body| NotifyEnd { body, deadlines }))
        })
    });
    let mut connection = http1::Builder::new()
        .max_buf_size(READ_BUFFER_BYTES.max(deadlines.settings().max_header_bytes * 2))
        .max_header_size(deadlines.settings().max_header_bytes)
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(Scanned::new(stream, scan.clone())), service);

    let mut phase = worker.phase.clone();
    let mut draining = false;
    let mut timer = pin!(sleep_until(Instant::now()));
    let ended = loop {
        tokio::select! {
            biased;
            // First, or a request that came since would be begun before anybody looks.
            _ = phase.wait_for(|phase| *phase != Phase::Serving), if !draining => {
                draining = true;
                Pin::new(&mut connection).graceful_shutdown();
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
        Some(Ok(())) => current.is_some_and(|progress| progress.request_ended().is_none()),
        // Not a request that can be read. hyper has answered, and may not have read it to its end.
        Some(Err(error)) if error.is_parse() => true,
        Some(Err(_)) | None => return Ok(()),
    };
    let mut stream = connection.into_parts().io.into_inner();
    // A client that takes nothing any more is not waited for.
    timeout(LINGER_TIME, stream.shutdown()).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if unread {
        linger(stream).await;
    }
    Ok(())
}

/// Reads and drops what a client still sends after its answer, within bounds.
pub(super) async fn linger(mut stream: impl AsyncRead + Unpin) {
    let reading = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES;
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    };
    let _ = timeout(LINGER_TIME, reading).await;
}

async fn serve_http2<S>(worker: &Rc<Worker>, stream: S, peer: SocketAddr, deadlines: &Rc<Deadlines>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(|request| {
        let origin = Origin { peer: peer.ip(), http2: true, ambiguous: false, progress: deadlines.begin() };
        let serving = worker.newest.serving();
        let received = serving.generation.gate.receive(request, origin);
        async move { Ok::<_, Infallible>(serving.generation.gate.serve(received, &serving.upstream).await) }
    });
    let max_headers = u32::try_from(deadlines.settings().max_header_bytes).unwrap_or(u32::MAX);
    let mut connection = pin!(
        http2::Builder::new(StreamExecutor(deadlines.clone()))
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_RESETS_WAITING)
            .max_local_error_reset_streams(MAX_RESETS_PROVOKED)
            .max_frame_size(MAX_FRAME_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(max_headers)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut phase = worker.phase.clone();
    let mut draining = false;
    let mut timer = pin!(sleep_until(Instant::now()));
    loop {
        tokio::select! {
            biased;
            // First, or streams that came since would be begun before anybody looks.
            _ = phase.wait_for(|phase| *phase != Phase::Serving), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            ended = &mut connection => return ended.map_err(io::Error::other),
            () = &mut timer => match deadlines.check(true) {
                Some(next) => timer.as_mut().reset(next.into()),
                None => return Ok(()),
            },
        }
    }
}

pin_project_lite::pin_project! {
    /// An HTTP/1.1 answer whose end opens the wait for the next request.
    struct NotifyEnd<B> {
        #[pin]
        body: B,
        deadlines: Rc<Deadlines>,
    }
    impl<B> PinnedDrop for NotifyEnd<B> {
        fn drop(this: Pin<&mut Self>) {
            this.deadlines.idle();
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
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
