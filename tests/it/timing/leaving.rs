//! From the beginning of a drain, responses ask clients to leave. An upload that has begun may end
//! on its connection.

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::super::http2_client;
use crate::harness::{READ_WRITE, Setup, TestGate, ask_admin, exchange, read_to_close, request};
use crate::scripted_upstream::{FINISH, ScriptedUpstream, UPLOAD, UPLOADS, open_request, soon};

const BEGUN: &str = "HTTP/1.1 202 Accepted\r\nLocation: /v2/demo/a/blobs/uploads/id\r\n\
                     Content-Length: 0\r\n\r\n";
const DONE: &str = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";

fn leaving() -> Setup {
    Setup { http: vec!["drain_delay: 1h"], workers: Some(1), ..Setup::default() }
}

/// Begins the drain, and waits until the workers know of it.
async fn begin_drain(gate: TestGate) -> tokio::task::JoinHandle<usize> {
    let (admin, address) = (gate.admin, gate.address);
    let draining = tokio::spawn(gate.running.drain());
    soon(async { while ask_admin(admin, "/readyz").await.status != 503 {} }).await;
    let says_close = async || {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let reply = exchange(&mut stream, open_request("GET", "/v2/", "", "")).await;
        reply.header("connection") == Some("close")
    };
    soon(async { while !says_close().await {} }).await;
    draining
}

#[tokio::test]
async fn responses_during_the_delay_close_their_connections() {
    let gate = TestGate::start(leaving()).await;
    let (mut idle, mut used) = (gate.connect().await, gate.connect().await);
    let kept = exchange(&mut used, open_request("GET", "/v2/", "", "")).await;
    assert_eq!((kept.status, kept.header("connection")), (200, None));
    let address = gate.address;
    begin_drain(gate).await;
    // A connection of before, one without a request yet, and a new one; an answer of any kind.
    let mut new = tokio::net::TcpStream::connect(address).await.unwrap();
    for (stream, target, credential, status) in [
        (&mut used, "/v2/", Some(READ_WRITE), 200),
        (&mut idle, "/v2/", None, 401),
        (&mut new, "/nothing", Some(READ_WRITE), 404),
    ] {
        let text = request("GET", target, credential, "", "").replace("Connection: close\r\n", "");
        stream.write_all(text.as_bytes()).await.unwrap();
        let text = read_to_close(stream).await;
        let reply = crate::harness::Reply::parse(&text);
        assert_eq!((reply.status, reply.header("connection")), (status, Some("close")), "{target}");
    }
}

/// Answers the next request on a new connection of the upstream.
async fn exchange_with(
    upstream: &mut ScriptedUpstream,
    client: &mut tokio::net::TcpStream,
    message: String,
    answer: &str,
) -> crate::harness::Reply {
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write(answer.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
    };
    soon(async { tokio::join!(script, exchange(client, message)) }).await.1
}

/// The POST suffices: the PATCH and the PUT come after the drain has begun, during the delay and
/// after it.
#[tokio::test]
async fn an_upload_that_has_begun_ends_on_its_connection() {
    for delay in ["drain_delay: 1h", "drain_delay: 0s"] {
        let setup = Setup { http: vec![delay], workers: Some(1), ..Setup::default() };
        let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
        let mut client = gate.connect().await;
        let post = open_request("POST", UPLOADS, "Content-Length: 0\r\n", "");
        let reply = exchange_with(&mut upstream, &mut client, post, BEGUN).await;
        assert_eq!((reply.status, reply.header("connection")), (202, None));
        let mut idle = gate.connect().await;
        assert_eq!(exchange(&mut idle, open_request("GET", "/v2/", "", "")).await.status, 200);
        let draining = if delay.ends_with("1h") {
            begin_drain(gate).await
        } else {
            let draining = tokio::spawn(gate.running.drain());
            assert_eq!(read_to_close(&mut idle).await, "", "an idle connection ends");
            draining
        };
        for (method, target, answer, close) in
            [("PATCH", UPLOAD, BEGUN, None), ("PUT", FINISH, DONE, Some("close"))]
        {
            let message = open_request(method, target, "Content-Length: 0\r\n", "");
            let reply = exchange_with(&mut upstream, &mut client, message, answer).await;
            assert_eq!(reply.header("connection"), close, "{method} {reply:?}");
        }
        assert_eq!(read_to_close(&mut client).await, "");
        if delay.ends_with("0s") {
            assert_eq!(soon(draining).await.unwrap(), 0);
        }
    }
}

#[tokio::test]
async fn an_http2_connection_gets_goaway_once_its_upload_has_ended() {
    let setup = Setup { tls: true, ..leaving() };
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let connect = async |gate: &TestGate| {
        let stream = gate.connect_tls(&[b"h2"]).await;
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        (sender, tokio::spawn(connection))
    };
    let (sender, uploading) = connect(&gate).await;
    let (other, idle) = connect(&gate).await;
    assert_eq!(soon(http2_client::ask(&other, "GET", "/v2/")).await.status(), 200);
    let mut answer = async |method: &str, target: &str, answer: &str, status: u16| {
        let (response, mut body) = http2_client::begin(&sender, method, target, false).await;
        http2_client::send(&mut body, Bytes::from_static(b"x"), true).await.unwrap();
        let (mut connection, _) = upstream.accept_request().await;
        connection.until(b"0\r\n\r\n").await;
        connection.write(answer.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(soon(response).await.unwrap().status(), status);
    };
    answer("POST", UPLOADS, BEGUN, 202).await;
    let (admin, _draining) = (gate.admin, tokio::spawn(gate.running.drain()));
    soon(async { while ask_admin(admin, "/readyz").await.status != 503 {} }).await;
    // GOAWAY ends the connection without an upload.
    let _ = soon(idle).await.unwrap();
    answer("PATCH", UPLOAD, BEGUN, 202).await;
    assert!(!uploading.is_finished());
    answer("PUT", FINISH, DONE, 201).await;
    let _ = soon(uploading).await.unwrap();
}
