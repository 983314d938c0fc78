//! Class 4, behind the head: chunks that two programs could read in two ways, and bodies where none belongs.

use std::time::Duration;

use moorgate::demo::registry::BodyEnd;
use tokio::time::timeout;

use super::{assert_refusal, authorization, head, hidden, http2, http2_request, talk};
use crate::harness::{READ_WRITE, Reply, TestGate, digest_of, some_digest};

/// An upload whose chunks are not plain either goes on with exactly these five bytes, or breaks off at the registry too.
#[tokio::test]
async fn odd_chunks_never_look_complete() {
    let gate = TestGate::plain().await;
    let target = format!("POST /v2/demo/a/blobs/uploads/?digest={} HTTP/1.1", digest_of(b"hello"));
    for chunks in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5;ext=1\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "5;\"\n\"\r\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nAuthorization: Bearer x\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        "5\r\nhello\r\n0\r\n: y\r\n\r\n",
    ] {
        let before = gate.forwarded();
        let message = head(&[
            &target,
            "Host: registry.test",
            "Connection: close",
            &authorization(),
            "Transfer-Encoding: chunked",
        ]);
        let (answer, _) = talk(&gate, (message + chunks + &hidden()).into_bytes()).await;
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{chunks:?}: {answer}");
        let ended = gate.ledger.wait_until(|entries| entries.iter().all(|entry| entry.body().end != BodyEnd::Open));
        let entries = timeout(Duration::from_secs(1), ended).await.unwrap_or_else(|_| panic!("{chunks:?} stays open"));
        assert!(entries.iter().all(|entry| !entry.target.contains("hidden")), "{chunks:?}");
        for entry in &entries[before..] {
            let body = entry.body();
            let mended = ["5;ext=1\r", "5 \r"].iter().any(|start| chunks.starts_with(start));
            assert!(body.end == BodyEnd::Broken || (mended && body.bytes == 5), "{chunks:?}: {body:?}: {answer}");
        }
    }
}

/// hyper bounds what stands in chunk extensions.
#[tokio::test]
async fn floods_of_chunk_extensions_break_off() {
    let gate = TestGate::plain().await;
    let lines = [
        "POST /v2/demo/a/blobs/uploads/ HTTP/1.1",
        "Host: registry.test",
        &authorization(),
        "Transfer-Encoding: chunked",
    ];
    let chunks = format!("1;{}\r\nx\r\n", "e".repeat(100)).repeat(1000);
    let _ = talk(&gate, (head(&lines) + &chunks + "0\r\n\r\n").into_bytes()).await;
    let ended = gate.ledger.wait_until(|entries| entries.iter().all(|entry| entry.body().end != BodyEnd::Open));
    let entries = timeout(Duration::from_secs(1), ended).await.expect("the upload stays open");
    assert!(entries.iter().all(|entry| entry.body().end == BodyEnd::Broken), "{entries:?}");
}

/// Whoever expects no body would read it as the next request.
#[tokio::test]
async fn no_body_where_none_belongs() {
    let gate = TestGate::plain().await;
    let tls = TestGate::tls().await;
    let sender = tls.http2().await;
    let upload = "/v2/demo/a/blobs/uploads/id".to_owned();
    for (method, target) in [
        ("GET", "/v2/".to_owned()),
        ("GET", "/v2/demo/a/manifests/v1".to_owned()),
        ("HEAD", "/v2/demo/a/manifests/v1".to_owned()),
        ("GET", format!("/v2/demo/a/blobs/{}", some_digest())),
        ("DELETE", "/v2/demo/a/manifests/v1".to_owned()),
        ("GET", upload.clone()),
        ("DELETE", upload),
    ] {
        let start = format!("{method} {target} HTTP/1.1");
        let smuggled = hidden();
        for framing in [format!("Content-Length: {}", smuggled.len()), "Transfer-Encoding: chunked".to_owned()] {
            let chunked = framing.starts_with('T');
            let body = if chunked { format!("0\r\n\r\n{smuggled}") } else { smuggled.clone() };
            let message = head(&[&start, "Host: registry.test", &authorization(), &framing]) + &body;
            let (answer, _) = talk(&gate, message.into_bytes()).await;
            let reply = Reply::parse(&answer);
            assert_eq!((reply.status, reply.header("connection")), (400, Some("close")), "{start} {framing}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        }
        let request = http2_request(method, &target, Some(READ_WRITE));
        let reply = http2(&sender, request, Some("body")).await.unwrap();
        assert_eq!(reply.status, 400, "{method} {target}");
        if method != "HEAD" {
            assert_refusal(&reply, 400, "UNSUPPORTED", &start);
        }
    }
    assert_eq!((gate.forwarded(), tls.forwarded()), (0, 0));
}
