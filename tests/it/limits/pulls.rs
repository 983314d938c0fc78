//! `pulls_per_identity`: the requests that are pulls, their cost, and the headers that clients get.

use tokio::io::AsyncWriteExt;

use super::{assert_limited, gate};
use crate::harness::{
    EMPTY_INDEX, INDEX_TYPE, READ_WRITE, Reply, Setup, TestGate, read_to_close, request,
};
use crate::http2_client::{begin, connect_with_windows};
use crate::identity::answer;
use crate::scripted_upstream::{ScriptedUpstream, soon};

const MANIFEST: &str = "/v2/demo/a/manifests/v1";
const ABSENT: &str = "/v2/demo/a/manifests/absent";
const FIVE: &str = "pulls_per_identity: { rate: 5/h, burst: 5 }";

async fn push(gate: &TestGate) -> String {
    let reply = gate.send("PUT", MANIFEST, Some(READ_WRITE), INDEX_TYPE, EMPTY_INDEX).await;
    assert_eq!((reply.status, reply.header("ratelimit-limit")), (201, None));
    reply.header("docker-content-digest").unwrap().to_owned()
}

async fn send(gate: &TestGate, method: &str, target: &str) -> Reply {
    gate.send(method, target, Some(READ_WRITE), "", "").await
}

fn left(reply: &Reply) -> (u16, Option<&str>, Option<&str>) {
    (reply.status, reply.header("ratelimit-limit"), reply.header("ratelimit-remaining"))
}

#[tokio::test]
async fn manifests_that_are_read_are_counted() {
    let gate = gate(vec![FIVE]).await;
    let digest = push(&gate).await;
    let limit = Some("5;w=3600");
    // Neither a HEAD nor a missing manifest is a pull.
    for method in ["HEAD", "GET", "HEAD"] {
        assert_eq!(left(&send(&gate, method, ABSENT).await), (404, limit, Some("5;w=3600")));
    }
    assert_eq!(left(&send(&gate, "HEAD", MANIFEST).await), (200, limit, Some("5;w=3600")));
    assert_eq!(left(&send(&gate, "GET", MANIFEST).await), (200, limit, Some("4;w=3600")));
    let by_digest = format!("/v2/demo/a/manifests/{digest}");
    assert_eq!(left(&send(&gate, "GET", &by_digest).await), (200, limit, Some("3;w=3600")));
    for left in [2, 1, 0] {
        let reply = send(&gate, "GET", MANIFEST).await;
        assert_eq!(reply.header("ratelimit-remaining"), Some(&*format!("{left};w=3600")));
    }
    let forwarded = gate.forwarded();
    let reply = send(&gate, "GET", MANIFEST).await;
    assert_limited(&reply, 700, 720);
    assert_eq!(left(&reply), (429, limit, Some("0;w=3600")));
    assert_eq!(gate.forwarded(), forwarded);
    assert_eq!(left(&send(&gate, "HEAD", MANIFEST).await), (200, limit, Some("0;w=3600")));
    // Other requests are not pulls, and a caller who is not verified is told nothing about limits.
    assert_eq!(left(&send(&gate, "GET", "/v2/demo/a/tags/list").await), (200, None, None));
    assert_eq!(left(&gate.get(MANIFEST, None).await), (401, None, None));
    assert_eq!(left(&gate.get(MANIFEST, Some(("alice", "wrong"))).await), (401, None, None));
    let metrics = gate.admin("/metrics").await.body;
    assert!(
        metrics.contains("moorgate_limited_total{limit=\"pulls_per_identity\"} 1\n"),
        "{metrics}"
    );
}

/// A window is reported in whole seconds, rounded up.
#[tokio::test]
async fn the_window_is_the_time_of_a_burst() {
    let gate = gate(vec!["pulls_per_identity: { rate: 1000/s, burst: 1500 }"]).await;
    assert_eq!(send(&gate, "HEAD", ABSENT).await.header("ratelimit-limit"), Some("1500;w=2"));
}

/// A pull that ends with any status but 200 or 206 is given back, and the registry's own rate limit
/// headers do not appear beside the gate's.
#[tokio::test]
async fn a_failed_pull_does_not_count() {
    let (mut upstream, gate) =
        ScriptedUpstream::behind(Setup { limits: vec![FIVE], ..Setup::default() }).await;
    for (number, (answer, status, after)) in [
        ("HTTP/1.1 304 Not Modified\r\nEtag: \"a\"\r\n\r\n", 304, "5;w=3600"),
        ("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nRateLimit-Reset: 9\r\n\r\n", 500, "5;w=3600"),
        ("HTTP/1.1 401 Who\r\nContent-Length: 0\r\n\r\n", 502, "5;w=3600"),
        ("nonsense\r\n\r\n", 502, "5;w=3600"),
        // The whole manifest was announced, so the pull counts for now.
        (
            "HTTP/1.1 200 OK\r\nRateLimit-Limit: 100;w=21600\r\nX-RateLimit-Remaining: 1\r\n\
             Content-Length: 9\r\n\r\nhalf",
            200,
            "4;w=3600",
        ),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", 304, "5;w=3600"),
        // A range can hold the whole manifest.
        (
            "HTTP/1.1 206 Part\r\nContent-Range: bytes 0-1/2\r\n\
             Content-Length: 2\r\n\r\n{}",
            206,
            "4;w=3600",
        ),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", 304, "4;w=3600"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = gate.connect().await;
        client
            .write_all(request("GET", MANIFEST, Some(READ_WRITE), "", "").as_bytes())
            .await
            .unwrap();
        let (mut connection, _) = upstream.accept_request().await;
        connection.write(answer).await;
        drop(connection);
        let reply = Reply::parse(&read_to_close(&mut client).await);
        assert_eq!(left(&reply), (status, Some("5;w=3600"), Some(after)), "{answer}");
        assert_eq!(reply.head.to_ascii_lowercase().matches("ratelimit").count(), 2, "{reply:?}");
        drop(client);
        // The gate knows the end of the request once it is logged.
        gate.log(number + 1).await;
    }
}

/// A manifest without its last byte is as useful as the whole one, so a client that never takes
/// that byte has made a pull, although the answer breaks off.
#[tokio::test]
async fn a_pull_whose_last_byte_is_not_taken_counts() {
    let http = vec!["stall_timeout: 200ms"];
    let setup = Setup { tls: true, limits: vec![FIVE], http, ..Setup::default() };
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let (sender, _driver) = connect_with_windows(&gate, 9, 65_535).await;
    let (answer, _) = begin(&sender, "GET", MANIFEST, true).await;
    let (mut connection, _) = upstream.accept_request().await;
    connection
        .write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789")
        .await;
    let mut body = soon(answer).await.unwrap().into_body();
    assert_eq!(soon(body.data()).await.unwrap().unwrap().len(), 9);
    assert_eq!(gate.log(1).await[0]["reason"], "client_stalled");

    let client = gate.http2().await;
    let (answer, _) = begin(&client, "HEAD", MANIFEST, true).await;
    let (mut connection, _) = upstream.accept_request().await;
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await;
    assert_eq!(soon(answer).await.unwrap().headers()["ratelimit-remaining"], "4;w=3600");
}

/// The credential is verified at first, and rejected when the registry refuses its grant. A caller
/// who is asked to log in is told nothing about limits.
#[tokio::test]
async fn a_401_says_nothing_of_limits() {
    let setup =
        Setup { limits: vec![FIVE], upstream: vec!["authorization: grant"], ..Setup::default() };
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let registry = async {
        let (mut connection, _) = upstream.accept_request().await;
        gate.gitlab.always(Some(answer(401, "")));
        connection.write("HTTP/1.1 401 Who\r\nContent-Length: 0\r\n\r\n").await;
    };
    let (reply, ()) = tokio::join!(send(&gate, "GET", MANIFEST), registry);
    assert_eq!(left(&reply), (401, None, None));
}
