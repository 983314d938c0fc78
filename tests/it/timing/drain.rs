//! The drain of a gate: requests under way complete, and no new ones begin.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::deadlines_http2::{PREFACE, SETTINGS, half_headers, headers};
use crate::harness::{
    READ_WRITE, Reply, Setup, TestGate, ask_admin, connect_tls, exchange, read_reply,
    read_to_close, request,
};
use crate::http2_client;
use crate::scripted_upstream::{BLOB, OK, ScriptedUpstream, UPLOAD, only, open_request, soon};

/// Waits until the gate refuses connections. `/readyz` reports the drain before the workers learn
/// of it.
async fn refused(address: std::net::SocketAddr) {
    soon(async {
        while let Ok(mut stream) = TcpStream::connect(address).await {
            // A connection that is still in the backlog ends together with the listener.
            let _ = stream.read(&mut [0; 1]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_drain_lets_requests_under_way_complete() {
    let (mut upstream, gate) =
        ScriptedUpstream::behind(Setup { workers: Some(2), ..Setup::default() }).await;
    let (address, admin) = (gate.address, gate.admin);
    assert_eq!(ask_admin(admin, "/readyz").await.status, 200);
    // An upload and a download under way, an idle connection, and a connection that has not sent
    // anything yet.
    let mut upload = gate.connect().await;
    upload
        .write_all(open_request("PATCH", UPLOAD, "Content-Length: 10\r\n", "").as_bytes())
        .await
        .unwrap();
    let (mut uploading, _) = upstream.accept_request().await;
    let mut download = gate.connect().await;
    download.write_all(open_request("GET", BLOB, "", "").as_bytes()).await.unwrap();
    let (mut downloading, _) = upstream.accept_request().await;
    downloading.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst").await;
    let mut resting = gate.connect().await;
    assert_eq!(exchange(&mut resting, open_request("GET", "/v2/", "", "")).await.status, 200);
    let mut silent = gate.connect().await;

    let draining = tokio::spawn(gate.running.drain());
    assert_eq!(read_to_close(&mut resting).await, "");
    assert_eq!(read_to_close(&mut silent).await, "");
    refused(address).await;
    let ready = ask_admin(admin, "/readyz").await;
    assert_eq!((ready.status, &*ready.body), (503, "draining\n"));
    assert_eq!(ask_admin(admin, "/livez").await.status, 200);
    assert!(!draining.is_finished());

    upload.write_all(b"0123456789").await.unwrap();
    assert_eq!(uploading.bytes(10).await, b"0123456789");
    uploading.write(OK).await;
    let reply = Reply::parse(&read_to_close(&mut upload).await);
    assert_eq!(
        (reply.status, &*reply.body, reply.header("connection")),
        (200, "ok", Some("close"))
    );
    downloading.write("-last").await;
    assert_eq!(Reply::parse(&read_to_close(&mut download).await).body, "first-last");

    assert_eq!(soon(draining).await.unwrap(), 0);
    // The admin listener stays open.
    assert_eq!(ask_admin(admin, "/readyz").await.status, 503);
    assert!(ask_admin(admin, "/metrics").await.body.contains("moorgate_connections 0\n"));
}

#[tokio::test]
async fn over_http2() {
    let (mut upstream, gate) =
        ScriptedUpstream::behind(Setup { tls: true, ..Setup::default() }).await;
    let sender = gate.http2().await;
    let idle = gate.connect_tls(&[b"h2"]).await;
    let (_idle_sender, idle) = h2::client::handshake(idle).await.unwrap();
    let idle = tokio::spawn(idle);
    let (answer, mut stream) = http2_client::begin(&sender, "PATCH", UPLOAD, false).await;
    http2_client::send(&mut stream, Bytes::from_static(b"first"), false).await.unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    connection.until(b"first").await;

    let admin = gate.admin;
    let draining = tokio::spawn(gate.running.drain());
    // The connection without a stream ends with GOAWAY and a close, which may coincide with the
    // client's own close.
    let _ = soon(idle).await.unwrap();
    assert_eq!(ask_admin(admin, "/readyz").await.status, 503);
    assert!(!draining.is_finished());
    http2_client::send(&mut stream, Bytes::from_static(b"-last"), true).await.unwrap();
    connection.until(b"-last\r\n0\r\n\r\n").await;
    connection.write(OK).await;
    let response = soon(answer).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(http2_client::body(response).await.unwrap(), b"ok");
    assert_eq!(soon(draining).await.unwrap(), 0);
}

/// After `drain_timeout` the gate cuts off a body that does not end, and counts it.
#[tokio::test]
async fn drain_timeout_cuts_off_a_body_that_does_not_end() {
    for tls in [false, true] {
        let http = vec!["drain_timeout: 400ms"];
        let (mut upstream, gate) =
            ScriptedUpstream::behind(Setup { http, tls, ..Setup::default() }).await;
        let (mut client, mut stream, mut driver) = (None, None, None);
        if tls {
            let sender = gate.http2().await;
            let (answer, mut body) = http2_client::begin(&sender, "PATCH", UPLOAD, false).await;
            body.send_data("only this".into(), false).unwrap();
            stream = Some((answer, body));
            driver = Some(sender);
        } else {
            let client = client.insert(gate.connect().await);
            let head =
                request("PATCH", UPLOAD, Some(READ_WRITE), "Transfer-Encoding: chunked\r\n", "");
            client.write_all(head.as_bytes()).await.unwrap();
            client.write_all(b"9\r\nonly this\r\n").await.unwrap();
        }
        let (mut connection, _) = upstream.accept_request().await;
        connection.until(b"only this").await;
        let begun = Instant::now();
        let admin = gate.admin;
        let log = gate.access_log();
        assert_eq!(soon(gate.running.drain()).await, 1);
        assert!((Duration::from_millis(400)..Duration::from_secs(10)).contains(&begun.elapsed()));
        let rest = connection.closed().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "it looks whole: {rest:?}");
        assert_eq!(ask_admin(admin, "/readyz").await.status, 503);
        let line = soon(log.wait(1)).await.remove(0);
        assert_eq!((&line["status"], &line["reason"]), (&499.into(), &"drain_timeout".into()));
        drop((client, stream, driver));
    }
}

/// A client whose connection was accepted just before the drain cannot know of it. Its first
/// request is answered, also if the TLS handshake comes only then.
#[tokio::test]
async fn the_first_request_on_an_accepted_connection_is_answered_during_a_drain() {
    let ping = open_request("GET", "/v2/", "", "");
    for tls in [false, true] {
        let setup = Setup { tls, workers: Some(1), ..Setup::default() };
        let gate = TestGate::start(setup).await;
        let (address, certificate) = (gate.address, gate.certificate.clone());
        let connect = async || TcpStream::connect(address).await.unwrap();
        let secure = async |socket| connect_tls(socket, &certificate, &[b"http/1.1"]).await;
        let mut silent = connect().await;
        // The worker accepts one connection after the other.
        let mut resting = connect().await;
        let draining = if tls {
            let mut resting = secure(resting).await;
            assert_eq!(exchange(&mut resting, ping.clone()).await.status, 200);
            let draining = tokio::spawn(gate.running.drain());
            assert_eq!(read_to_close(&mut resting).await, "");
            draining
        } else {
            assert_eq!(exchange(&mut resting, ping.clone()).await.status, 200);
            let draining = tokio::spawn(gate.running.drain());
            assert_eq!(read_to_close(&mut resting).await, "");
            draining
        };
        let answer = if tls {
            exchange(&mut secure(silent).await, ping.clone()).await
        } else {
            exchange(&mut silent, ping.clone()).await
        };
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{tls}");
        assert_eq!(soon(draining).await.unwrap(), 0);
    }
}

/// The request under way is the last one on its connection. The gate does not serve a further
/// request that the client sends during the drain.
#[tokio::test]
async fn the_request_under_way_is_the_last() {
    let (mut upstream, gate) =
        ScriptedUpstream::behind(Setup { http: only("idle_timeout: 50s"), ..Setup::default() })
            .await;
    let address = gate.address;
    let mut client = gate.connect().await;
    client.write_all(open_request("GET", BLOB, "", "").as_bytes()).await.unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    let draining = tokio::spawn(gate.running.drain());
    refused(address).await;
    client.write_all(open_request("GET", BLOB, "", "").as_bytes()).await.unwrap();
    connection.write(OK).await;
    assert_eq!(soon(read_reply(&mut client)).await.status, 200);
    assert_eq!(read_to_close(&mut client).await, "");
    assert_eq!(soon(draining).await.unwrap(), 0);
    assert_eq!(upstream.requests(), 1);
}

/// Idle clients do not delay a drain: an HTTP/2 client that never answers the PING, clients that
/// have sent nothing or an incomplete message, and idle HTTP/1.1 clients.
#[tokio::test]
async fn idle_clients_do_not_delay_a_drain() {
    let ping = open_request("GET", "/v2/", "", "");
    let http2 = |bytes: Vec<u8>| (true, bytes);
    let request = headers(1, "GET", "/v2/", "Bearer x", true);
    let settings = [PREFACE, &SETTINGS[..]].concat();
    for (number, (tls, bytes)) in [
        http2(Vec::new()),
        http2(PREFACE[..10].to_vec()),
        http2(settings.clone()),
        http2([&settings[..], &half_headers(1)].concat()),
        http2([&settings[..], &request].concat()),
        http2([&settings[..], &request, &half_headers(3)].concat()),
        (false, Vec::new()),
        (false, ping.clone().into_bytes()),
    ]
    .into_iter()
    .enumerate()
    {
        let gate =
            TestGate::start(Setup { tls, http: only("idle_timeout: 1m"), ..Setup::default() })
                .await;
        let (mut plain, mut encrypted) = (None, None);
        if tls {
            let client = encrypted.insert(gate.connect_tls(&[b"h2"]).await);
            client.write_all(&bytes).await.unwrap();
            if bytes.len() > 100 {
                // The answer has begun. The client does not acknowledge it or any later frame.
                assert!(soon(client.read(&mut [0; 1])).await.unwrap() > 0);
                gate.log(1).await;
            }
        } else {
            let client = plain.insert(gate.connect().await);
            client.write_all(&bytes).await.unwrap();
            if !bytes.is_empty() {
                soon(read_reply(client)).await;
            }
        }
        let begun = Instant::now();
        assert_eq!(soon(gate.running.drain()).await, 0, "{number}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{number}: {:?}", begun.elapsed());
        drop((plain, encrypted));
    }
}

/// An incomplete head and an incomplete handshake delay a drain until their own deadline, and no
/// longer.
#[tokio::test]
async fn partial_heads_and_handshakes_delay_a_drain_until_their_deadline() {
    let ping = open_request("GET", "/v2/", "", "");
    for (tls, bytes) in [
        (false, b"GET /v2/ HT".to_vec()),
        (false, [ping.as_bytes(), b"GET /v2/ HT"].concat()),
        (true, Vec::new()),
        (true, b"\x16\x03\x01".to_vec()),
    ] {
        let deadline = if tls { "handshake_timeout: 600ms" } else { "header_timeout: 600ms" };
        let gate = TestGate::start(Setup { tls, http: only(deadline), ..Setup::default() }).await;
        let mut client = gate.connect().await;
        client.write_all(&bytes).await.unwrap();
        if bytes.starts_with(ping.as_bytes()) {
            soon(read_reply(&mut client)).await;
        }
        // Until the gate has accepted the connection.
        while !gate.admin("/metrics").await.body.contains("moorgate_connections 1\n") {}
        let begun = Instant::now();
        assert_eq!(soon(gate.running.drain()).await, 0, "{bytes:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{bytes:?}: {:?}", begun.elapsed());
        drop(client);
    }
}

/// The drain waits for an HTTP/2 client that is still receiving the end of its answer, and the
/// client receives all of it.
#[tokio::test]
async fn the_end_of_an_answer_is_not_cut_off() {
    const BYTES: usize = 16 << 20;
    let setup = Setup { tls: true, http: only("stall_timeout: 1m"), ..Setup::default() };
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let socket = gate.connect_tls(&[b"h2"]).await;
    let (sender, driver) = h2::client::Builder::new()
        .initial_window_size(1 << 30)
        .initial_connection_window_size(1 << 30)
        .handshake::<_, Bytes>(socket)
        .await
        .unwrap();
    let mut driver = Box::pin(driver);
    let begin = async {
        let (answer, _) = http2_client::begin(&sender, "GET", BLOB, true).await;
        let (mut registry, _) = upstream.accept_request().await;
        registry.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n")).await;
        (answer, registry)
    };
    let (answer, mut registry) = tokio::select! {
        begun = begin => begun,
        _ = &mut driver => panic!("the connection ended"),
    };
    // The client reads nothing from here on, so the data of the registry is held up on the way.
    let sending = tokio::spawn(async move { registry.stream.write_all(&vec![b'x'; BYTES]).await });
    let draining = tokio::spawn(gate.running.drain());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!draining.is_finished());
    let body = async { http2_client::body(soon(answer).await.unwrap()).await.unwrap().len() };
    let (length, _) = soon(async { tokio::join!(body, driver) }).await;
    assert_eq!(length, BYTES);
    assert_eq!(soon(draining).await.unwrap(), 0);
    drop((sending, sender));
}

/// The answer also arrives whole if the kernel holds all of it by then. The client sends
/// WINDOW_UPDATE while it reads, and a closed socket would answer that with a reset.
#[tokio::test]
async fn the_end_of_an_answer_that_is_read_slowly_arrives() {
    const BYTES: usize = 3 << 20;
    let (mut upstream, gate) =
        ScriptedUpstream::behind(Setup { tls: true, ..Setup::default() }).await;
    let mut client = gate.connect_tls(&[b"h2"]).await;
    let wide = 0x7fff_0000_u32.to_be_bytes();
    let settings = [&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4][..], &wide].concat();
    let window_update =
        |increment: u32| [&[0, 0, 4, 8, 0, 0, 0, 0, 0][..], &increment.to_be_bytes()].concat();
    let request = headers(1, "GET", BLOB, &crate::harness::basic(READ_WRITE), true);
    client
        .write_all(&[PREFACE, &settings[..], &window_update(1 << 30), &request].concat())
        .await
        .unwrap();
    let (mut registry, _) = upstream.accept_request().await;
    registry.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n")).await;
    let sending = tokio::spawn(async move { registry.stream.write_all(&vec![b'x'; BYTES]).await });
    assert!(soon(client.read(&mut [0; 1])).await.unwrap() > 0);
    let draining = tokio::spawn(gate.running.drain());
    let (mut read, mut buffer) = (0, vec![0; 16 * 1024]);
    loop {
        match soon(client.read(&mut buffer)).await {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) => panic!("{error} after {read} bytes"),
        }
        // The gate may have shut down its side by now.
        let _ = client.write_all(&window_update(1)).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(read > BYTES, "{read}");
    assert_eq!(soon(draining).await.unwrap(), 0);
    drop(sending);
}

/// A client that does not answer the PING and opens streams without end does not delay the drain
/// forever.
#[tokio::test]
async fn a_client_that_keeps_opening_streams_does_not_hold_up_a_drain() {
    let gate = TestGate::start(Setup { tls: true, ..Setup::default() }).await;
    let mut client = gate.connect_tls(&[b"h2"]).await;
    client.write_all(&[PREFACE, &SETTINGS[..]].concat()).await.unwrap();
    let mut draining = Box::pin(gate.running.drain());
    let begun = Instant::now();
    for stream in (1..).step_by(2) {
        let _ = client.write_all(&headers(stream, "GET", "/v2/", "Bearer x", true)).await;
        if let Ok(code) = tokio::time::timeout(Duration::from_millis(100), &mut draining).await {
            assert_eq!(code, 0);
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "it goes on");
    }
}
