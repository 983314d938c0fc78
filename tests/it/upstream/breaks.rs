//! Answers of the registry that break off: the client can always tell that the body is incomplete.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{READ_WRITE, Reply, Setup, read_to_close, request};
use crate::http2_client;
use crate::scripted_upstream::{BLOB, OK, ScriptedUpstream, UpstreamConnection, only, soon};

const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n";
const HALF_A_CHUNK: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nonly this";
const NO_LAST_LINE: &str =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n0\r\n";

fn assert_truncated(reply: &Reply, answer: &str) {
    assert_eq!(reply.status, 200);
    assert!(reply.body.contains("only this"), "what came first was lost: {reply:?}");
    match reply.header("content-length") {
        Some(length) => assert!(reply.body.len() < length.parse().unwrap(), "{answer}"),
        None => assert!(!reply.body.ends_with("0\r\n\r\n"), "{answer}: it looks whole: {reply:?}"),
    }
}

/// Closes the connection, with a reset if `reset` is set.
fn end(connection: UpstreamConnection, reset: bool) {
    if reset {
        socket2::SockRef::from(&connection.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

#[tokio::test]
async fn over_http1() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let cases = [(LENGTH, false), (CHUNKED, false), (HALF_A_CHUNK, false), (NO_LAST_LINE, false)];
    for (answer, reset) in cases.into_iter().chain([(LENGTH, true), (CHUNKED, true)]) {
        let mut client = gate.connect().await;
        client.write_all(request("GET", BLOB, Some(READ_WRITE), "", "").as_bytes()).await.unwrap();
        let (mut connection, _) = upstream.accept_request().await;
        connection.write(answer).await;
        // The client first receives these bytes, so that the close cannot overtake them.
        let mut bytes = Vec::new();
        while !String::from_utf8_lossy(&bytes).contains("only this") {
            assert!(soon(client.read_buf(&mut bytes)).await.unwrap() > 0);
        }
        end(connection, reset);
        let rest = read_to_close(&mut client).await;
        assert_truncated(&Reply::parse(&(String::from_utf8(bytes).unwrap() + &rest)), answer);
    }
    for line in gate.log(6).await {
        assert_eq!(
            (&line["status"], &line["reason"]),
            (&200.into(), &"upstream_aborted".into()),
            "{line}"
        );
        assert_eq!((&line["decision"], &line["bytes_out"]), (&"error".into(), &9.into()));
    }
}

#[tokio::test]
async fn over_http2() {
    let (mut upstream, gate) =
        ScriptedUpstream::behind(Setup { tls: true, ..Setup::default() }).await;
    let sender = gate.http2().await;
    for (answer, reset) in [
        (LENGTH, false),
        (CHUNKED, false),
        (HALF_A_CHUNK, false),
        (NO_LAST_LINE, false),
        (LENGTH, true),
    ] {
        let script = async {
            let (mut connection, _) = upstream.accept_request().await;
            connection.write(answer).await;
            connection
        };
        let (connection, response) =
            soon(async { tokio::join!(script, http2_client::ask(&sender, "GET", BLOB)) }).await;
        assert_eq!(response.status(), 200);
        end(connection, reset);
        let error = http2_client::body(response).await.expect_err(answer);
        assert!(error.is_reset() && error.is_remote(), "{answer}: {error:?}");
    }
    // Only the streams broke; the connection is still usable.
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write(OK).await;
    };
    let ((), response) =
        soon(async { tokio::join!(script, http2_client::ask(&sender, "GET", BLOB)) }).await;
    assert_eq!(http2_client::body(response).await.unwrap(), b"ok");
    let log = gate.log(6).await;
    assert!(log[..5].iter().all(|line| line["reason"] == "upstream_aborted"), "{log:?}");
}

/// `stall_timeout` breaks off an answer if the registry goes silent in the middle of it.
#[tokio::test]
async fn stall_timeout_breaks_off_an_answer_of_a_silent_registry() {
    let begun = Instant::now();
    let (mut upstream, gate) =
        ScriptedUpstream::behind(Setup { http: only("stall_timeout: 300ms"), ..Setup::default() })
            .await;
    for answer in [LENGTH, CHUNKED] {
        let script = async {
            let (mut connection, _) = upstream.accept_request().await;
            connection.write(answer).await;
            connection.closed().await;
        };
        let ((), reply) =
            soon(async { tokio::join!(script, gate.get(BLOB, Some(READ_WRITE))) }).await;
        assert_truncated(&reply, answer);
    }
    assert!(begun.elapsed() >= Duration::from_millis(600));
    let log = gate.log(2).await;
    assert!(
        log.iter().all(|line| line["reason"] == "upstream_stalled" && line["decision"] == "error"),
        "{log:?}"
    );
}

#[tokio::test]
async fn stall_timeout_breaks_off_an_answer_of_a_silent_registry_over_http2() {
    let setup = Setup { http: only("stall_timeout: 300ms"), tls: true, ..Setup::default() };
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let sender = gate.http2().await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write(LENGTH).await;
        connection.closed().await;
    };
    let client = async {
        let response = http2_client::ask(&sender, "GET", BLOB).await;
        http2_client::body(response).await
    };
    let ((), result) = soon(async { tokio::join!(script, client) }).await;
    assert!(result.unwrap_err().is_reset());
    assert_eq!(gate.log(1).await[0]["reason"], "upstream_stalled");
}

/// The metrics count a broken answer.
#[tokio::test]
async fn a_broken_answer_is_counted_in_the_metrics() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write(LENGTH).await;
        connection
    };
    let client = async {
        let mut client = gate.connect().await;
        client.write_all(request("GET", BLOB, Some(READ_WRITE), "", "").as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"only this") {
            assert!(soon(client.read_buf(&mut bytes)).await.unwrap() > 0);
        }
    };
    drop(soon(async { tokio::join!(script, client) }).await);
    gate.log(1).await;
    let metrics = gate.admin("/metrics").await.body;
    for line in [
        "moorgate_http_requests_total{method=\"GET\",operation=\"blob_get\",code=\"200\"} 1",
        "moorgate_upstream_requests_total{code=\"200\"} 1",
        "moorgate_http_body_bytes_total{direction=\"out\"} 9",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}
