//! Bodies that arrive late, behind answers that have none. They must never become the answer to the
//! next caller, who may have another credential.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::harness::{READ_ONLY, READ_WRITE, Reply, Setup, request};
use crate::scripted_upstream::{BLOB, OK, ScriptedUpstream, UPLOAD, soon};

const SMUGGLED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";

/// The gate does not pool a connection after a 204, 205 or 304, because a body could arrive at any
/// later time.
#[tokio::test]
async fn a_connection_is_not_pooled_after_a_204_205_or_304() {
    let manifest = "/v2/demo/a/manifests/v1";
    for (method, target, answer) in [
        ("GET", UPLOAD, "HTTP/1.1 204 No Content\r\n\r\n"),
        ("DELETE", UPLOAD, "HTTP/1.1 204 No Content\r\n\r\n"),
        ("PATCH", UPLOAD, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        ("GET", manifest, "HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n"),
        ("HEAD", manifest, "HTTP/1.1 304 Not Modified\r\n\r\n"),
        ("HEAD", BLOB, "HTTP/1.1 204 No Content\r\n\r\n"),
        ("PATCH", UPLOAD, "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
        let script = async {
            let (mut connection, _) = upstream.accept_request().await;
            connection.write(answer).await;
            // At once, and not only when a later request looks for a connection.
            connection.closed().await;
            let (mut connection, _) = upstream.accept_request().await;
            connection.write(OK).await;
        };
        let clients = async {
            gate.raw(request(method, target, Some(READ_WRITE), "", "")).await;
            Reply::parse(&gate.raw(request("GET", BLOB, Some(READ_ONLY), "", "")).await)
        };
        let ((), reply) = soon(async { tokio::join!(script, clients) }).await;
        assert_eq!((reply.status, &*reply.body), (200, "ok"), "{method} {answer}");
    }
}

/// The gate notices bytes behind the answer to a HEAD that arrive before the next request. That
/// holds even if both arrive while the worker is busy and it has polled only the client's socket.
#[tokio::test]
async fn bytes_after_the_response_to_a_head_request_are_noticed() {
    for round in 0..4 {
        let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
        let mut client = gate.connect().await;
        let mut busy = Vec::new();
        for _ in 0..50 {
            busy.push(gate.connect().await);
        }
        let script = async {
            let (mut connection, _) = upstream.accept_request().await;
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n").await;
            connection
        };
        let head = gate.raw(request("HEAD", BLOB, Some(READ_WRITE), "", ""));
        let (mut connection, _) = soon(async { tokio::join!(script, head) }).await;
        // The verdict for the next credential is cached, or the request would wait for the
        // provider.
        gate.get("/v2/demo/a/blobs/nonsense", Some(READ_ONLY)).await;
        gate.get("/v2/", Some(READ_ONLY)).await;
        // Longer than a connection rests after a HEAD before the gate reuses it.
        tokio::time::sleep(Duration::from_millis(120)).await;
        for other in &mut busy {
            other.write_all(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        }
        connection.write(SMUGGLED).await;
        client.write_all(request("GET", BLOB, Some(READ_WRITE), "", "").as_bytes()).await.unwrap();
        let script = async {
            tokio::select! {
                (mut fresh, _) = upstream.accept_request() => fresh.write(OK).await,
                head = connection.next_head() => {
                    assert!(head.is_none(), "round {round}: the connection was used again");
                    let (mut fresh, _) = upstream.accept_request().await;
                    fresh.write(OK).await;
                }
            }
        };
        let ((), text) =
            soon(async { tokio::join!(script, crate::harness::read_to_close(&mut client)) }).await;
        let reply = Reply::parse(&text);
        assert_eq!((reply.status, &*reply.body), (200, "ok"), "round {round}");
    }
}

/// The gate reuses a connection after a HEAD if no bytes have arrived on it.
#[tokio::test]
async fn a_quiet_connection_is_used_again_after_head() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n").await;
        connection.head().await;
        connection.write(OK).await;
    };
    let clients = async {
        gate.raw(request("HEAD", BLOB, Some(READ_WRITE), "", "")).await;
        tokio::time::sleep(Duration::from_millis(120)).await;
        Reply::parse(&gate.raw(request("GET", BLOB, Some(READ_ONLY), "", "")).await)
    };
    let ((), reply) = soon(async { tokio::join!(script, clients) }).await;
    assert_eq!((reply.status, upstream.accepted()), (200, 1));
}
