//! Silence at every stage of an HTTP/1.1 connection (class 21 of hostile input).

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Reply, Setup, TestGate, exchange, read_to_close};
use crate::scripted_upstream::{BLOB, ScriptedUpstream, UPLOAD, UPLOADS, only, open_request, soon};

/// The length of the deadline under test.
const SHORT: Duration = Duration::from_millis(300);
/// The bound of all waits here. A longer wait was not ended by the deadline under test, because the
/// others are a minute.
const SOON: Duration = Duration::from_secs(10);

fn assert_at_deadline(begun: Instant) {
    let took = begun.elapsed();
    // The gate starts its clock before this one, so its deadline may seem early.
    assert!(took >= SHORT / 2, "too early: {took:?}");
    assert!(took < SOON, "too late: {took:?}");
}

async fn gate(line: &'static str, tls: bool) -> TestGate {
    TestGate::start(Setup { http: only(line), tls, ..Setup::default() }).await
}

#[tokio::test]
async fn header_timeout_ends_silence_after_connect() {
    let gate = gate("header_timeout: 300ms", false).await;
    let begun = Instant::now();
    assert_eq!(gate.raw("").await, "");
    assert_at_deadline(begun);
}

#[tokio::test]
async fn handshake_timeout_ends_silence_in_the_tls_handshake() {
    let gate = gate("handshake_timeout: 300ms", true).await;
    // No bytes at all, and the beginning of a TLS record.
    for bytes in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00"] {
        let begun = Instant::now();
        assert_eq!(gate.raw(bytes).await, "");
        assert_at_deadline(begun);
    }
}

#[tokio::test]
async fn header_timeout_ends_silence_after_the_tls_handshake() {
    let gate = gate("header_timeout: 300ms", true).await;
    for half in ["", "GET /v2/ HTTP/1.1\r\nHost: regis"] {
        let mut stream = gate.connect_tls(&[b"http/1.1"]).await;
        let begun = Instant::now();
        stream.write_all(half.as_bytes()).await.unwrap();
        assert_eq!(read_to_close(&mut stream).await, "");
        assert_at_deadline(begun);
    }
}

#[tokio::test]
async fn header_timeout_ends_silence_in_a_head() {
    let gate = gate("header_timeout: 300ms", false).await;
    for half in ["G", "GET /v2/ HTTP/1.1\r\n", "GET /v2/ HTTP/1.1\r\nHost: registry.test\r\n"] {
        let begun = Instant::now();
        assert_eq!(gate.raw(half).await, "", "{half:?}");
        assert_at_deadline(begun);
    }
}

/// The deadline applies to the whole head: a byte now and then does not extend it.
#[tokio::test]
async fn header_timeout_ends_a_head_that_trickles() {
    let gate = gate("header_timeout: 300ms", false).await;
    let mut stream = gate.connect().await;
    let begun = Instant::now();
    let (mut reading, mut writing) = stream.split();
    let trickle = async {
        writing.write_all(b"GET /v2/ HTTP/1.1\r\n").await.unwrap();
        while writing.write_all(b"X").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = trickle => {}
        text = read_to_close(&mut reading) => assert_eq!(text, ""),
    }
    assert_at_deadline(begun);
}

#[tokio::test]
async fn idle_timeout_ends_silence_between_requests() {
    for tls in [false, true] {
        let gate = gate("idle_timeout: 300ms", tls).await;
        let ping = open_request("GET", "/v2/", "", "");
        let begun;
        if tls {
            let mut stream = gate.connect_tls(&[b"http/1.1"]).await;
            begun = Instant::now();
            assert_eq!(exchange(&mut stream, &ping).await.status, 200);
            assert_eq!(read_to_close(&mut stream).await, "");
        } else {
            let mut stream = gate.connect().await;
            begun = Instant::now();
            assert_eq!(exchange(&mut stream, &ping).await.status, 200);
            assert_eq!(read_to_close(&mut stream).await, "");
        }
        assert_at_deadline(begun);
    }
}

/// A later head has `header_timeout` from its first byte, independent of the idle time of the
/// connection.
#[tokio::test]
async fn a_later_head_has_header_timeout_from_its_first_byte() {
    let gate = gate("header_timeout: 600ms", false).await;
    let mut stream = gate.connect().await;
    let ping = open_request("GET", "/v2/", "", "");
    assert_eq!(exchange(&mut stream, &ping).await.status, 200);
    // Longer than `header_timeout`: this wait is subject to `idle_timeout` only.
    tokio::time::sleep(Duration::from_millis(900)).await;
    let (first, rest) = ping.split_at(10);
    stream.write_all(first.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(exchange(&mut stream, rest).await.status, 200);
    // The later head has no more time than `header_timeout`.
    let begun = Instant::now();
    stream.write_all(first.as_bytes()).await.unwrap();
    assert_eq!(read_to_close(&mut stream).await, "");
    assert!((Duration::from_millis(600)..SOON).contains(&begun.elapsed()));
}

/// An incomplete head that arrived while another request was being served has `header_timeout` from
/// the end of that answer.
#[tokio::test]
async fn a_half_head_behind_a_slow_request_has_header_timeout() {
    for half in [
        "G",
        "GET /v2/ HTTP/1.1\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: registry.test\r\n",
        "\r\n",
        "\r\nGET",
    ] {
        for whole in [0, 2] {
            let setup = Setup { http: only("header_timeout: 300ms"), ..Setup::default() };
            let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
            let mut client = gate.connect().await;
            let ping = open_request("GET", "/v2/", "", "");
            let blob = open_request("GET", BLOB, "", "");
            client
                .write_all(format!("{blob}{}{half}", ping.repeat(whole)).as_bytes())
                .await
                .unwrap();
            let (mut connection, _) = upstream.accept_request().await;
            // Longer than `header_timeout`, which does not run while the answer is pending.
            tokio::time::sleep(Duration::from_millis(500)).await;
            let begun = Instant::now();
            connection.write(crate::scripted_upstream::OK).await;
            let text = read_to_close(&mut client).await;
            assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 1 + whole, "{half:?}: {text}");
            assert_at_deadline(begun);
        }
    }
    // A client that sends the rest in time is served.
    let setup = Setup { http: only("header_timeout: 1s"), ..Setup::default() };
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let mut client = gate.connect().await;
    let ping = open_request("GET", "/v2/", "", "");
    let (first, rest) = ping.split_at(10);
    client
        .write_all(format!("{}{first}", open_request("GET", BLOB, "", "")).as_bytes())
        .await
        .unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    connection.write(crate::scripted_upstream::OK).await;
    assert_eq!(soon(crate::harness::read_reply(&mut client)).await.status, 200);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(exchange(&mut client, rest).await.status, 200);
}

/// `idle_timeout` covers only the wait before a later head, so it does not end an incomplete one.
#[tokio::test]
async fn a_later_head_may_take_longer_than_idle_timeout() {
    let gate = gate("idle_timeout: 300ms", false).await;
    let mut stream = gate.connect().await;
    let ping = open_request("GET", "/v2/", "", "");
    assert_eq!(exchange(&mut stream, &ping).await.status, 200);
    let (first, rest) = ping.split_at(10);
    stream.write_all(first.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(exchange(&mut stream, rest).await.status, 200);
}

#[tokio::test]
async fn stall_timeout_ends_silence_in_a_body() {
    for (headers, beginning) in [
        ("Content-Length: 100\r\n", "only this"),
        ("Transfer-Encoding: chunked\r\n", "9\r\nonly this\r\n"),
        ("Content-Length: 100\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", ""),
    ] {
        let setup = Setup { http: only("stall_timeout: 300ms"), ..Setup::default() };
        let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
        let mut client = gate.connect().await;
        let begun = Instant::now();
        client.write_all(open_request("PATCH", UPLOAD, headers, "").as_bytes()).await.unwrap();
        client.write_all(beginning.as_bytes()).await.unwrap();
        let (mut connection, _) = upstream.accept_request().await;
        let (text, rest) =
            soon(async { tokio::join!(read_to_close(&mut client), connection.closed()) }).await;
        assert_at_deadline(begun);
        assert!(text.is_empty() || Reply::parse(&text).status >= 400, "{text}");
        let rest = String::from_utf8(rest).unwrap();
        assert_eq!(rest.contains("only this"), !beginning.is_empty());
        assert!(!rest.ends_with("0\r\n\r\n"), "it looks whole: {rest:?}");
        let log = gate.log(1).await;
        assert_eq!(
            (&log[0]["reason"], &log[0]["decision"]),
            (&"client_stalled".into(), &"error".into())
        );
    }
}

/// A client whose request is refused before its body arrives receives the answer, and the
/// connection ends within bounds.
#[tokio::test]
async fn a_refused_request_with_a_silent_body_gets_its_answer() {
    let gate = gate("header_timeout: 50s", false).await;
    let reply = gate.send("POST", UPLOADS, None, "Content-Length: 100\r\n", "").await;
    assert_eq!(reply.status, 401);
}

#[tokio::test]
async fn stall_timeout_ends_an_answer_that_is_not_read() {
    for tls in [false, true] {
        // The test plays the registry, and the same `stall_timeout` applies to it.
        let setup = Setup { http: only("stall_timeout: 1s"), tls, ..Setup::default() };
        let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
        let ask = open_request("GET", BLOB, "", "");
        let (mut plain, mut encrypted) = (None, None);
        if tls {
            let stream = encrypted.insert(gate.connect_tls(&[b"http/1.1"]).await);
            stream.write_all(ask.as_bytes()).await.unwrap();
        } else {
            plain.insert(gate.connect().await).write_all(ask.as_bytes()).await.unwrap();
        }
        let (mut connection, _) = upstream.accept_request().await;
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
        let begun = Instant::now();
        // The write blocks until the gate closes the connection.
        while soon(connection.stream.write_all(&[b'x'; 65_536])).await.is_ok() {
            assert!(begun.elapsed() < SOON, "all of it was taken");
        }
        assert_at_deadline(begun);
        let log = gate.log(1).await;
        assert_eq!((&log[0]["status"], &log[0]["reason"]), (&200.into(), &"client_stalled".into()));
        assert!(log[0]["bytes_out"].as_u64().unwrap() > 0);
        // The client receives less than the announced length.
        let mut received = Vec::new();
        let _ = match (&mut plain, &mut encrypted) {
            (Some(stream), _) => soon(stream.read_to_end(&mut received)).await,
            (_, Some(stream)) => soon(stream.read_to_end(&mut received)).await,
            _ => unreachable!(),
        };
        assert!(received.len() < 1_000_000_000);
    }
}

/// The gate gives up a registry that does not read an upload, and answers the client with 504.
#[tokio::test]
async fn stall_timeout_ends_an_upload_that_the_registry_does_not_read() {
    let setup = Setup { http: only("stall_timeout: 300ms"), ..Setup::default() };
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let mut client = gate.connect().await;
    let begun = Instant::now();
    client
        .write_all(open_request("PATCH", UPLOAD, "Content-Length: 1000000000\r\n", "").as_bytes())
        .await
        .unwrap();
    let (_connection, _) = upstream.accept_request().await;
    let (mut reading, mut writing) = client.split();
    // The gate writes the answer before it stops reading the body.
    let sending = async { while writing.write_all(&[b'x'; 65_536]).await.is_ok() {} };
    let reading = async {
        let mut bytes = Vec::new();
        while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            assert!(soon(reading.read_buf(&mut bytes)).await.unwrap() > 0, "no answer");
        }
        Reply::parse(&String::from_utf8(bytes).unwrap())
    };
    let (reply, ()) = soon(async { tokio::join!(reading, sending) }).await;
    assert_eq!(reply.status, 504);
    assert_at_deadline(begun);
    assert_eq!(gate.log(1).await[0]["reason"], "upstream_timeout");
}
