//! `concurrent_uploads_per_identity`: the number of upload requests in flight.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{OTHER, assert_limited};
use crate::harness::{READ_ONLY, READ_WRITE, Reply, Setup, TestGate, read_reply, request};
use crate::scripted_upstream::{
    FINISH, ScriptedUpstream, UPLOAD, UPLOADS, UpstreamConnection, soon,
};

const ONE: &str = "concurrent_uploads_per_identity: 1";
const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

async fn one_at_a_time() -> (ScriptedUpstream, TestGate) {
    ScriptedUpstream::behind(Setup { limits: vec![ONE], ..Setup::default() }).await
}

/// Starts a chunk, most of which is not sent yet. Returns both ends of it.
async fn begin(
    gate: &TestGate,
    upstream: &mut ScriptedUpstream,
) -> (TcpStream, UpstreamConnection) {
    let mut client = gate.connect().await;
    let head = request("PATCH", UPLOAD, Some(READ_WRITE), "Content-Length: 1000\r\n", "");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(b"x").await.unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    connection.bytes(1).await;
    (client, connection)
}

async fn send(gate: &TestGate, method: &str, target: &str, credential: (&str, &str)) -> Reply {
    gate.send(method, target, Some(credential), "", if method == "POST" { "" } else { "x" }).await
}

#[tokio::test]
async fn an_upload_over_the_limit_waits_and_is_refused() {
    let (mut upstream, gate) = one_at_a_time().await;
    let (client, connection) = begin(&gate, &mut upstream).await;
    let heads = upstream.requests();
    let more = [("POST", UPLOADS), ("PATCH", UPLOAD), ("PUT", FINISH)].map(|(method, target)| {
        let gate = &gate;
        async move { send(gate, method, target, READ_WRITE).await }
    });
    let [post, patch, put] = more;
    let (post, patch, put) = tokio::join!(post, patch, put);
    for reply in [post, patch, put] {
        assert_limited(&reply, 2, 2);
    }
    assert_eq!(upstream.requests(), heads);
    let metrics = gate.admin("/metrics").await.body;
    assert!(
        metrics.contains("moorgate_limited_total{limit=\"concurrent_uploads_per_identity\"} 3\n"),
        "{metrics}"
    );
    let line = gate.log(3).await.remove(2);
    assert_eq!(line["reason"], "over_concurrent_uploads_per_identity");
    drop((client, connection));
}

/// The limit stops neither other users nor the same user's other requests.
#[tokio::test]
async fn the_upload_limit_stops_neither_other_users_nor_other_requests() {
    let (mut upstream, gate) = one_at_a_time().await;
    let _held = begin(&gate, &mut upstream).await;
    let registry = tokio::spawn(async move {
        loop {
            let (mut connection, head) = upstream.accept_request().await;
            connection
                .bytes(head.header("content-length").map_or(0, |length| length.parse().unwrap()))
                .await;
            connection
                .write("HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    });
    for (method, target, credential, body) in [
        ("PATCH", UPLOAD, OTHER, "x"),
        ("PUT", "/v2/demo/a/manifests/v1", READ_WRITE, "x"),
        ("GET", "/v2/demo/a/tags/list", READ_ONLY, ""),
        ("GET", UPLOAD, READ_WRITE, ""),
        ("DELETE", UPLOAD, READ_WRITE, ""),
    ] {
        let reply = gate.send(method, target, Some(credential), "", body).await;
        assert_eq!(reply.status, 202, "{method} {target}: {reply:?}");
    }
    registry.abort();
}

/// The next upload is admitted however the one before ended.
#[tokio::test]
async fn the_end_of_an_upload_lets_the_next_one_in() {
    enum End {
        Answer,
        ClientLeaves,
        RegistryLeaves,
    }
    for end in [End::Answer, End::ClientLeaves, End::RegistryLeaves] {
        let (mut upstream, gate) = one_at_a_time().await;
        let (mut client, mut connection) = begin(&gate, &mut upstream).await;
        let registry = async {
            let mut connection = match end {
                End::Answer => {
                    client.write_all(&[b'x'; 999]).await.unwrap();
                    connection.bytes(999).await;
                    connection.write(ACCEPTED).await;
                    assert_eq!(read_reply(&mut client).await.status, 202);
                    connection
                }
                End::ClientLeaves => {
                    drop(client);
                    upstream.accept().await
                }
                End::RegistryLeaves => {
                    drop(connection);
                    upstream.accept().await
                }
            };
            assert_eq!(connection.head().await.line().0, "POST");
            connection.write(ACCEPTED).await;
        };
        let next = async {
            loop {
                let reply = send(&gate, "POST", UPLOADS, READ_WRITE).await;
                if reply.status != 429 {
                    break reply.status;
                }
            }
        };
        let (status, ()) = soon(async { tokio::join!(next, registry) }).await;
        assert_eq!(status, 202);
    }
}
