//! The writes of an HTTP/2 connection, and the windows that the gate opens.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{READ_WRITE, Setup, TestGate, basic, trusting};
use crate::hostile::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, block, encode, read,
};
use crate::http2_client::{ask, begin};
use crate::scripted_upstream::{BLOB, ScriptedUpstream, soon};

/// The gate alone answers token requests, so all answers are ready in one turn. Each is so long
/// that HTTP/2 by itself would write it separately.
#[tokio::test]
async fn the_answers_of_one_turn_come_in_one_tls_record() {
    let setup = Setup { tls: true, tokens: vec!["challenge: bearer"], ..Setup::default() };
    let gate = TestGate::start(setup).await;
    let credential = basic(READ_WRITE);
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/token?service=registry.test"),
        (":authority", "registry.test"),
        ("authorization", &*credential),
    ];
    let request = |stream: u32| encode(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields));

    let (mut client, records) = connect_counting(&gate).await;
    let opening = [PREFACE, &encode(SETTINGS, 0, 0, &[]), &request(1)].concat();
    client.write_all(&opening).await.unwrap();
    // From the first answer on, the verdict about the credential is in the cache.
    while answer(&soon(read(&mut client)).await.unwrap()).is_none() {}
    let before = records.get();
    client.write_all(&(1..=8).flat_map(|n| request(2 * n + 1)).collect::<Vec<_>>()).await.unwrap();
    for _ in 0..8 {
        let length = loop {
            if let Some(length) = answer(&soon(read(&mut client)).await.unwrap()) {
                break length;
            }
        };
        assert!(length > 256, "{length}");
    }
    assert_eq!(records.get() - before, 1);
}

/// A full TLS record has 16 KiB. A frame that is longer by its own head would take two.
#[tokio::test]
async fn each_frame_of_a_large_body_fits_a_tls_record() {
    const BODY: usize = 300_000;
    let (mut upstream, gate) =
        ScriptedUpstream::behind(Setup { tls: true, ..Setup::default() }).await;
    let credential = basic(READ_WRITE);
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", BLOB),
        (":authority", "registry.test"),
        ("authorization", &*credential),
    ];
    let (mut client, records) = connect_counting(&gate).await;
    let window = |stream| encode(WINDOW_UPDATE, 0, stream, &1_000_000_u32.to_be_bytes());
    let request = encode(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields));
    let opening = [PREFACE, &encode(SETTINGS, 0, 0, &[]), &request, &window(0), &window(1)];
    client.write_all(&opening.concat()).await.unwrap();
    let mut registry = upstream.accept().await;
    registry.head().await;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
    let answer = [answer.into_bytes(), vec![b'x'; BODY]].concat();
    registry.stream.write_all(&answer).await.unwrap();

    let (mut came, mut frames) = (0, 0);
    while came < BODY {
        let (kind, _, _, payload) = soon(read(&mut client)).await.unwrap();
        if kind == DATA {
            assert!(payload.len() + 9 <= 16 * 1024, "{}", payload.len());
            (came, frames) = (came + payload.len(), frames + 1);
        }
    }
    // With the handshake, the settings and the head of the answer.
    assert!(records.get() <= frames + 8, "{} records, {frames} frames", records.get());
}

/// Opens a connection for HTTP/2, and returns the number of TLS records that came on it so far.
async fn connect_counting(gate: &TestGate) -> (TlsStream<CountRecords>, Rc<Cell<usize>>) {
    let records = Rc::new(Cell::new(0));
    let socket = gate.connect().await;
    let socket = CountRecords { socket, skip: 0, head: Vec::new(), count: records.clone() };
    let mut config = trusting(&gate.certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = "localhost".try_into().unwrap();
    let client = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
    (client, records)
}

/// A socket that counts the TLS records that come.
struct CountRecords {
    socket: TcpStream,
    /// The number of bytes to skip: the rest of a record.
    skip: usize,
    /// The bytes of the head of a record as far as they came.
    head: Vec<u8>,
    count: Rc<Cell<usize>>,
}

impl CountRecords {
    fn scan(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let head = bytes.len().min(5 - self.head.len());
            self.head.extend_from_slice(&bytes[..head]);
            bytes = &bytes[head..];
            if let [_, _, _, high, low] = self.head[..] {
                self.skip = usize::from(u16::from_be_bytes([high, low]));
                self.head.clear();
                self.count.set(self.count.get() + 1);
            }
        }
    }
}

impl AsyncRead for CountRecords {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
        self.scan(&buffer.filled()[before..]);
        read
    }
}

impl AsyncWrite for CountRecords {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Returns the length of the body if the frame ends an answer with a body.
fn answer((kind, flags, _, payload): &(u8, u8, u32, Vec<u8>)) -> Option<usize> {
    (*kind == DATA && flags & END_STREAM != 0).then_some(payload.len())
}

/// The windows bound the memory that unread bodies take. One stream alone does not use up the
/// window of the connection, so a body that waits does not hold up the others.
#[tokio::test]
async fn one_stream_may_send_4_mib_unread_and_all_streams_5_mib() {
    const MIB: usize = 1024 * 1024;
    let gate = TestGate::tls().await;
    let (sender, driver) = h2::client::Builder::new()
        .max_send_buffer_size(64 * MIB)
        .handshake(gate.connect_tls(&[b"h2"]).await)
        .await
        .unwrap();
    tokio::spawn(driver);
    // From the first answer on, the client knows the windows.
    ask(&sender, "GET", "/v2/").await;
    let mut streams = Vec::new();
    for expected in [4 * MIB, MIB] {
        let (answer, mut stream) =
            begin(&sender, "PATCH", "/v2/demo/a/blobs/uploads/1", false).await;
        stream.reserve_capacity(64 * MIB);
        let room = soon(std::future::poll_fn(|cx| stream.poll_capacity(cx))).await;
        assert_eq!(room.unwrap().unwrap(), expected);
        streams.push((answer, stream));
    }
}
