//! Class 4, after the head: chunks that two programs could read differently, and bodies of requests
//! that must not have one.

use std::time::Duration;

use moorgate::demo::registry::BodyEnd;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::frames::{Fate, RawHttp2};
use super::{assert_refusal, authorization, head, hidden, http2, http2_request, talk};
use crate::harness::{READ_WRITE, Reply, Setup, TestGate, digest_of, some_digest};
use crate::scripted_upstream::only;

/// An upload with malformed or unusual chunks either reaches the registry with exactly these five
/// bytes, or breaks off there too.
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
        let ended = gate
            .ledger
            .wait_until(|entries| entries.iter().all(|entry| entry.body().end != BodyEnd::Open));
        let entries = timeout(Duration::from_secs(1), ended)
            .await
            .unwrap_or_else(|_| panic!("{chunks:?} stays open"));
        assert!(entries.iter().all(|entry| !entry.target.contains("hidden")), "{chunks:?}");
        for entry in &entries[before..] {
            let body = entry.body();
            let mended = ["5;ext=1\r", "5 \r"].iter().any(|start| chunks.starts_with(start));
            assert!(
                body.end == BodyEnd::Broken || (mended && body.bytes == 5),
                "{chunks:?}: {body:?}: {answer}"
            );
        }
    }
}

/// hyper limits the total size of chunk extensions, so an upload that exceeds the limit breaks off.
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
    let ended = gate
        .ledger
        .wait_until(|entries| entries.iter().all(|entry| entry.body().end != BodyEnd::Open));
    let entries = timeout(Duration::from_secs(1), ended).await.expect("the upload stays open");
    assert!(entries.iter().all(|entry| entry.body().end == BodyEnd::Broken), "{entries:?}");
}

/// The gate refuses a body on a request that has none by definition: an upstream that expects no
/// body would read it as the next request.
#[tokio::test]
async fn a_body_on_a_request_that_must_have_none_is_refused() {
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
        for framing in
            [format!("Content-Length: {}", smuggled.len()), "Transfer-Encoding: chunked".to_owned()]
        {
            let chunked = framing.starts_with('T');
            let chunks = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
            let body = if chunked { chunks } else { smuggled.clone() };
            let message =
                head(&[&start, "Host: registry.test", &authorization(), &framing]) + &body;
            let (answer, _) = talk(&gate, message.into_bytes()).await;
            let reply = Reply::parse(&answer);
            assert_eq!(
                (reply.status, reply.header("connection")),
                (400, Some("close")),
                "{start} {framing}: {answer}"
            );
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

/// The gate accepts an announced body that turns out to be empty: some clients choose the framing
/// before they know the length.
#[tokio::test]
async fn an_empty_body_on_a_request_that_must_have_none_is_accepted() {
    let gate = TestGate::plain().await;
    let tls = TestGate::tls().await;
    let digest = some_digest();
    for (method, target, status) in [
        ("GET", "/v2/".to_owned(), 200),
        ("GET", "/v2/demo/a/manifests/v1".to_owned(), 404),
        ("HEAD", "/v2/demo/a/manifests/v1".to_owned(), 404),
        ("GET", format!("/v2/demo/a/blobs/{digest}"), 404),
        ("DELETE", "/v2/demo/a/blobs/uploads/id".to_owned(), 404),
        ("GET", "/token?scope=repository:demo/a:pull".to_owned(), 200),
    ] {
        let start = format!("{method} {target} HTTP/1.1");
        let ping = head(&[
            "GET /v2/ HTTP/1.1",
            "Host: registry.test",
            &authorization(),
            "Connection: close",
        ]);
        for body in ["0\r\n\r\n", "000;x=y\r\n\r\n"] {
            let chunked = head(&[
                &start,
                "Host: registry.test",
                &authorization(),
                "Transfer-Encoding: chunked",
            ]);
            let (answer, _) = talk(&gate, (chunked + body + &ping).into_bytes()).await;
            // Both requests were answered, so the connection is still usable.
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{start}: {answer}");
            assert_eq!(Reply::parse(&answer).status, status, "{start}: {answer}");
            assert!(answer.ends_with("{}"), "{start}: {answer}");
        }
        let entry = gate.ledger.entries().pop();
        let framing =
            entry.map(|entry| entry.headers.keys().any(|name| name == "transfer-encoding"));
        assert!(framing != Some(true), "the registry was told of a body");
        for length in [None, Some("0")] {
            for pieces in [&[""][..], &["", ""]] {
                let credential = super::frames::credential();
                let mut fields = super::frames::fields(method, &target, &credential);
                fields.extend(length.map(|length| ("content-length", length)));
                let mut connection = RawHttp2::connect(&tls).await;
                connection.headers(&fields, false).await;
                for (number, piece) in pieces.iter().enumerate() {
                    connection.data(piece.as_bytes(), number + 1 == pieces.len()).await;
                }
                assert_eq!(connection.fate().await, Fate::Status(status), "{start}");
            }
        }
    }
    assert_eq!((gate.forwarded(), tls.forwarded()), (8, 16));
}

/// The gate forwards nothing before it knows that the body is empty. After `stall_timeout` it ends
/// the request, also if the client keeps sending frames without data.
#[tokio::test]
async fn stall_timeout_ends_a_request_whose_announced_body_never_ends() {
    let http = || only("stall_timeout: 300ms");
    let gate = TestGate::start(Setup { http: http(), ..Setup::default() }).await;
    let tls = TestGate::start(Setup { http: http(), tls: true, ..Setup::default() }).await;
    let begun = std::time::Instant::now();
    let start = ["GET /v2/demo/a/manifests/v1 HTTP/1.1", "Host: registry.test", &authorization()];
    let (answer, _) =
        talk(&gate, head(&[&start[..], &["Transfer-Encoding: chunked"]].concat()).into_bytes())
            .await;
    assert_eq!(answer, "");
    let credential = super::frames::credential();
    for noise in [false, true] {
        let mut connection = RawHttp2::connect(&tls).await;
        connection
            .headers(&super::frames::fields("GET", "/v2/demo/a/manifests/v1", &credential), false)
            .await;
        let fate = if noise {
            let (mut reading, mut writing) = tokio::io::split(connection.into_stream());
            let noise = async {
                loop {
                    writing
                        .write_all(&super::frames::encode(super::frames::DATA, 0, 1, b""))
                        .await
                        .unwrap();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            let reset = async {
                while let Some((kind, ..)) = super::frames::read(&mut reading).await {
                    if kind == super::frames::RST_STREAM {
                        return true;
                    }
                }
                false
            };
            tokio::select! {
                () = noise => false,
                reset = timeout(crate::harness::PATIENCE, reset) => reset.unwrap(),
            }
        } else {
            matches!(connection.fate().await, Fate::Reset(_))
        };
        assert!(fate, "noise {noise}");
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(600) && begun.elapsed() < Duration::from_secs(10)
    );
    assert_eq!((gate.forwarded(), tls.forwarded()), (0, 0));
    for gate in [&gate, &tls] {
        assert_eq!(gate.log(1).await[0]["reason"], "client_stalled");
    }
}
