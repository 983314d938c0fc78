//! The public listener: one single-threaded runtime a worker, each with a socket of its own on the
//! same port (`SO_REUSEPORT`), so that a connection is accepted, served and forwarded without ever
//! changing threads.

mod connection;
mod connection_limit;
mod deadlines;
mod frame_scan;
mod head_scan;
mod http2;
mod linger;
mod proxy_header;
mod proxy_protocol;
mod scanned;
mod snapshot;
mod stall;
mod tls;

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::LocalSet;

pub use connection_limit::ConnectionLimit;
pub use snapshot::Snapshot;
pub use tls::server_tls;

use crate::net::client_address::TrustedProxies;
use crate::record::Recorder;
use crate::upstream::SWEEP_EVERY;
use snapshot::Newest;

/// Connections that the kernel holds while all workers are busy.
const BACKLOG: i32 = 4096;

/// After this an accept that failed for want of file descriptors is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How connections are treated. One keeps what it was accepted with.
pub struct ServerSettings {
    /// None: plain HTTP/1.1.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// When the certificate that is served ends; `None` without TLS.
    pub certificate_ends: Option<SystemTime>,
    /// Of whom a PROXY header is demanded, and from nobody else taken. None: of nobody, and what
    /// looks like one is no TLS and no HTTP.
    pub proxy_protocol: Option<TrustedProxies>,
    /// From accept to the end of the TLS handshake, and without TLS of the PROXY header.
    pub handshake_timeout: Duration,
    /// From there, or from the first byte of a later request, to the end of its headers.
    pub header_timeout: Duration,
    /// Between requests.
    pub idle_timeout: Duration,
    /// A body that makes no progress.
    pub stall_timeout: Duration,
    /// The most that a request's headers may take, in bytes.
    pub max_header_bytes: usize,
}

/// What the workers have been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// No new connections; requests under way come to their end.
    Draining,
    /// What is still open is dropped.
    Cut,
}

/// The running workers.
pub struct Server {
    workers: Vec<oneshot::Receiver<usize>>,
    phase: watch::Sender<Phase>,
}

/// Everything that a worker needs.
struct Worker {
    newest: Newest,
    recorder: Arc<Recorder>,
    open: Cell<usize>,
    closed: Notify,
    phase: watch::Receiver<Phase>,
    complaints: proxy_protocol::Complaints,
}

/// One socket for each worker, all on the same port. Port 0 lets the kernel pick one.
///
/// # Errors
/// Where the address cannot be had.
pub fn bind(addr: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    refuse_to_share(addr)?;
    let first = bind_one(addr)?;
    let addr = first.local_addr()?;
    let others = (1..workers).map(|_| bind_one(addr));
    std::iter::once(Ok(first)).chain(others).collect()
}

/// Sockets that share a port share it with those of any other process of this user that does the
/// same, without a word. One that does not share finds out.
fn refuse_to_share(addr: SocketAddr) -> io::Result<()> {
    let probe = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    probe.set_reuse_address(true)?;
    probe.bind(&addr.into())
}

fn bind_one(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves one connection over any stream, without TLS, to its end: for tests and fuzzers that have
/// no use for a socket. Within a [`LocalSet`].
///
/// # Errors
/// What was wrong with the connection.
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
    // As long as this lives, the worker goes on.
    let (_phase, told) = watch::channel(Phase::Serving);
    let recorder = snapshots.borrow().gate.recorder.clone();
    let worker = Rc::new(Worker::new(Newest::new(snapshots), recorder, told));
    connection::serve_stream(&worker, stream, peer, http2).await
}

impl Server {
    /// Starts a worker for each listener. `limit` is for all of them together.
    ///
    /// # Errors
    /// Where a thread or a runtime cannot be started.
    pub fn start(
        listeners: Vec<TcpListener>,
        limit: &Arc<ConnectionLimit>,
        snapshots: &watch::Receiver<Arc<Snapshot>>,
    ) -> io::Result<Self> {
        let (phase, told) = watch::channel(Phase::Serving);
        // The records of all snapshots go to one place.
        let recorder = snapshots.borrow().gate.recorder.clone();
        let mut workers = Vec::new();
        for (number, listener) in listeners.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (snapshots, recorder) = (snapshots.clone(), recorder.clone());
            let (limit, told) = (limit.clone(), told.clone());
            let (done, ended) = oneshot::channel();
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                let local = LocalSet::new();
                let worker = Rc::new(Worker::new(Newest::new(snapshots), recorder, told));
                let left = local.block_on(&runtime, worker.run(listener, limit));
                // Whatever is still open is dropped here, before anybody hears that this worker has
                // ended.
                drop(local);
                let _ = done.send(left);
            })?;
            workers.push(ended);
        }
        Ok(Self { workers, phase })
    }

    /// No new connections from here on; returns when all requests have ended, or `timeout` has
    /// passed and what was left was cut off. The number of connections that were cut off.
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
        let (open, closed, complaints) =
            (Cell::new(0), Notify::new(), proxy_protocol::Complaints::default());
        Self { newest, recorder, open, closed, phase, complaints }
    }

    /// Serves until told to stop; returns how many connections were still open then.
    async fn run(self: Rc<Self>, listener: TcpListener, limit: Arc<ConnectionLimit>) -> usize {
        let mut phase = self.phase.clone();
        let worker = self.clone();
        tokio::task::spawn_local(async move { worker.newest.follow().await });
        let worker = self.clone();
        tokio::task::spawn_local(async move { worker.tend_upstream().await });
        tokio::select! {
            never = self.clone().accept(listener, limit) => match never {
                Ok(never) => match never {},
                Err(error) => tracing::error!("a worker stopped listening: {error}"),
            },
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => {}
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
    ) -> io::Result<std::convert::Infallible> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut failing = false;
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    failing = false;
                    // A connection too many waits here; those behind it wait in the backlog. The
                    // permit is taken after accepting, so that an idle worker
                    // holds none that a busy one could use.
                    let Some(permit) = limit.place().await else { continue };
                    let worker = self.clone();
                    self.open.set(self.open.get() + 1);
                    self.recorder.metrics.connections.inc();
                    tokio::task::spawn_local(async move {
                        let _open = OpenConnection(worker.clone());
                        let _permit = permit;
                        worker.serve(socket, peer).await;
                    });
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!("no connection can be accepted: {error}");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Closes idle connections to the registry when their time has come, for ever.
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

/// Counts a connection as open until it is dropped, also by a panic.
struct OpenConnection(Rc<Worker>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.recorder.metrics.connections.dec();
        self.0.closed.notify_one();
    }
}
