//! One HTTP/2 connection.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, sleep_until, timeout};

use super::deadlines::Deadlines;
use super::frame_scan::{FrameScan, Goodbye};
use super::linger::{LINGER_TIME, linger};
use super::own_headers::own_headers;
use super::scanned::Scanned;
use super::seen_phase::SeenPhase;
use super::stream_executor::StreamExecutor;
use super::turn_buffer::{Gather, TurnBuffer};
use super::{Phase, Worker};
use crate::gate::{ConnectionInfo, ConnectionState};

/// The number of bytes that a client may send on a stream before it must wait. On a path of 50 ms,
/// it lets one stream use 80 % of 500 Mbit/s: a client waits for the first half of the window to be
/// read and for the news of it.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// The same number for all streams together. A stream whose body waits leaves some of it to the
/// other streams.
const CONNECTION_WINDOW_BYTES: u32 = 5 * 1024 * 1024;
const MAX_STREAMS: u32 = 128;
/// The largest number of streams that a client may reset before the gate begins them (rapid reset,
/// CVE-2023-44487). If a client resets a stream that has begun, the gate abandons the stream at
/// once; `MAX_STREAMS` bounds the number of such streams.
const MAX_RESETS_WAITING: usize = 20;
/// The largest number of streams that a client may make the gate reset during the life of a
/// connection (MadeYouReset, CVE-2025-8671). Each stream above `MAX_STREAMS` counts, and an honest
/// client may open some before it learns that limit.
const MAX_RESETS_PROVOKED: usize = 256;
const MAX_FRAME_BYTES: u32 = 32 * 1024;
/// The length of a piece of a response that fills a TLS record (RFC 8446, 5.1) together with the
/// head of its DATA frame (RFC 9113, 4.1). A longer one takes a second record, of a few bytes.
const MAX_PIECE_BYTES: usize = 16 * 1024 - 9;
/// The number of bytes of a stream that may wait for its window to open.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// The longest pause between reads after the connection has ended, while the client takes the end
/// of a response. A client that reads sends window updates again and again.
const LINGER_PAUSE: Duration = Duration::from_secs(1);

/// Serves a connection whose client chose HTTP/2, until the connection ends.
pub(super) async fn serve_http2<S>(
    worker: &Rc<Worker>,
    stream: S,
    peer: SocketAddr,
    deadlines: &Rc<Deadlines>,
) -> io::Result<()>
where
    S: AsyncRead + Gather + Unpin + 'static,
{
    let mut stream = SharedStream(Rc::new(RefCell::new(TurnBuffer::new(stream))));
    let ended = serve_streams(worker, stream.clone(), peer, deadlines).await;
    // The socket must stay open for what the client sends while it reads the end of a response,
    // such as window updates. Otherwise the connection is reset, and the bytes still on their way
    // are lost.
    if ended.is_ok() && deadlines.is_being_read() {
        let ending = async {
            stream.shutdown().await?;
            linger(stream, LINGER_PAUSE).await;
            Ok(())
        };
        return timeout(LINGER_TIME, ending).await.unwrap_or(Ok(()));
    }
    ended
}

/// Serves the streams of a connection. Returns once no stream is left, or none that the gate waits
/// for.
async fn serve_streams<S>(
    worker: &Rc<Worker>,
    stream: SharedStream<S>,
    peer: SocketAddr,
    deadlines: &Rc<Deadlines>,
) -> io::Result<()>
where
    S: AsyncRead + Gather + Unpin + 'static,
{
    let scan = Rc::new(FrameScan::default());
    let state = Rc::new(ConnectionState::default());
    let service = service_fn(|request| {
        let connection_info = ConnectionInfo {
            peer: peer.ip(),
            http2: true,
            ambiguous: false,
            connection: state.clone(),
            progress: deadlines.begin(),
        };
        let serving = worker.newest.serving();
        let received = serving.snapshot.gate.receive(request, connection_info);
        // Boxed once, because hyper and tokio move the future of a stream several times.
        Box::pin(async move {
            let mut response = serving.snapshot.gate.serve(received, &serving.upstream).await;
            own_headers(response.headers_mut());
            response.body_mut().cut_pieces(MAX_PIECE_BYTES);
            Ok::<_, Infallible>(response)
        })
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
            .serve_connection(TokioIo::new(Scanned::new(stream.clone(), scan.clone())), service)
    );
    let mut phase = SeenPhase::new(&worker.phase);
    let (mut seen, mut said_goodbye) = (Phase::Serving, false);
    let mut timer = pin!(sleep_until(deadlines.first_check(true)));
    loop {
        tokio::select! {
            biased;
            // Polled first, so that streams that arrived meanwhile are not begun during the drain.
            _ = phase.changes() => {
                seen = phase.seen();
                state.leave();
                if said_goodbye && seen.is_draining() {
                    deadlines.drain();
                    timer.as_mut().reset(Instant::now());
                }
            }
            event = poll_fn(|cx| {
                let ended = connection.as_mut().poll(cx);
                // All that the connection has to send in this turn goes out now, even if the
                // connection has ended. A socket without room for it wakes this task later.
                let sent = stream.poll_send(cx);
                if let Poll::Ready(ended) = ended {
                    return Poll::Ready(ConnectionEvent::Ended(ended.map_err(io::Error::other)));
                }
                if let Poll::Ready(Err(error)) = sent {
                    return Poll::Ready(ConnectionEvent::Ended(Err(error)));
                }
                match scan.take_goodbye() {
                    Some(goodbye) => Poll::Ready(ConnectionEvent::ClientLeaves(goodbye)),
                    // During the delay, a new connection may have one request. Some clients wait
                    // for the settings before their first one, and would connect again and again.
                    None if !said_goodbye
                        && state.is_last()
                        && (seen.is_draining() || state.has_begun()) =>
                    {
                        Poll::Ready(ConnectionEvent::GateLeaves)
                    }
                    None => Poll::Pending,
                }
            }) => match event {
                ConnectionEvent::Ended(ended) => return ended,
                // The client has no use for its streams after a connection error.
                ConnectionEvent::ClientLeaves(Goodbye::Error) => return Ok(()),
                ConnectionEvent::ClientLeaves(Goodbye::Graceful) => {
                    deadlines.leave();
                    timer.as_mut().reset(Instant::now());
                }
                ConnectionEvent::GateLeaves => {
                    said_goodbye = true;
                    connection.as_mut().graceful_shutdown();
                    if seen.is_draining() {
                        deadlines.drain();
                        timer.as_mut().reset(Instant::now());
                    }
                }
            },
            () = &mut timer => match deadlines.check(true) {
                Some(next) => timer.as_mut().reset(next.into()),
                None => return Ok(()),
            },
        }
    }
}

/// An event of a connection.
enum ConnectionEvent {
    Ended(io::Result<()>),
    /// The client sent GOAWAY.
    ClientLeaves(Goodbye),
    /// The gate has to send GOAWAY.
    GateLeaves,
}

/// A stream that outlives hyper's connection, and that sends at the end of each turn.
struct SharedStream<S>(Rc<RefCell<TurnBuffer<S>>>);

impl<S: Gather + Unpin> SharedStream<S> {
    fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }
}

impl<S> Clone for SharedStream<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SharedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buffer)
    }
}

impl<S: Gather + Unpin> AsyncWrite for SharedStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use crate::gate::{Gate, Received};
    use crate::upstream::Upstream;

    /// Each request takes memory for everything that a stage may wait for, and this memory is
    /// copied when the request begins. Therefore, what is rare is boxed.
    #[test]
    fn the_future_of_a_request_is_small() {
        fn bytes<F>(_: fn(&'static Gate, Received, &'static Upstream) -> F) -> usize {
            size_of::<F>()
        }
        assert!(bytes(Gate::serve) <= 5_760, "{} bytes", bytes(Gate::serve));
    }
}
