//! One client connection: a PROXY header if the peer must send one, TLS, then HTTP/1.1 or HTTP/2 as
//! the client chose. Each wait has a deadline.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::Worker;
use super::client_stream::ClientStream;
use super::deadlines::Deadlines;
use super::http1::serve_http1;
use super::http2::serve_http2;
use super::proxy_protocol;
use super::tls::handshake;
use super::turn_buffer::Gather;
use crate::net::monitored_io::{IoStatus, MonitoredIo};

/// A connection that is ready for its first request.
struct Opened {
    stream: OpenedStream,
    /// The client's address.
    peer: SocketAddr,
    deadlines: Rc<Deadlines>,
}

enum OpenedStream {
    Plain(MonitoredIo<TcpStream>),
    Tls(ClientStream),
}

/// Serves a connection until it ends.
///
/// Each phase is a boxed future of its own: a connection that waits for a request holds nothing of
/// the handshake and nothing of hyper.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    socket: TcpStream,
    peer: SocketAddr,
) -> io::Result<()> {
    let Opened { stream, peer, deadlines } = Box::pin(open(worker, socket, peer)).await?;
    match stream {
        OpenedStream::Plain(stream) => {
            Box::pin(serve_http1(worker, stream, peer, &deadlines)).await
        }
        OpenedStream::Tls(stream) if stream.speaks_http2() => {
            Box::pin(serve_http2(worker, stream, peer, &deadlines)).await
        }
        OpenedStream::Tls(stream) => Box::pin(serve_http1(worker, stream, peer, &deadlines)).await,
    }
}

/// Reads the PROXY header if the peer must send one, and performs the TLS handshake.
async fn open(worker: &Rc<Worker>, mut socket: TcpStream, peer: SocketAddr) -> io::Result<Opened> {
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
    let stream = match &settings.tls {
        None => OpenedStream::Plain(MonitoredIo::tcp(socket, io_status.clone())),
        Some(tls) => {
            let handshake = handshake(tls, socket, &io_status);
            let stream = timeout_at(handshake_by, handshake).await??;
            io_status.mark();
            OpenedStream::Tls(stream)
        }
    };
    Ok(Opened { stream, peer, deadlines: Rc::new(Deadlines::new(settings, io_status)) })
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

/// A socket without TLS, or a stream in memory, gathers nothing.
impl<S: AsyncWrite + Unpin> Gather for MonitoredIo<S> {
    fn poll_gather(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, slices)
    }
}
