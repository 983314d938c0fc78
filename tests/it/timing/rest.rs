//! HTTP/1.1 connections that have been without a request for a while: the gate keeps little of
//! them, and they behave as before.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::gate_process::{GateProcess, ProcessSetup, USER};
use crate::harness::{Setup, TestGate, ask_admin, basic, exchange, read_reply, read_to_close};
use crate::scripted_upstream::{FINISH, ScriptedUpstream, UPLOADS, only, open_request, soon};

/// A time after which a connection without a request rests.
const RESTED: Duration = Duration::from_millis(800);

fn ping() -> String {
    open_request("GET", "/v2/", "", "")
}

/// Opens a connection that has had a request and rests.
async fn rested(gate: &TestGate) -> TcpStream {
    let mut client = gate.connect().await;
    assert_eq!(exchange(&mut client, ping()).await.status, 200);
    tokio::time::sleep(RESTED).await;
    client
}

/// The gate must not keep hyper's state and buffers, of 16 KiB and more, and must return their
/// memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_resting_connection_takes_little_memory() {
    const CONNECTIONS: usize = 400;
    const BOUND_KIB: u64 = 16;
    let gate = GateProcess::start(ProcessSetup {
        tls: true,
        http: &["idle_timeout: 10m"],
        identity: &[],
        ..ProcessSetup::default()
    })
    .await;
    let get = format!("GET /v2/ HTTP/1.1\r\nHost: a\r\nAuthorization: {}\r\n\r\n", basic(USER));
    let connect = async || {
        let mut stream = gate.tls(b"http/1.1").await;
        assert_eq!(exchange(&mut stream, &get).await.status, 200);
        stream
    };
    // What the first connections need is not part of the measure: code, tables, and the pages of
    // the allocator.
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(connect().await);
    }
    let before = gate.memory().0;
    for _ in 0..CONNECTIONS {
        held.push(connect().await);
    }
    let each = || gate.memory().0.saturating_sub(before) / CONNECTIONS as u64;
    let deadline = Instant::now() + Duration::from_secs(10);
    while each() > BOUND_KIB {
        assert!(Instant::now() < deadline, "{} KiB a connection", each());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for stream in &mut held {
        assert_eq!(exchange(stream, &get).await.status, 200);
    }
}

#[tokio::test]
async fn a_resting_connection_serves_again() {
    let gate = TestGate::plain().await;
    let mut client = rested(&gate).await;
    assert_eq!(exchange(&mut client, ping()).await.status, 200);
    // In pieces, the first of which is a single byte, and with a pause in which it must not rest.
    tokio::time::sleep(RESTED).await;
    let text = ping();
    for piece in [&text[..1], &text[1..9], &text[9..]] {
        client.write_all(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(RESTED).await;
    }
    assert_eq!(soon(read_reply(&mut client)).await.status, 200);
    // Several at once, and half of another.
    tokio::time::sleep(RESTED).await;
    client.write_all(format!("{text}{text}{text}{}", &text[..9]).as_bytes()).await.unwrap();
    let mut replies = String::new();
    while replies.matches("\r\n\r\n{}").count() < 3 {
        let mut buffer = [0; 4096];
        let read = soon(client.read(&mut buffer)).await.unwrap();
        assert!(read > 0, "the connection closed in {replies:?}");
        replies.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    assert_eq!(replies.matches("HTTP/1.1 200 ").count(), 3, "{replies}");
    tokio::time::sleep(RESTED).await;
    assert_eq!(exchange(&mut client, &text[9..]).await.status, 200);
}

/// A line that ends in a bare LF, in the first head after a rest.
#[tokio::test]
async fn the_first_head_after_a_rest_is_scanned() {
    let gate = TestGate::plain().await;
    // The second one is ambiguous from its first byte on, which ends the rest.
    for ambiguous in [ping().replacen("\r\n", "\n", 1), format!("\n{}", ping())] {
        let mut client = rested(&gate).await;
        client.write_all(ambiguous.as_bytes()).await.unwrap();
        let answer = read_to_close(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{ambiguous:?}: {answer}");
    }
}

#[tokio::test]
async fn idle_timeout_and_header_timeout_hold_for_a_resting_connection() {
    let setup = |line| Setup { http: only(line), ..Setup::default() };
    let gate = TestGate::start(setup("idle_timeout: 1500ms")).await;
    let mut client = gate.connect().await;
    assert_eq!(exchange(&mut client, ping()).await.status, 200);
    let begun = Instant::now();
    assert_eq!(read_to_close(&mut client).await, "");
    assert!((Duration::from_millis(1400)..Duration::from_secs(10)).contains(&begun.elapsed()));

    let gate = TestGate::start(setup("header_timeout: 900ms")).await;
    let mut client = rested(&gate).await;
    client.write_all(&ping().as_bytes()[..1]).await.unwrap();
    let begun = Instant::now();
    assert_eq!(read_to_close(&mut client).await, "");
    assert!((Duration::from_millis(800)..Duration::from_secs(10)).contains(&begun.elapsed()));
}

/// TLS messages that contain no byte of a request do not keep a resting connection open: the first
/// one begins the time of a head, which no further one extends.
#[tokio::test]
async fn tls_messages_without_content_do_not_keep_a_resting_connection_open() {
    let http = only("header_timeout: 900ms");
    let gate = TestGate::start(Setup { http, tls: true, ..Setup::default() }).await;
    let mut client = gate.connect_tls(&[b"http/1.1"]).await;
    assert_eq!(exchange(&mut client, ping()).await.status, 200);
    tokio::time::sleep(RESTED).await;
    let begun = Instant::now();
    let mut update = async || {
        loop {
            client.get_mut().1.refresh_traffic_keys().unwrap();
            client.flush().await?;
            if let Ok(read) =
                tokio::time::timeout(Duration::from_millis(200), client.read(&mut [0; 1])).await
            {
                return read;
            }
        }
    };
    assert!(!matches!(soon(update()).await, Ok(1..)));
    // rustls would refuse the thirty-third update, after more than six seconds.
    assert!((Duration::from_millis(800)..Duration::from_secs(5)).contains(&begun.elapsed()));
}

#[tokio::test]
async fn a_client_can_close_a_resting_connection() {
    let gate = TestGate::tls().await;
    let mut client = gate.connect_tls(&[b"http/1.1"]).await;
    assert_eq!(exchange(&mut client, ping()).await.status, 200);
    tokio::time::sleep(RESTED).await;
    client.shutdown().await.unwrap();
    // The gate answers the close_notify with one of its own, without which the read would fail.
    assert_eq!(soon(client.read(&mut [0; 1])).await.unwrap(), 0);
    soon(async {
        while !gate.admin("/metrics").await.body.contains("moorgate_connections 0\n") {}
    })
    .await;
}

/// A drain ends a resting connection, also after the beginning of a further head, as it ends one
/// that hyper holds.
#[tokio::test]
async fn a_drain_ends_resting_connections() {
    let gate = TestGate::start(Setup { http: only("idle_timeout: 50s"), ..Setup::default() }).await;
    let mut resting = gate.connect().await;
    let mut begun = gate.connect().await;
    for client in [&mut resting, &mut begun] {
        assert_eq!(exchange(client, ping()).await.status, 200);
    }
    tokio::time::sleep(RESTED).await;
    begun.write_all(&ping().as_bytes()[..9]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let draining = tokio::spawn(gate.running.drain());
    assert_eq!(read_to_close(&mut resting).await, "");
    assert_eq!(read_to_close(&mut begun).await, "");
    assert_eq!(soon(draining).await.unwrap(), 0);
}

/// An upload that has begun may go on after a rest within a drain, and ends the connection.
#[tokio::test]
async fn an_upload_outlasts_a_rest_and_the_beginning_of_a_drain() {
    const BEGUN: &str = "HTTP/1.1 202 Accepted\r\nLocation: /v2/demo/a/blobs/uploads/id\r\n\
                         Content-Length: 0\r\nConnection: close\r\n\r\n";
    let setup = Setup { http: only("idle_timeout: 50s"), ..Setup::default() };
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let mut client = gate.connect().await;
    let post = open_request("POST", UPLOADS, "Content-Length: 0\r\n", "");
    let script = async |upstream: &mut ScriptedUpstream| {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write(BEGUN).await;
    };
    let (_, reply) = tokio::join!(script(&mut upstream), exchange(&mut client, &post));
    assert_eq!((reply.status, reply.header("connection")), (202, None));
    tokio::time::sleep(RESTED).await;
    let admin = gate.admin;
    let draining = tokio::spawn(gate.running.drain());
    soon(async { while ask_admin(admin, "/readyz").await.status != 503 {} }).await;
    tokio::time::sleep(RESTED).await;
    let put = open_request("PUT", FINISH, "Content-Length: 0\r\n", "");
    let done = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await;
        connection
    };
    let (_connection, reply) =
        soon(async { tokio::join!(done, exchange(&mut client, &put)) }).await;
    assert_eq!((reply.status, reply.header("connection")), (201, Some("close")));
    assert_eq!(soon(draining).await.unwrap(), 0);
}
