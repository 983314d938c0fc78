//! Limits over HTTP/2.

use super::PULL;
use crate::harness::{Setup, TestGate};
use crate::http2_client::{ask, begin, body, send};
use crate::scripted_upstream::{ScriptedUpstream, UPLOAD, UPLOADS, soon};

async fn gate(limit: &'static str) -> TestGate {
    TestGate::start(Setup { tls: true, limits: vec![limit], ..Setup::default() }).await
}

#[tokio::test]
async fn a_limited_http2_request_has_its_status_and_headers() {
    let gate = gate("pulls_per_identity: { rate: 1/h, burst: 1 }").await;
    let client = gate.http2().await;
    let head = ask(&client, "HEAD", "/v2/demo/a/manifests/v1").await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["ratelimit-remaining"]),
        (404, &"1;w=3600".parse().unwrap())
    );
    drop(gate);

    let gate = self::gate("per_identity: { rate: 1/h, burst: 1 }").await;
    let client = gate.http2().await;
    assert_eq!(ask(&client, "GET", PULL).await.status(), 404);
    let refused = ask(&client, "GET", PULL).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &3600.into()));
    let text = String::from_utf8(body(refused).await.unwrap()).unwrap();
    assert!(text.contains("\"code\":\"TOOMANYREQUESTS\""), "{text}");
    assert_eq!(gate.forwarded(), 1);
}

/// Streams of one connection wait at the same time, and the deadline for bodies does not run
/// meanwhile.
#[tokio::test]
async fn early_http2_writes_wait_and_are_then_forwarded() {
    let setup = Setup {
        tls: true,
        limits: vec!["per_identity: { rate: 4/s, burst: 1 }"],
        http: vec!["stall_timeout: 200ms"],
        ..Setup::default()
    };
    let gate = TestGate::start(setup).await;
    let client = gate.http2().await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        let (answer, mut stream) = begin(&client, "POST", UPLOADS, false).await;
        send(&mut stream, vec![b'x'; 10_000].into(), true).await.unwrap();
        answers.push(answer);
    }
    for answer in answers {
        assert_eq!(soon(answer).await.unwrap().status(), 202);
    }
    assert_eq!(gate.forwarded(), 4);
}

#[tokio::test]
async fn a_reset_upload_lets_the_next_one_in() {
    let setup =
        Setup { tls: true, limits: vec!["concurrent_uploads_per_identity: 1"], ..Setup::default() };
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let client = gate.http2().await;
    let (_answer, mut stream) = begin(&client, "PATCH", UPLOAD, false).await;
    stream.send_data("x".into(), false).unwrap();
    let (_connection, _) = upstream.accept_request().await;
    stream.send_reset(h2::Reason::CANCEL);
    let next = async {
        loop {
            let status = ask(&client, "POST", UPLOADS).await.status();
            if status != 429 {
                break status;
            }
        }
    };
    let registry = async {
        let (mut connection, head) = upstream.accept_request().await;
        assert_eq!(head.line().0, "POST");
        connection.write("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").await;
    };
    let (status, ()) = tokio::join!(next, registry);
    assert_eq!(status, 202);
}
