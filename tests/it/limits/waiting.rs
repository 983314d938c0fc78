//! Writes that come slightly too early wait, because clients that push do not honour `Retry-After`.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use super::{PULL, assert_limited, gate};
use crate::harness::{READ_WRITE, Setup, TestGate, request};
use crate::scripted_upstream::UPLOADS;

/// A limit whose interval is shorter than the longest wait.
const SHORT: &str = "per_identity: { rate: 1/s, burst: 1 }";

#[tokio::test]
async fn an_early_write_waits_and_is_then_forwarded() {
    for limit in ["per_client: { rate: 4/s, burst: 1 }", "per_identity: { rate: 4/s, burst: 1 }"] {
        let gate = gate(vec![limit]).await;
        let begun = Instant::now();
        for (number, (method, target, status)) in [
            ("POST", UPLOADS, 202),
            ("PUT", "/v2/demo/a/manifests/v1", 400),
            ("DELETE", "/v2/demo/a/blobs/uploads/none", 404),
            ("PATCH", "/v2/demo/a/blobs/uploads/none", 404),
        ]
        .into_iter()
        .enumerate()
        {
            let body = if method == "DELETE" { "" } else { "x" };
            let reply = gate.send(method, target, Some(READ_WRITE), "", body).await;
            assert_eq!(reply.status, status, "{limit} {method}: {reply:?}");
            assert!(begun.elapsed() >= Duration::from_millis(250) * u32::try_from(number).unwrap());
        }
        assert_eq!(gate.forwarded(), 4);
    }
}

#[tokio::test]
async fn a_write_that_would_wait_too_long_is_refused_at_once() {
    let gate = gate(vec!["per_identity: { rate: 1/h, burst: 1 }"]).await;
    assert_eq!(gate.send("POST", UPLOADS, Some(READ_WRITE), "", "").await.status, 202);
    let reply = gate.send("POST", UPLOADS, Some(READ_WRITE), "", &"x".repeat(500_000)).await;
    assert_limited(&reply, 3500, 3600);
    assert_eq!(gate.forwarded(), 1);
}

/// The time that a request waits does not count towards the deadlines of bodies.
#[tokio::test]
async fn the_wait_for_a_limit_does_not_count_as_a_stall() {
    let gate = TestGate::start(Setup {
        limits: vec![SHORT],
        http: vec!["stall_timeout: 200ms", "idle_timeout: 200ms"],
        ..Setup::default()
    })
    .await;
    for _ in 0..2 {
        let reply = gate.send("POST", UPLOADS, Some(READ_WRITE), "", &"x".repeat(200_000)).await;
        assert_eq!(reply.status, 202);
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_is_not_counted() {
    let gate = gate(vec!["per_identity: { rate: 40/m, burst: 1 }"]).await;
    assert_eq!(gate.send("POST", UPLOADS, Some(READ_WRITE), "", "").await.status, 202);
    for number in 1..=5 {
        let mut client = gate.connect().await;
        client
            .write_all(request("POST", UPLOADS, Some(READ_WRITE), "", "").as_bytes())
            .await
            .unwrap();
        drop(client);
        // The request is logged once the client is gone.
        gate.log(1 + number).await;
    }
    let reply = gate.get(PULL, Some(READ_WRITE)).await;
    assert!(
        reply.status == 404
            || reply.header("retry-after").is_some_and(|wait| wait == "1" || wait == "2"),
        "{reply:?}"
    );
}
