//! Slow but honest transfers succeed: a transfer has no total deadline, and the client is not
//! blamed for a wait for the registry.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{READ_WRITE, Reply, Setup, TestGate, read_to_close, request};
use crate::http2_client;
use crate::scripted_upstream::{BLOB, OK, ScriptedUpstream, UPLOAD, soon};

/// The deadlines. A piece arrives every [`PAUSE`], a tenth of the one-second deadlines.
const TIMEOUTS: [&str; 4] =
    ["handshake_timeout: 1m", "header_timeout: 1s", "idle_timeout: 1s", "stall_timeout: 1s"];
const PAUSE: Duration = Duration::from_millis(100);
const PIECES: usize = 15;

fn setup(tls: bool) -> Setup {
    Setup {
        http: TIMEOUTS.to_vec(),
        upstream: vec!["response_timeout: 1s"],
        tls,
        ..Setup::default()
    }
}

#[tokio::test]
async fn a_slow_upload_succeeds() {
    let begun = Instant::now();
    let (mut upstream, gate) = ScriptedUpstream::behind(setup(false)).await;
    let mut client = gate.connect().await;
    let headers = format!("Content-Length: {PIECES}\r\n");
    client
        .write_all(request("PATCH", UPLOAD, Some(READ_WRITE), &headers, "").as_bytes())
        .await
        .unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    for _ in 0..PIECES {
        tokio::time::sleep(PAUSE).await;
        client.write_all(b"x").await.unwrap();
        connection.bytes(1).await;
    }
    connection.write(OK).await;
    assert_eq!(Reply::parse(&read_to_close(&mut client).await).status, 200);
    assert!(begun.elapsed() > Duration::from_millis(1200));
}

#[tokio::test]
async fn a_slow_upload_succeeds_over_http2() {
    let (mut upstream, gate) = ScriptedUpstream::behind(setup(true)).await;
    let sender = gate.http2().await;
    let (answer, mut stream) = http2_client::begin(&sender, "PATCH", UPLOAD, false).await;
    let (mut connection, _) = upstream.accept_request().await;
    for number in 0..PIECES {
        tokio::time::sleep(PAUSE).await;
        http2_client::send(&mut stream, Bytes::from_static(b"x"), number + 1 == PIECES)
            .await
            .unwrap();
        connection.until(b"x\r\n").await;
    }
    connection.until(b"0\r\n\r\n").await;
    connection.write(OK).await;
    assert_eq!(soon(answer).await.unwrap().status(), 200);
}

/// The registry sends its answer slowly.
#[tokio::test]
async fn a_slow_answer_of_the_registry_arrives_whole() {
    let ask = async |tls, (mut upstream, gate): (ScriptedUpstream, TestGate)| {
        let script = async {
            let (mut connection, _) = upstream.accept_request().await;
            connection.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {PIECES}\r\n\r\n")).await;
            for _ in 0..PIECES {
                tokio::time::sleep(PAUSE).await;
                connection.write("x").await;
            }
        };
        let client = async {
            if tls {
                let sender = gate.http2().await;
                http2_client::body(http2_client::ask(&sender, "GET", BLOB).await)
                    .await
                    .unwrap()
                    .len()
            } else {
                gate.get(BLOB, Some(READ_WRITE)).await.body.len()
            }
        };
        let ((), length) = soon(async { tokio::join!(script, client) }).await;
        assert_eq!(length, PIECES);
    };
    let plain = ScriptedUpstream::behind(setup(false)).await;
    let tls = ScriptedUpstream::behind(setup(true)).await;
    tokio::join!(ask(false, plain), ask(true, tls));
}

/// The client reads slowly, long after the registry has sent all that the buffers hold.
#[tokio::test]
async fn a_slow_reader_is_not_cut_off() {
    const LENGTH: usize = 24 << 20;
    let (mut upstream, gate) = ScriptedUpstream::behind(setup(false)).await;
    let mut client = gate.connect().await;
    client.write_all(request("GET", BLOB, Some(READ_WRITE), "", "").as_bytes()).await.unwrap();
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n")).await;
        connection.write(vec![b'x'; LENGTH]).await;
    };
    let reading = async {
        let mut received = 0;
        let mut buffer = vec![0; LENGTH / PIECES];
        // The client reads only whole pieces, with a pause after each.
        while let Ok(read) = client.read_exact(&mut buffer).await {
            received += read;
            tokio::time::sleep(PAUSE).await;
        }
        received
    };
    let begun = Instant::now();
    let ((), received) = soon(async { tokio::join!(script, reading) }).await;
    assert!(received > LENGTH / PIECES * (PIECES - 1), "{received} of {LENGTH}");
    assert!(begun.elapsed() > Duration::from_millis(1200));
    assert_eq!(gate.log(1).await[0]["reason"], "allowed");
}

#[tokio::test]
async fn a_slow_reader_is_not_cut_off_over_http2() {
    const WINDOW: usize = 10_000;
    let (mut upstream, gate) = ScriptedUpstream::behind(setup(true)).await;
    let (sender, _driver) = http2_client::connect_with_windows(&gate, 10_000, 65_535).await;
    let (answer, _) = http2_client::begin(&sender, "GET", BLOB, true).await;
    let length = WINDOW * PIECES;
    let (mut connection, _) = upstream.accept_request().await;
    connection.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await;
    let script = connection.write(vec![b'x'; length]);
    let reading = async {
        let mut body = soon(answer).await.unwrap().into_body();
        let (mut received, mut unreleased) = (0, 0);
        while let Some(data) = soon(body.data()).await {
            let data = data.unwrap().len();
            received += data;
            unreleased += data;
            if unreleased >= WINDOW {
                tokio::time::sleep(PAUSE).await;
                body.flow_control().release_capacity(std::mem::take(&mut unreleased)).unwrap();
            }
        }
        received
    };
    let ((), received) = soon(async { tokio::join!(script, reading) }).await;
    assert_eq!(received, length);
}

/// The registry takes longer to answer than every deadline on the client's side.
#[tokio::test]
async fn a_long_wait_for_the_registry_is_not_blamed_on_the_client() {
    let setup = |tls| Setup { upstream: vec!["response_timeout: 1m"], ..setup(tls) };
    let ask = async |tls, (mut upstream, gate): (ScriptedUpstream, TestGate)| {
        let script = async {
            for _ in 0..2 {
                let (mut connection, _) = upstream.accept_request().await;
                tokio::time::sleep(Duration::from_millis(1300)).await;
                connection.write(OK.replace("200 OK", "200 OK\r\nConnection: close")).await;
            }
        };
        let client = async {
            if tls {
                let sender = gate.http2().await;
                let body = http2_client::body(http2_client::ask(&sender, "GET", BLOB).await)
                    .await
                    .unwrap();
                let (answer, mut stream) =
                    http2_client::begin(&sender, "PATCH", UPLOAD, false).await;
                http2_client::send(&mut stream, Bytes::from_static(b"body"), true).await.unwrap();
                assert_eq!(soon(answer).await.unwrap().status(), 200);
                body
            } else {
                let reply = gate.get(BLOB, Some(READ_WRITE)).await;
                assert_eq!(
                    gate.send("PATCH", UPLOAD, Some(READ_WRITE), "", "body").await.status,
                    200
                );
                reply.body.into_bytes()
            }
        };
        let ((), body) = soon(async { tokio::join!(script, client) }).await;
        assert_eq!(body, b"ok");
    };
    let plain = ScriptedUpstream::behind(setup(false)).await;
    let tls = ScriptedUpstream::behind(setup(true)).await;
    tokio::join!(ask(false, plain), ask(true, tls));
}
