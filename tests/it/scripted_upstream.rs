//! A registry that sends exactly the bytes of a test. It hands each connection to the test and
//! knows no HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::harness::{PATIENCE, READ_WRITE, Setup, TestGate, listener, request};

/// The target of a blob that does not exist.
pub const BLOB: &str =
    "/v2/demo/a/blobs/sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// The target that starts uploads.
pub const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";
/// The target of an upload under way.
pub const UPLOAD: &str = "/v2/demo/a/blobs/uploads/id";
/// The target of the last PUT of an upload.
pub const FINISH: &str = "/v2/demo/a/blobs/uploads/id?digest=\
                          sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A minimal answer.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The listening side of the registry.
pub struct ScriptedUpstream {
    pub address: SocketAddr,
    connections: mpsc::UnboundedReceiver<UpstreamConnection>,
    accepted: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

/// A connection from the gate.
pub struct UpstreamConnection {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    requests: Arc<AtomicUsize>,
}

/// The head of a request.
#[derive(Debug)]
pub struct Head(pub String);

impl ScriptedUpstream {
    /// Starts listening.
    pub fn start() -> Self {
        let listener = listener();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let (sender, connections) = mpsc::unbounded_channel();
        let (accepted, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counter, heads) = (accepted.clone(), requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let connection =
                    UpstreamConnection { stream, buffer: Vec::new(), requests: heads.clone() };
                if sender.send(connection).is_err() {
                    return;
                }
            }
        });
        Self { address, connections, accepted, requests }
    }

    /// Starts the registry with a gate in front. The gate has one worker by default, so that all
    /// connections share one pool.
    pub async fn behind(mut setup: Setup) -> (Self, TestGate) {
        let upstream = Self::start();
        setup.upstream_address = Some(upstream.address);
        setup.workers = setup.workers.or(Some(1));
        let gate = TestGate::start(setup).await;
        (upstream, gate)
    }

    /// Waits for the next connection from the gate.
    pub async fn accept(&mut self) -> UpstreamConnection {
        soon(self.connections.recv()).await.unwrap()
    }

    /// Waits for a new connection and the head of its first request.
    pub async fn accept_request(&mut self) -> (UpstreamConnection, Head) {
        let mut connection = self.accept().await;
        let head = connection.head().await;
        (connection, head)
    }

    /// Returns the number of connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Returns the number of request heads read so far, on all connections.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl UpstreamConnection {
    /// Reads the head of a request.
    pub async fn head(&mut self) -> Head {
        self.next_head().await.expect("closed before a request")
    }

    /// Reads the head of a request. Returns `None` if the gate closes the connection instead.
    pub async fn next_head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
                self.requests.fetch_add(1, Ordering::SeqCst);
                return Some(Head(head));
            }
            if self.read().await == 0 {
                assert!(
                    self.buffer.is_empty(),
                    "closed in a head: {:?}",
                    String::from_utf8_lossy(&self.buffer)
                );
                return None;
            }
        }
    }

    /// Reads `count` bytes of a body.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.read().await > 0, "closed in a body after {} bytes", self.buffer.len());
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads until these bytes have arrived.
    pub async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return self.buffer.drain(..at + end.len()).collect();
            }
            assert!(self.read().await > 0, "closed in a body after {} bytes", self.buffer.len());
        }
    }

    /// Waits until the gate closes or resets the connection. Returns the received bytes that were
    /// not read yet.
    pub async fn closed(&mut self) -> Vec<u8> {
        while self.read().await > 0 {}
        std::mem::take(&mut self.buffer)
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Reads once. Returns zero at the end, for a close and for a reset.
    async fn read(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        let read = soon(self.stream.read(&mut buffer)).await.unwrap_or(0);
        self.buffer.extend_from_slice(&buffer[..read]);
        read
    }
}

impl Head {
    /// Returns the method and the target.
    pub fn line(&self) -> (&str, &str) {
        let mut words = self.0.split(' ');
        (words.next().unwrap(), words.next().unwrap())
    }

    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// Waits for a future for at most [`PATIENCE`].
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it never came")
}

/// Returns the bytes of a request with a valid credential that keeps the connection open.
pub fn open_request(method: &str, target: &str, headers: &str, body: &str) -> String {
    request(method, target, Some(READ_WRITE), headers, body).replace("Connection: close\r\n", "")
}

/// Returns an `http` section in which only this deadline is short, so that it must have caused any
/// end.
pub fn only(line: &'static str) -> Vec<&'static str> {
    let long =
        ["handshake_timeout: 1m", "header_timeout: 1m", "idle_timeout: 1m", "stall_timeout: 1m"];
    let key = line.split(':').next().unwrap();
    let others = long.into_iter().filter(|other| other.split(':').next() != Some(key));
    others.chain([line]).collect()
}

/// Writes until the peer has read nothing for `quiet`, and returns the number of bytes that it
/// took. Panics if they reach `limit`.
pub async fn write_until_stalled(
    stream: &mut (impl tokio::io::AsyncWrite + Unpin),
    quiet: Duration,
    limit: usize,
) -> usize {
    let piece = [b'x'; 16 * 1024];
    let mut written = 0;
    loop {
        match tokio::time::timeout(quiet, stream.write(&piece)).await {
            Ok(result) => written += result.unwrap(),
            Err(_) => return written,
        }
        assert!(written < limit, "everything was taken");
    }
}
