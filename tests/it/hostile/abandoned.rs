//! Class 37: HTTP/2 downloads that the client abandons while it takes no data. For every way of
//! leaving, the gate closes the upstream connection within a second, leaks nothing, and keeps the
//! other streams of the client alive.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::client::TlsStream;

use super::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, credential, encode, fields, number, read,
};
use crate::harness::{Setup, TestGate, listener};
use crate::scripted_upstream::{BLOB, only, soon};

/// The time within which every part of an abandoned download must be gone.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The size of the blob, in bytes: more than all buffers between the registry and the client hold.
const BLOB_BYTES: usize = 16 << 20;
const PIECE_BYTES: usize = 64 * 1024;

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

/// A registry that answers each request with a long blob on a separate connection, and counts those
/// connections.
struct Downloads {
    address: std::net::SocketAddr,
    open: watch::Receiver<usize>,
    accepted: Arc<AtomicUsize>,
}

impl Downloads {
    /// Starts the registry. It sends `pieces` pieces of the blob and then waits.
    fn start(pieces: usize) -> Self {
        let listener = listener();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let (count, open) = watch::channel(0);
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = accepted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                count.send_modify(|open| *open += 1);
                let count = count.clone();
                tokio::spawn(async move {
                    send_blob(stream, pieces).await;
                    count.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { address, open, accepted }
    }

    async fn behind(http: Vec<&'static str>) -> (Self, TestGate) {
        Self::sending(BLOB_BYTES / PIECE_BYTES, http).await
    }

    async fn sending(pieces: usize, http: Vec<&'static str>) -> (Self, TestGate) {
        let downloads = Self::start(pieces);
        let setup = Setup {
            tls: true,
            http,
            upstream_address: Some(downloads.address),
            ..Setup::default()
        };
        let gate = TestGate::start(setup).await;
        (downloads, gate)
    }

    /// Waits until exactly `expected` connections are open.
    async fn open(&self, expected: usize) {
        let mut open = self.open.clone();
        let reached =
            tokio::time::timeout(crate::harness::PATIENCE, open.wait_for(|open| *open == expected))
                .await;
        assert!(reached.is_ok(), "{} are open, not {expected}", *self.open.borrow());
    }
}

/// Sends `pieces` pieces of the blob, then waits until the gate closes the connection.
async fn send_blob(mut stream: TcpStream, pieces: usize) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head =
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {BLOB_BYTES}\r\n\r\n");
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    let piece = vec![b'x'; PIECE_BYTES];
    for _ in 0..pieces {
        if stream.write_all(&piece).await.is_err() {
            return;
        }
    }
    let _ = stream.read(&mut [0; 1]).await;
}

/// A client that controls its flow-control windows frame by frame.
struct Client(TlsStream<TcpStream>);

impl Client {
    /// Connects with an initial window of `window` bytes for each stream. The window of the
    /// connection is practically unbounded.
    async fn connect(gate: &TestGate, window: u32) -> Self {
        let mut stream = gate.connect_tls(&[b"h2"]).await;
        let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
        let opened = encode(WINDOW_UPDATE, 0, 0, &0x4000_0000_u32.to_be_bytes());
        stream
            .write_all(&[PREFACE, &encode(SETTINGS, 0, 0, &settings), &opened].concat())
            .await
            .unwrap();
        Self(stream)
    }

    async fn send(&mut self, frames: &[u8]) {
        self.0.write_all(frames).await.unwrap();
        self.0.flush().await.unwrap();
    }

    async fn ask(&mut self, streams: impl Iterator<Item = u32>) {
        let block = block(&fields("GET", BLOB, &credential()));
        let frames: Vec<_> =
            streams.map(|id| encode(HEADERS, END_HEADERS | END_STREAM, id, &block)).collect();
        self.send(&frames.concat()).await;
    }

    async fn reset(&mut self, streams: impl Iterator<Item = u32>, reason: u32) {
        let frames: Vec<_> =
            streams.map(|id| encode(RST_STREAM, 0, id, &reason.to_be_bytes())).collect();
        self.send(&frames.concat()).await;
    }

    /// Opens the window of a stream for the whole blob.
    async fn open_window(&mut self, stream: u32) {
        let size = u32::try_from(BLOB_BYTES).unwrap();
        self.send(&encode(WINDOW_UPDATE, 0, stream, &size.to_be_bytes())).await;
    }

    /// Reads until `count` answers have begun.
    async fn answered(&mut self, mut count: usize) {
        while count > 0 {
            let (kind, flags, _, _) = soon(read(&mut self.0)).await.expect("the connection went");
            match kind {
                HEADERS => count -= 1,
                SETTINGS if flags & ACK == 0 => self.send(&encode(SETTINGS, ACK, 0, &[])).await,
                GOAWAY => panic!("the gate left"),
                _ => {}
            }
        }
    }

    /// Reads until these streams have ended, and returns the number of bytes received on each.
    async fn read_to_ends(&mut self, mut streams: Vec<u32>) -> HashMap<u32, usize> {
        let mut received = HashMap::new();
        while !streams.is_empty() {
            let (kind, flags, stream, payload) =
                soon(read(&mut self.0)).await.expect("the connection went");
            if kind == DATA {
                *received.entry(stream).or_default() += payload.len();
            }
            assert!(
                kind != RST_STREAM || !streams.contains(&stream),
                "{stream} was reset: {}",
                number(&payload)
            );
            if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                streams.retain(|open| *open != stream);
            }
        }
        received
    }
}

/// Returns the ids of the first `count` streams of a client.
fn first(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

#[derive(Clone, Copy, Debug)]
enum Leave {
    Reset(u32),
    Goodbye(u32),
    Close,
}

/// A download ends at the registry at once when its client leaves, also when the window of the
/// stream is closed. The window is exhausted at the start, after little data, or after more than
/// one piece.
#[tokio::test]
async fn a_download_ends_when_its_client_leaves_at_a_closed_window() {
    for leave in [
        Leave::Reset(CANCEL),
        Leave::Reset(NO_ERROR),
        Leave::Goodbye(NO_ERROR),
        Leave::Goodbye(INTERNAL_ERROR),
        Leave::Close,
    ] {
        for window in [0, 1000, 200_000] {
            let (downloads, gate) = Downloads::behind(only("stall_timeout: 1m")).await;
            let mut client = Client::connect(&gate, window).await;
            client.ask(first(4)).await;
            client.answered(4).await;
            downloads.open(4).await;
            let left = Instant::now();
            match leave {
                Leave::Reset(reason) => client.reset(first(4), reason).await,
                Leave::Goodbye(reason) => {
                    client
                        .send(&encode(GOAWAY, 0, 0, &[[0; 4], reason.to_be_bytes()].concat()))
                        .await;
                }
                Leave::Close => drop(client),
            }
            downloads.open(0).await;
            assert!(left.elapsed() < AT_ONCE, "{leave:?} at {window}: {:?}", left.elapsed());
        }
    }
}

/// A download ends at the registry at once when its client leaves, also when the stream's window is
/// open and the client does not read from the socket.
#[tokio::test]
async fn a_download_ends_when_a_client_that_does_not_read_leaves() {
    for leave in [Leave::Reset(CANCEL), Leave::Goodbye(INTERNAL_ERROR), Leave::Close] {
        let (downloads, gate) = Downloads::behind(only("stall_timeout: 1m")).await;
        let mut client = Client::connect(&gate, 1 << 30).await;
        client.ask(first(8)).await;
        downloads.open(8).await;
        // By then every buffer between the registry and the client is full.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let left = Instant::now();
        match leave {
            Leave::Reset(reason) => client.reset(first(8), reason).await,
            Leave::Goodbye(reason) => {
                client.send(&encode(GOAWAY, 0, 0, &[[0; 4], reason.to_be_bytes()].concat())).await;
            }
            Leave::Close => drop(client),
        }
        downloads.open(0).await;
        assert!(left.elapsed() < AT_ONCE, "{leave:?}: {:?}", left.elapsed());
    }
}

#[tokio::test]
async fn stall_timeout_ends_downloads_at_a_closed_window() {
    let (downloads, gate) = Downloads::behind(only("stall_timeout: 300ms")).await;
    let begun = Instant::now();
    let mut client = Client::connect(&gate, 1000).await;
    client.ask(first(4)).await;
    client.answered(4).await;
    downloads.open(0).await;
    assert!(
        begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_secs(5)
    );
}

/// The streams that are kept deliver their whole blobs after the client has reset the others, also
/// after a time in which the client read nothing.
#[tokio::test]
async fn the_other_streams_survive_the_reset_of_downloads() {
    for window in [0, 200_000, 1 << 30] {
        let (downloads, gate) = Downloads::behind(only("stall_timeout: 1s")).await;
        let mut client = Client::connect(&gate, window).await;
        client.ask(first(8)).await;
        downloads.open(8).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let kept = [3, 9];
        client.reset(first(8).filter(|id| !kept.contains(id)), CANCEL).await;
        // The upstream connections of the reset streams close before the client reads anything.
        let reading = async {
            downloads.open(2).await;
            if window < 1 << 30 {
                for id in kept {
                    client.open_window(id).await;
                }
            }
            client.read_to_ends(kept.to_vec()).await
        };
        let received = soon(reading).await;
        assert_eq!(kept.map(|id| received[&id]), [BLOB_BYTES; 2], "{window}");
        downloads.open(0).await;
        // The connection stays usable.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        client.ask([17].into_iter()).await;
        client.answered(1).await;
    }
}

/// A client that sends GOAWAY and continues to read receives its answers.
#[tokio::test]
async fn a_client_that_sends_goaway_still_receives_its_answers() {
    let (downloads, gate) = Downloads::behind(only("stall_timeout: 1m")).await;
    let mut client = Client::connect(&gate, 1000).await;
    client.ask(first(2)).await;
    downloads.open(2).await;
    client.send(&encode(GOAWAY, 0, 0, &[0; 8])).await;
    for id in first(2) {
        client.open_window(id).await;
    }
    let received = client.read_to_ends(first(2).collect()).await;
    assert_eq!((received[&1], received[&3]), (BLOB_BYTES, BLOB_BYTES));
}

/// 3,000 downloads on one connection, each reset after its answer has begun, leave no upstream
/// connection open. The gate continues to answer, on that connection too.
#[tokio::test]
async fn three_thousand_reset_downloads_leave_no_upstream_connection_open() {
    let (downloads, gate) = Downloads::sending(1, only("stall_timeout: 1m")).await;
    let mut client = Client::connect(&gate, 0).await;
    for round in 0..30 {
        let streams = (0..100).map(|number| 2 * (round * 100 + number) + 1);
        client.ask(streams.clone()).await;
        client.answered(100).await;
        client.reset(streams, CANCEL).await;
    }
    let left = Instant::now();
    downloads.open(0).await;
    assert!(left.elapsed() < AT_ONCE, "{:?}", left.elapsed());
    assert!(downloads.accepted.load(Ordering::SeqCst) >= 3000);
    for client in [&mut Client::connect(&gate, 1 << 30).await, &mut client] {
        client.ask([7001].into_iter()).await;
        client.answered(1).await;
    }
}
