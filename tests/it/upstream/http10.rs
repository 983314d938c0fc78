//! HTTP/1.0 clients, such as nginx with its default settings for an upstream. They do not know
//! chunks, so an answer without a length ends with the connection. An answer that breaks off must
//! not look like a complete one.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{READ_WRITE, Reply, Setup, TestGate, basic, read_to_close};
use crate::scripted_upstream::{BLOB, ScriptedUpstream, UpstreamConnection, only, soon};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";

fn ask(method: &str, target: &str, lines: &str) -> String {
    format!("{method} {target} HTTP/1.0\r\nAuthorization: {}\r\n{lines}\r\n", basic(READ_WRITE))
}

/// Starts a download, and returns when the client has received its first bytes.
async fn begun(
    setup: Setup,
    answer: &str,
) -> (TestGate, ScriptedUpstream, UpstreamConnection, TcpStream) {
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let mut client = gate.connect().await;
    client.write_all(ask("GET", BLOB, "").as_bytes()).await.unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    connection.write(answer).await;
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"hello") {
        assert!(soon(client.read_buf(&mut bytes)).await.unwrap() > 0, "closed");
    }
    let head = Reply::parse(&String::from_utf8(bytes).unwrap());
    assert_eq!((head.status, head.header("connection")), (200, Some("close")));
    (gate, upstream, connection, client)
}

async fn assert_reset(mut client: TcpStream, case: &str) {
    let end = soon(client.read_to_end(&mut Vec::new())).await;
    assert_eq!(end.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset), "{case}");
}

/// An answer that breaks off is a reset for the client, also if the gate has not written any of it.
#[tokio::test]
async fn an_answer_that_breaks_off_at_once_is_a_reset() {
    for head in ["Transfer-Encoding: chunked", "Content-Length: 10"] {
        let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
        for _ in 0..10 {
            let mut client = gate.connect().await;
            client.write_all(ask("GET", BLOB, "").as_bytes()).await.unwrap();
            let (mut connection, _) = upstream.accept_request().await;
            connection.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n")).await;
            drop(connection);
            assert_reset(client, head).await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_reset() {
    let with_length = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello";
    for answer in [CHUNKED, with_length] {
        let (_gate, _upstream, connection, client) = begun(Setup::default(), answer).await;
        drop(connection);
        assert_reset(client, "the registry is gone").await;

        let (_gate, _upstream, mut connection, client) = begun(Setup::default(), answer).await;
        connection.write(if answer == CHUNKED { "nonsense\r\n" } else { "" }).await;
        connection.stream.shutdown().await.unwrap();
        assert_reset(client, "the registry sends nonsense, or less than it said").await;

        let stall = Setup { http: only("stall_timeout: 300ms"), ..Setup::default() };
        let (_gate, _upstream, _connection, client) = begun(stall, answer).await;
        assert_reset(client, "the registry stalls").await;

        let drain = Setup { http: vec!["drain_timeout: 300ms"], ..Setup::default() };
        let (gate, _upstream, _connection, client) = begun(drain, answer).await;
        let draining = tokio::spawn(gate.running.drain());
        assert_reset(client, "the time to drain is over").await;
        assert_eq!(soon(draining).await.unwrap(), 1);
    }
}

/// The gate also resets the connection of a client that does not read.
#[tokio::test]
async fn a_client_that_stalls_is_reset() {
    let stall = Setup { http: only("stall_timeout: 1s"), ..Setup::default() };
    let (_gate, _upstream, mut connection, client) = begun(stall, CHUNKED).await;
    let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    while soon(connection.stream.write_all(piece.as_bytes())).await.is_ok() {}
    assert_reset(client, "the client stalls").await;
}

#[tokio::test]
async fn a_complete_answer_ends_without_a_reset() {
    for (answer, rest) in [
        (CHUNKED, "0\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "hello"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "lo"),
    ] {
        let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
        let mut client = gate.connect().await;
        client.write_all(ask("GET", BLOB, "Connection: keep-alive\r\n").as_bytes()).await.unwrap();
        let (mut connection, _) = upstream.accept_request().await;
        connection.write(answer).await;
        tokio::task::yield_now().await;
        connection.write(rest).await;
        let mut bytes = Vec::new();
        soon(client.read_to_end(&mut bytes)).await.expect("a reset");
        let reply = Reply::parse(&String::from_utf8(bytes).unwrap());
        assert_eq!(
            (reply.status, &*reply.body, reply.header("connection")),
            (200, "hello", Some("close")),
            "{answer}"
        );
        assert_eq!(reply.header("transfer-encoding"), None);
    }
}

/// An answer that is larger than the buffers and is read slowly arrives whole.
#[tokio::test]
async fn a_long_answer_comes_whole() {
    const BYTES: usize = 8 << 20;
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let mut client = gate.connect().await;
    client.write_all(ask("GET", BLOB, "").as_bytes()).await.unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    let script = async {
        connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        for _ in 0..BYTES / 0x10000 {
            connection.write(&piece).await;
        }
        connection.write("0\r\n\r\n").await;
    };
    let reading = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.expect("a reset");
        bytes
    };
    let ((), bytes) = soon(async { tokio::join!(script, reading) }).await;
    assert_eq!(Reply::parse(&String::from_utf8(bytes).unwrap()).body.len(), BYTES);
}

/// RFC 9110, 7.2 requires a `Host` only from HTTP/1.1 on.
#[tokio::test]
async fn an_http_1_0_request_needs_no_host() {
    let gate = TestGate::plain().await;
    for (method, target, lines, status) in [
        ("GET", "/v2/", "", 200),
        ("GET", "/v2/", "Host: registry.test\r\n", 200),
        ("GET", "/v2/", "Connection: keep-alive\r\n", 200),
        ("HEAD", "/v2/", "", 200),
        ("GET", "http://registry.test/v2/", "", 200),
        ("GET", "/v2/demo/a/manifests/v1", "", 404),
        ("HEAD", "/v2/demo/a/manifests/v1", "", 404),
        ("POST", "/v2/demo/a/blobs/uploads/", "Content-Length: 0\r\n", 202),
        ("GET", "/v2/", "Host: a b\r\n", 400),
        ("GET", "/v2/", "Host: a\r\nHost: a\r\n", 400),
    ] {
        let mut client = gate.connect().await;
        client.write_all(ask(method, target, lines).as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        soon(client.read_to_end(&mut bytes)).await.expect("a reset");
        let reply = Reply::parse(&String::from_utf8(bytes).unwrap());
        assert_eq!(
            (reply.status, reply.header("connection")),
            (status, Some("close")),
            "{method} {target} {lines}"
        );
    }
    let nobody = gate.raw("GET /v2/ HTTP/1.0\r\n\r\n").await;
    assert_eq!(Reply::parse(&nobody).status, 401);
    let mut old = gate.connect().await;
    old.write_all(b"GET /v2/ HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(Reply::parse(&read_to_close(&mut old).await).status, 400);
}
