//! Class 5: a refused upload receives its status instead of a reset connection, and the gate never
//! reads its body as a request.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::frames::{Fate, RawHttp2, fields};
use super::{RefusedCase, assert_refusal, head, hidden, http2, http2_request, talk};
use crate::harness::{
    PATIENCE, READ_ONLY, READ_WRITE, Reply, TestGate, basic, digest_of, exchange, read_reply,
    read_to_close,
};

/// The size of a body, in bytes: more than the gate discards, and more than the socket buffers
/// hold.
const LARGE: usize = 10 * 1024 * 1024;

const REFUSED: [RefusedCase; 4] = [
    ("/v2/demo/a/blobs/uploads/", None, 401, "UNAUTHORIZED"),
    ("/v2/demo/a/blobs/uploads/", Some(READ_ONLY), 403, "DENIED"),
    ("/v2/demo/a/nothing/", Some(READ_WRITE), 400, "NAME_INVALID"),
    ("/nothing", Some(READ_WRITE), 404, "UNSUPPORTED"),
];

fn lines(target: &str, credential: Option<(&str, &str)>, framing: &str, expect: bool) -> String {
    let start = format!("POST {target} HTTP/1.1");
    let authorization =
        credential.map(|credential| format!("Authorization: {}", basic(credential)));
    let mut lines = vec![&*start, "Host: registry.test", framing];
    lines.extend(authorization.as_deref());
    lines.extend(expect.then_some("Expect: 100-continue"));
    head(&lines)
}

/// Creates a body of about `size` bytes that consists of allowed requests, in either framing.
/// Returns the framing header with it.
fn body(size: usize, chunked: bool) -> (String, Vec<u8>) {
    let requests = hidden().repeat(size / hidden().len()).into_bytes();
    if !chunked {
        return (format!("Content-Length: {}", requests.len()), requests);
    }
    let pieces = requests.chunks(64 * 1024);
    let pieces = pieces
        .flat_map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    let chunks = pieces.chain(*b"0\r\n\r\n").collect();
    ("Transfer-Encoding: chunked".into(), chunks)
}

/// A client that sends and reads at the same time, as most do, receives its status, and the
/// connection ends cleanly.
#[tokio::test]
async fn a_refused_upload_gets_its_status() {
    let gate = TestGate::plain().await;
    for chunked in [false, true] {
        let (framing, body) = body(LARGE, chunked);
        for (target, credential, status, code) in REFUSED {
            for expect in [false, true] {
                let case = format!("{target} {status} {framing} expect {expect}");
                let bytes =
                    [lines(target, credential, &framing, expect).as_bytes(), &body].concat();
                let (answer, end) = talk(&gate, bytes).await;
                assert!(end.is_ok(), "{case}: {end:?}");
                // Exactly one answer: no 100, and none to a request inside the body.
                assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{case}");
                let reply = Reply::parse(&answer);
                assert_refusal(&reply, status, code, &case);
                assert_eq!(reply.header("connection"), Some("close"), "{case}");
            }
        }
    }
    assert_eq!(gate.forwarded(), 0);
}

/// A client that reads only after it has sent all it can also receives its status.
#[tokio::test]
async fn a_refused_upload_gets_its_status_if_the_client_reads_late() {
    let gate = TestGate::plain().await;
    // A body that the gate discards can be sent to its end.
    for (size, whole) in [(512 * 1024, true), (LARGE, false)] {
        for chunked in [false, true] {
            let (framing, body) = body(size, chunked);
            for (target, credential, status, _) in REFUSED {
                let mut stream = gate.connect().await;
                stream
                    .write_all(lines(target, credential, &framing, false).as_bytes())
                    .await
                    .unwrap();
                let sent = timeout(PATIENCE, stream.write_all(&body))
                    .await
                    .expect("nobody takes the body");
                assert!(sent.is_ok() || !whole, "{sent:?}");
                let mut answer = vec![0; 4096];
                let read = stream.read(&mut answer).await.unwrap();
                assert_eq!(
                    Reply::parse(&String::from_utf8_lossy(&answer[..read])).status,
                    status,
                    "{size} {framing}"
                );
            }
        }
    }
    assert_eq!(gate.forwarded(), 0);
}

/// The gate discards the bytes that a client sends after its answer: a reset could destroy an
/// answer that the client has not read yet.
#[tokio::test]
async fn the_gate_discards_body_bytes_sent_after_its_answer() {
    let gate = TestGate::plain().await;
    for (target, credential, status, _) in REFUSED {
        let mut stream = gate.connect().await;
        stream
            .write_all(lines(target, credential, "Content-Length: 900000", false).as_bytes())
            .await
            .unwrap();
        assert_eq!(Reply::parse(&read_to_close(&mut stream).await).status, status);
        for _ in 0..90 {
            stream.write_all(&[b'x'; 10_000]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert!(stream.take_error().unwrap().is_none());
    }
}

/// A client that waits for the 100 is refused before it sends a byte of the body.
#[tokio::test]
async fn a_refused_upload_is_not_told_to_continue() {
    let gate = TestGate::plain().await;
    for (target, credential, status, _) in REFUSED {
        let mut stream = gate.connect().await;
        let reply =
            exchange(&mut stream, lines(target, credential, "Content-Length: 5", true)).await;
        assert_eq!((reply.status, reply.header("connection")), (status, Some("close")), "{target}");
    }
    assert_eq!(gate.forwarded(), 0);
}

#[tokio::test]
async fn an_accepted_upload_is_told_to_continue() {
    let gate = TestGate::plain().await;
    let target = format!("/v2/demo/a/blobs/uploads/?digest={}", digest_of(b"hello"));
    for (framing, body) in
        [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")]
    {
        let mut stream = gate.connect().await;
        stream.write_all(lines(&target, Some(READ_WRITE), framing, true).as_bytes()).await.unwrap();
        let mut go_on = [0; 25];
        timeout(PATIENCE, stream.read_exact(&mut go_on)).await.expect("no 100").unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        let reply = exchange(&mut stream, body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        // The connection stays usable.
        stream.write_all(hidden().as_bytes()).await.unwrap();
        assert_eq!(read_reply(&mut stream).await.status, 404);
    }
    assert_eq!(gate.forwarded(), 4);
    assert!(gate.ledger.entries().iter().all(|entry| !entry.headers.contains_key("expect")));
}

/// Over HTTP/2 a refusal ends only the stream. The connection stays usable, and its flow-control
/// window for bodies is restored.
#[tokio::test]
async fn an_http2_connection_outlives_refused_uploads() {
    let gate = TestGate::tls().await;
    let sender = gate.http2().await;
    let large = bytes::Bytes::from(vec![b'x'; LARGE]);
    for (target, credential, status, code) in REFUSED {
        for length in [false, true] {
            let mut request = http2_request("POST", target, credential);
            if length {
                request.headers_mut().insert("content-length", LARGE.into());
            }
            let reply = http2(&sender, request, Some(large.clone())).await.unwrap();
            assert_refusal(&reply, status, code, target);
            assert_eq!(reply.header("connection"), None);
        }
    }
    assert_eq!(gate.forwarded(), 0);
    let content = vec![b'y'; 3 * 1024 * 1024];
    let target = format!("/v2/demo/a/blobs/uploads/?digest={}", digest_of(&content));
    let reply = http2(&sender, http2_request("POST", &target, Some(READ_WRITE)), Some(content))
        .await
        .unwrap();
    assert_eq!(reply.status, 201);
}

/// Over HTTP/2 the gate reads on after a refusal. A reset of the stream would hide the refusal from
/// clients such as curl before version 8.
#[tokio::test]
async fn a_refused_upload_over_http2_is_not_reset() {
    let gate = TestGate::tls().await;
    for (target, status) in [
        ("/v2/demo/a/blobs/uploads/", 401),
        ("/v2/demo/a/blobs/uploads", 308),
        ("/v2/demo/a/nothing/", 400),
        ("/nothing", 404),
    ] {
        let mut connection = RawHttp2::connect(&gate).await;
        connection.headers(&fields("POST", target, "Basic x"), false).await;
        assert_eq!(connection.fate().await, Fate::Status(status), "{target}");
        for _ in 0..40 {
            connection.data(&[b'x'; 10_000], false).await;
        }
        connection.data(b"x", true).await;
        // Nothing else comes for this stream, so the next event is the end of the connection.
        connection.goodbye(0).await;
        let end = connection.fate().await;
        assert!(matches!(end, Fate::GoAway(0) | Fate::Closed), "{target}: {end:?}");
    }
    assert_eq!(gate.forwarded(), 0);
}
