//! The public listener: one single-threaded runtime per worker, each with its own socket on the
//! same port (`SO_REUSEPORT`). Each connection is accepted, served and forwarded on one thread.

mod ambiguity_scan;
mod client_stream;
mod connection;
mod connection_limit;
mod deadlines;
mod frame_scan;
mod http1;
mod http2;
mod key_schedule;
mod linger;
mod listener_health;
mod own_headers;
mod proxy_header;
mod proxy_protocol;
mod pulse;
mod scanned;
mod seen_phase;
mod snapshot;
mod stream_executor;
mod tls;
mod turn_buffer;

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::LocalSet;

pub use connection_limit::ConnectionLimit;
pub use listener_health::ListenerHealth;
pub use pulse::Pulse;
pub use snapshot::Snapshot;
pub use tls::server_tls;

use crate::log_throttle::LogThrottle;
use crate::net::client_address::TrustedProxies;
use crate::record::Recorder;
use crate::upstream::SWEEP_EVERY;
use listener_health::ReportPanic;
use snapshot::Newest;

/// The number of connections that the kernel queues while all workers are busy.
const BACKLOG: i32 = 4096;

/// The pause after an accept that failed, for example for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The settings of client connections. A connection keeps the settings that it was accepted with.
pub struct ServerSettings {
    /// The TLS settings. `None`: plain HTTP/1.1.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The time at which the served certificate expires; `None` without TLS.
    pub certificate_ends: Option<SystemTime>,
    /// The peers that must send a PROXY header; a header from any other peer is refused. `None`:
    /// no peer must send one, and a connection that begins with one is neither valid TLS nor
    /// valid HTTP.
    pub proxy_protocol: Option<TrustedProxies>,
    /// The longest time from accept to the end of the TLS handshake; without TLS, to the end of
    /// the PROXY header.
    pub handshake_timeout: Duration,
    /// The longest time from the end of the handshake, or from the first byte of a later request,
    /// to the end of the request's headers.
    pub header_timeout: Duration,
    /// The longest time between requests.
    pub idle_timeout: Duration,
    /// The longest time that a body makes no progress.
    pub stall_timeout: Duration,
    /// The largest size of a request's headers, in bytes.
    pub max_header_bytes: usize,
}

/// The phase that the workers were told to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// The gate still serves, and its responses ask clients to leave.
    Leaving,
    /// New connections are not accepted; requests under way are completed.
    Draining,
    /// Connections that are still open are dropped.
    Cut,
}

impl Phase {
    fn is_draining(self) -> bool {
        matches!(self, Self::Draining | Self::Cut)
    }
}

/// The running workers.
pub struct Server {
    workers: Vec<oneshot::Receiver<usize>>,
    phase: watch::Sender<Phase>,
    pulse: Pulse,
}

/// The state of one worker.
struct Worker {
    newest: Newest,
    recorder: Arc<Recorder>,
    open: Cell<usize>,
    closed: Notify,
    phase: watch::Receiver<Phase>,
    log_throttle: LogThrottle,
}

/// Binds one socket for each worker, all on the same port. For port 0 the kernel picks the port.
///
/// # Errors
/// [`io::Error`] if a socket cannot be bound to the address.
pub fn bind(addr: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    refuse_to_share(addr)?;
    let first = bind_one(addr)?;
    let addr = first.local_addr()?;
    let others = (1..workers).map(|_| bind_one(addr));
    std::iter::once(Ok(first)).chain(others).collect()
}

/// Returns an error if another socket listens on the address. Sockets with `SO_REUSEPORT` share a
/// port with such sockets of any other process of the same user, without an error. The probe does
/// not set this option, so it fails in that case.
fn refuse_to_share(addr: SocketAddr) -> io::Result<()> {
    let probe = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    probe.set_reuse_address(true)?;
    probe.bind(&addr.into())
}

/// Makes one listening socket usable for each worker. All workers then take connections from one
/// queue, and so does any other process that has the socket.
///
/// All of them share the mark that accepts do not wait. A process that removes it makes the workers
/// of all gates hang.
///
/// # Errors
/// [`io::Error`] if the socket cannot be set up or duplicated.
pub fn share(listener: TcpListener, workers: usize) -> io::Result<Vec<TcpListener>> {
    listener.set_nonblocking(true)?;
    SockRef::from(&listener).set_tcp_nodelay(true)?;
    let others: Vec<_> = (1..workers).map(|_| listener.try_clone()).collect::<io::Result<_>>()?;
    Ok(std::iter::once(listener).chain(others).collect())
}

fn bind_one(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Linux passes the option on to each accepted connection, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves one connection over any stream, without TLS, until the connection ends. Tests and fuzzers
/// use this function in place of a socket. It must run within a [`LocalSet`].
///
/// # Errors
/// [`io::Error`] if the connection failed.
#[doc(hidden)]
pub async fn serve_stream<S>(
    snapshots: watch::Receiver<Arc<Snapshot>>,
    stream: S,
    peer: SocketAddr,
    http2: bool,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    // The worker keeps serving only while this sender exists.
    let (_phase, told) = watch::channel(Phase::Serving);
    let recorder = snapshots.borrow().gate.recorder.clone();
    let worker = Rc::new(Worker::new(Newest::new(snapshots), recorder, told));
    connection::serve_stream(&worker, stream, peer, http2).await
}

impl Server {
    /// Starts a worker for each listener. `limit` applies to all workers together. They take no
    /// connection before `ready` is `true`.
    ///
    /// # Errors
    /// [`io::Error`] if a thread or a runtime cannot be started.
    pub fn start(
        listeners: Vec<TcpListener>,
        limit: &Arc<ConnectionLimit>,
        health: &Arc<ListenerHealth>,
        snapshots: &watch::Receiver<Arc<Snapshot>>,
        ready: &watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let (phase, told) = watch::channel(Phase::Serving);
        // All snapshots share one recorder.
        let recorder = snapshots.borrow().gate.recorder.clone();
        let (mut workers, mut pulse) = (Vec::new(), Pulse::new());
        for (number, listener) in listeners.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (snapshots, recorder) = (snapshots.clone(), recorder.clone());
            let (limit, health, told) = (limit.clone(), health.clone(), told.clone());
            let ready = ready.clone();
            let (done, ended) = oneshot::channel();
            let answering = pulse.add_worker();
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                let _report = ReportPanic(&health);
                let local = LocalSet::new();
                local.spawn_local(answering.run());
                let worker = Rc::new(Worker::new(Newest::new(snapshots), recorder, told));
                let serving = worker.run(listener, limit, health.clone(), ready);
                let left = local.block_on(&runtime, serving);
                // Drops the connections that are still open before `done` reports the end of this
                // worker.
                drop(local);
                let _ = done.send(left);
            })?;
            workers.push(ended);
        }
        Ok(Self { workers, phase, pulse })
    }

    /// Returns the pulse of the workers, which shows whether they are alive.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Asks clients to leave: a response closes its connection, unless an upload has begun on it.
    pub fn leave(&self) {
        self.phase.send_replace(Phase::Leaving);
    }

    /// Stops accepting connections and waits until all requests have ended. After `timeout` the
    /// remaining connections are cut off. Returns the number of connections that were cut off.
    pub async fn drain(self, timeout: Duration) -> usize {
        self.phase.send_replace(Phase::Draining);
        let mut all = std::pin::pin!(async {
            let mut left = 0;
            for worker in self.workers {
                left += worker.await.unwrap_or(0);
            }
            left
        });
        if let Ok(left) = tokio::time::timeout(timeout, &mut all).await {
            return left;
        }
        self.phase.send_replace(Phase::Cut);
        all.await
    }
}

impl Worker {
    fn new(newest: Newest, recorder: Arc<Recorder>, phase: watch::Receiver<Phase>) -> Self {
        let (open, closed, log_throttle) = (Cell::new(0), Notify::new(), LogThrottle::default());
        Self { newest, recorder, open, closed, phase, log_throttle }
    }

    /// Serves until the drain has ended. Returns the number of connections that were still open
    /// then.
    async fn run(
        self: Rc<Self>,
        listener: TcpListener,
        limit: Arc<ConnectionLimit>,
        health: Arc<ListenerHealth>,
        mut ready: watch::Receiver<bool>,
    ) -> usize {
        let mut phase = self.phase.clone();
        let worker = self.clone();
        tokio::task::spawn_local(async move { worker.newest.follow().await });
        let worker = self.clone();
        tokio::task::spawn_local(async move { worker.tend_upstream().await });
        let accept = async {
            // Until then, connections wait in the kernel's queue.
            let _ = ready.wait_for(|ready| *ready).await;
            self.clone().accept(listener, limit, &health).await
        };
        tokio::select! {
            never = accept => match never {
                Ok(never) => match never {},
                Err(error) => {
                    health.worker_stopped();
                    tracing::error!("a worker stopped listening: {error}; restart the gate");
                }
            },
            _ = phase.wait_for(|phase| phase.is_draining()) => {}
        }
        while self.open.get() > 0 {
            tokio::select! {
                () = self.closed.notified() => {}
                _ = phase.wait_for(|phase| *phase == Phase::Cut) => {
                    self.recorder.cut_off();
                    break;
                }
            }
        }
        self.open.get()
    }

    async fn accept(
        self: Rc<Self>,
        listener: TcpListener,
        limit: Arc<ConnectionLimit>,
        health: &ListenerHealth,
    ) -> io::Result<std::convert::Infallible> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    // A connection above the limit waits here; later ones wait in the backlog. The
                    // permit is taken after the accept, so that an idle worker does not hold a
                    // permit that a busy worker could use.
                    let permit = match limit.free_place() {
                        Some(permit) => Some(permit),
                        None => {
                            let _waiting = health.full(SystemTime::now());
                            limit.place().await
                        }
                    };
                    let Some(permit) = permit else { continue };
                    let worker = self.clone();
                    self.open.set(self.open.get() + 1);
                    self.recorder.metrics.connections.inc();
                    tokio::task::spawn_local(async move {
                        let _open = OpenConnection(worker.clone());
                        let _permit = permit;
                        worker.serve(socket, peer).await;
                    });
                }
                // The client of this connection has left already.
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    health.not_accepted(&error, SystemTime::now());
                    let topic = "no connection can be accepted";
                    if let Some(left_out) = self.log_throttle.line(&topic, Instant::now()) {
                        tracing::error!(left_out = left_out.same, "{topic}: {error}");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Closes connections to the registry that have been idle for too long, in an endless loop.
    async fn tend_upstream(&self) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            self.newest.serving().upstream.sweep();
        }
    }

    async fn serve(self: Rc<Self>, socket: TcpStream, peer: SocketAddr) {
        if let Err(error) = connection::serve(&self, socket, peer).await {
            tracing::debug!(%peer, "a connection ended: {error}");
        }
    }
}

/// Returns whether an accept failed because of the one connection that it would have accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// A guard that counts a connection as open until it is dropped, also by a panic.
struct OpenConnection(Rc<Worker>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.recorder.metrics.connections.dec();
        self.0.closed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_connections_do_not_wait_for_full_packets() {
        let listeners = bind(([127, 0, 0, 1], 0).into(), 1).unwrap();
        let [listener] = &listeners[..] else { panic!("one listener") };
        listener.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }
}
