//! Class 7: an incomplete body never looks complete to the registry, and the registry sees the
//! break within a second.

use std::time::Duration;

use moorgate::demo::registry::BodyEnd;
use socket2::SockRef;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frames::{Fate, RawHttp2, credential, fields};
use super::{BLOB_PUSH, authorization, head, status};
use crate::harness::{PATIENCE, TestGate, digest_of, read_to_close};

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

/// Waits until `bytes` bytes of the upload have reached the registry. `before` is the index of the
/// upload in the ledger.
async fn under_way(gate: &TestGate, before: usize, bytes: u64) {
    let arrived = gate
        .ledger
        .wait_until(|entries| entries.get(before).is_some_and(|entry| entry.body().bytes == bytes));
    timeout(PATIENCE, arrived).await.expect("the upload never arrived");
}

/// Opens an HTTP/2 connection with an unfinished upload of this length, and waits until the upload
/// has reached the registry.
async fn uploading(gate: &TestGate, credential: &str, length: Option<&str>) -> RawHttp2 {
    let before = gate.forwarded();
    let mut fields = fields("POST", BLOB_PUSH, credential);
    fields.extend(length.map(|length| ("content-length", length)));
    let mut connection = RawHttp2::connect(gate).await;
    connection.headers(&fields, false).await;
    connection.data(if length == Some("0") { b"" } else { b"hello" }, false).await;
    // If only the end of the stream is missing, the registry sees the request head, but must not
    // receive a complete body.
    let whole = length.is_some_and(|length| length != "10");
    under_way(gate, before, if whole { 0 } else { 5 }).await;
    connection
}

/// Asserts that the upload breaks off and that the registry receives nothing else.
async fn breaks_off(gate: &TestGate, before: usize, case: &str) {
    let ended = gate
        .ledger
        .wait_until(|entries| entries.iter().all(|entry| entry.body().end != BodyEnd::Open));
    let entries = timeout(Duration::from_secs(1), ended)
        .await
        .unwrap_or_else(|_| panic!("{case}: it stays open"));
    assert!(entries.len() <= before + 1, "{case}");
    assert!(entries.iter().all(|entry| entry.body().end == BodyEnd::Broken), "{case}: {entries:?}");
}

/// A way in which a client abandons its upload.
#[derive(Clone, Copy, Debug)]
enum Leave {
    Close,
    HalfClose,
    Abort,
}

impl Leave {
    /// Leaves the connection. The caller keeps the returned stream until the upload has broken off.
    /// `socket` returns the TCP stream below `stream`.
    async fn of<S: AsyncWrite + Unpin>(
        self,
        mut stream: S,
        socket: impl Fn(&S) -> &TcpStream,
    ) -> Option<S> {
        match self {
            Self::Close => {}
            Self::HalfClose => {
                stream.shutdown().await.unwrap();
                return Some(stream);
            }
            Self::Abort => SockRef::from(socket(&stream)).set_linger(Some(Duration::ZERO)).unwrap(),
        }
        None
    }
}

#[tokio::test]
async fn an_upload_breaks_off_when_its_http1_client_leaves() {
    let gate = TestGate::plain().await;
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        for leave in [Leave::Close, Leave::HalfClose, Leave::Abort] {
            let before = gate.forwarded();
            let start = format!("POST {BLOB_PUSH} HTTP/1.1");
            let body = if framing.starts_with('C') { "hello" } else { "5\r\nhello\r\n" };
            let mut stream = gate.connect().await;
            let message = head(&[&start, "Host: registry.test", &authorization(), framing]) + body;
            stream.write_all(message.as_bytes()).await.unwrap();
            under_way(&gate, before, 5).await;
            let kept = leave.of(stream, |stream| stream).await;
            breaks_off(&gate, before, &format!("{framing} {leave:?}")).await;
            drop(kept);
        }
    }
}

#[tokio::test]
async fn an_upload_breaks_off_when_its_http2_stream_is_reset() {
    let gate = TestGate::tls().await;
    let credential = credential();
    for length in [None, Some("10"), Some("5"), Some("0")] {
        for reason in [Some(NO_ERROR), Some(CANCEL), Some(INTERNAL_ERROR), None] {
            let before = gate.forwarded();
            let mut connection = uploading(&gate, &credential, length).await;
            match reason {
                Some(reason) => connection.data_and_reset(b"", reason).await,
                None => drop(connection),
            }
            breaks_off(&gate, before, &format!("length {length:?}, reason {reason:?}")).await;
        }
    }
}

/// The uploads on an HTTP/2 connection break off when it ends, with or without a GOAWAY before.
#[tokio::test]
async fn uploads_break_off_when_their_http2_connection_ends() {
    let gate = TestGate::tls().await;
    let credential = credential();
    for length in [None, Some("10"), Some("5"), Some("0")] {
        for leave in [Leave::Close, Leave::HalfClose, Leave::Abort] {
            for goodbye in [None, Some(NO_ERROR), Some(INTERNAL_ERROR)] {
                let before = gate.forwarded();
                let mut connection = uploading(&gate, &credential, length).await;
                if let Some(reason) = goodbye {
                    connection.goodbye(reason).await;
                }
                let kept = leave.of(connection.into_stream(), |stream| stream.get_ref().0).await;
                breaks_off(
                    &gate,
                    before,
                    &format!("length {length:?}, {leave:?}, goodbye {goodbye:?}"),
                )
                .await;
                drop(kept);
            }
        }
    }
}

/// The gate sees the last bytes and the reset at the same time, so only the reset shows that the
/// body is incomplete.
#[tokio::test]
async fn an_upload_breaks_off_if_a_reset_comes_with_its_last_bytes() {
    let gate = TestGate::tls().await;
    let credential = credential();
    for length in [None, Some("10"), Some("11")] {
        for reason in [NO_ERROR, CANCEL] {
            let before = gate.forwarded();
            let mut fields = fields("POST", BLOB_PUSH, &credential);
            fields.extend(length.map(|length| ("content-length", length)));
            let mut connection = RawHttp2::connect(&gate).await;
            connection.headers(&fields, false).await;
            connection.data(b"hello", false).await;
            under_way(&gate, before, 5).await;
            connection.data_and_reset(b"world", reason).await;
            breaks_off(&gate, before, &format!("length {length:?}, reason {reason}")).await;
        }
    }
}

#[tokio::test]
async fn a_body_that_does_not_match_its_content_length_is_refused() {
    let gate = TestGate::tls().await;
    let credential = credential();
    for (length, pieces) in [
        ("10", &["hello"][..]),
        ("10", &["hello", ""]),
        ("10", &[""]),
        ("10", &[]),
        ("5", &["hello world"]),
        ("5", &["hello", "world"]),
        ("0", &["hello"]),
    ] {
        let before = gate.forwarded();
        let mut fields = fields("POST", BLOB_PUSH, &credential);
        fields.push(("content-length", length));
        let mut connection = RawHttp2::connect(&gate).await;
        connection.headers(&fields, pieces.is_empty()).await;
        for (number, piece) in pieces.iter().enumerate() {
            connection.data(piece.as_bytes(), number + 1 == pieces.len()).await;
        }
        let case = format!("{length} {pieces:?}");
        let fate = connection.fate().await;
        assert!(fate.is_refused(), "{case}: {fate:?}");
        breaks_off(&gate, before, &case).await;
    }
}

#[tokio::test]
async fn trailers_are_refused() {
    let gate = TestGate::tls().await;
    let credential = credential();
    for length in [None, Some("5"), Some("0")] {
        for trailers in [
            &[("x-forwarded-for", "1.2.3.4")][..],
            &[("authorization", "Bearer x")],
            &[("content-length", "5")],
            &[(":path", "/v2/demo/b/manifests/v1")],
            &[("x", "y")],
        ] {
            let before = gate.forwarded();
            let mut fields = fields("POST", BLOB_PUSH, &credential);
            fields.extend(length.map(|length| ("content-length", length)));
            let mut connection = RawHttp2::connect(&gate).await;
            connection.headers(&fields, false).await;
            connection.data(if length == Some("0") { b"" } else { b"hello" }, false).await;
            connection.headers(trailers, true).await;
            let case = format!("length {length:?}, {trailers:?}");
            let fate = connection.fate().await;
            assert!(fate.is_refused(), "{case}: {fate:?}");
            breaks_off(&gate, before, &case).await;
        }
    }
}

/// Trailers are refused, also if the registry already has the whole body except for its end.
#[tokio::test]
async fn trailers_are_refused_even_if_the_registry_has_the_body() {
    let gate = TestGate::tls().await;
    let credential = credential();
    for length in [None, Some("5")] {
        let before = gate.forwarded();
        let mut fields = fields("POST", BLOB_PUSH, &credential);
        fields.extend(length.map(|length| ("content-length", length)));
        let mut connection = RawHttp2::connect(&gate).await;
        connection.headers(&fields, false).await;
        connection.data(b"hello", false).await;
        // The gate holds back the last bytes of a body with a length until the stream ends.
        under_way(&gate, before, if length.is_some() { 0 } else { 5 }).await;
        connection.headers(&[("x", "y")], true).await;
        assert_eq!(connection.fate().await, Fate::Status(400), "{length:?}");
        breaks_off(&gate, before, &format!("{length:?}")).await;
    }

    let gate = TestGate::plain().await;
    let start = format!("POST {BLOB_PUSH} HTTP/1.1");
    let mut stream = gate.connect().await;
    let message =
        head(&[&start, "Host: registry.test", &authorization(), "Transfer-Encoding: chunked"]);
    stream.write_all((message + "5\r\nhello\r\n").as_bytes()).await.unwrap();
    under_way(&gate, 0, 5).await;
    stream.write_all(b"0\r\nX: y\r\n\r\n").await.unwrap();
    let answer = read_to_close(&mut stream).await;
    assert_eq!(status(&answer), Some(400), "{answer}");
    breaks_off(&gate, 0, "HTTP/1.1").await;
}

/// The end of a stream may follow in a frame of its own after the last byte. The body is complete
/// then.
#[tokio::test]
async fn a_stream_may_end_behind_its_last_byte() {
    let gate = TestGate::tls().await;
    let credential = credential();
    for (length, pieces) in [
        (Some("5"), &["hello", ""][..]),
        (Some("5"), &["he", "llo", "", ""]),
        (Some("5"), &["", "hello"]),
        (None, &["hello", ""]),
        (Some("0"), &[""]),
        (Some("0"), &["", ""]),
        (None, &[""]),
    ] {
        let content = pieces.concat();
        let path = format!("/v2/demo/a/blobs/uploads/?digest={}", digest_of(content.as_bytes()));
        let mut fields = fields("POST", &path, &credential);
        fields.extend(length.map(|length| ("content-length", length)));
        let mut connection = RawHttp2::connect(&gate).await;
        connection.headers(&fields, false).await;
        for (number, piece) in pieces.iter().enumerate() {
            connection.data(piece.as_bytes(), number + 1 == pieces.len()).await;
        }
        assert_eq!(connection.fate().await, Fate::Status(201), "{length:?} {pieces:?}");
        let body = gate.ledger.entries().pop().unwrap().body();
        assert_eq!(
            (body.bytes, body.end),
            (content.len() as u64, BodyEnd::Complete),
            "{length:?} {pieces:?}"
        );
    }
}
