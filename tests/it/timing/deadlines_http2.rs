//! Silence at every stage of an HTTP/2 connection, including the stages that only HTTP/2 has.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Setup, TestGate, read_to_close};
use crate::hostile::frames;
use crate::http2_client;
use crate::scripted_upstream::{BLOB, ScriptedUpstream, UPLOAD, only, soon};

const SHORT: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(10);

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
pub(super) const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
const WINDOW_UPDATE: [u8; 13] = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Returns a HEADERS frame without END_HEADERS that contains only `:method: GET`.
pub(super) fn half_headers(stream: u8) -> [u8; 10] {
    [0, 0, 1, 1, 0x01, 0, 0, 0, stream, 0x82]
}

/// Returns the head of a request in literals without indexing. `end` means that it has no body.
pub(super) fn headers(
    stream: u8,
    method: &str,
    path: &str,
    authorization: &str,
    end: bool,
) -> Vec<u8> {
    let block = frames::block(&frames::fields(method, path, authorization));
    frames::encode(frames::HEADERS, frames::END_HEADERS | u8::from(end), stream.into(), &block)
}

fn assert_at_deadline(begun: Instant) {
    let took = begun.elapsed();
    // The gate starts its clock before this one, so its deadline may seem early.
    assert!(took >= SHORT / 2, "too early: {took:?}");
    assert!(took < SOON, "too late: {took:?}");
}

fn setup(line: &'static str) -> Setup {
    Setup { http: only(line), tls: true, ..Setup::default() }
}

#[tokio::test]
async fn header_timeout_ends_silence_before_the_first_http2_request() {
    let gate = TestGate::start(setup("header_timeout: 300ms")).await;
    let both = [PREFACE, &SETTINGS].concat();
    let and_half = [&*both, &half_headers(1)].concat();
    for bytes in [&b""[..], &PREFACE[..10], PREFACE, &both, &and_half] {
        let mut stream = gate.connect_tls(&[b"h2"]).await;
        let begun = Instant::now();
        stream.write_all(bytes).await.unwrap();
        read_to_close(&mut stream).await;
        assert_at_deadline(begun);
    }
}

/// After the last request has ended, `idle_timeout` ends the connection. Frames that do not begin a
/// request do not extend it, for any number of them.
#[tokio::test]
async fn idle_timeout_ends_an_http2_connection_without_requests() {
    let half = half_headers(3);
    let often = Duration::from_millis(50);
    let once = Duration::from_secs(3600);
    for (noise, pause) in [(&b""[..], once), (&PING, often), (&WINDOW_UPDATE, often), (&half, once)]
    {
        let gate = TestGate::start(setup("idle_timeout: 300ms")).await;
        let mut stream = gate.connect_tls(&[b"h2"]).await;
        // GET /v2/ without a credential: `:method GET`, `:scheme https`, `:path /v2/`, `:authority
        // a`.
        let block = [&[0x82, 0x87, 0x04, 4][..], b"/v2/", &[0x01, 1], b"a"].concat();
        let headers =
            [&[0, 0, u8::try_from(block.len()).unwrap(), 1, 0x05, 0, 0, 0, 1][..], &block].concat();
        let begun = Instant::now();
        stream.write_all(&[PREFACE, &SETTINGS, &headers].concat()).await.unwrap();
        let (mut reading, mut writing) = tokio::io::split(stream);
        let mut received = Vec::new();
        while !ends_stream(&received) {
            assert!(soon(reading.read_buf(&mut received)).await.unwrap() > 0);
        }
        let make_noise = async {
            // Writing fails once the gate has closed.
            while writing.write_all(noise).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = make_noise => {}
            _ = read_to_close(&mut reading) => {}
        }
        assert_at_deadline(begun);
    }
}

/// Returns whether these bytes contain a frame of stream 1 with END_STREAM.
fn ends_stream(mut bytes: &[u8]) -> bool {
    while let [a, b, c, kind, flags, _, _, _, stream, rest @ ..] = bytes {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        if rest.len() < length {
            return false;
        }
        if *stream == 1 && (*kind == 0 || *kind == 1) && flags & 1 == 1 {
            return true;
        }
        bytes = &rest[length..];
    }
    false
}

/// Only the stalled stream ends; the other requests on the connection continue.
#[tokio::test]
async fn stall_timeout_ends_silence_in_a_body() {
    let (mut upstream, gate) = ScriptedUpstream::behind(setup("stall_timeout: 300ms")).await;
    let sender = gate.http2().await;
    let begun = Instant::now();
    let (answer, mut stream) = http2_client::begin(&sender, "PATCH", UPLOAD, false).await;
    stream.send_data("only this".into(), false).unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    connection.until(b"only this").await;
    let rest = connection.closed().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it looks whole: {rest:?}");
    let error = soon(answer).await.unwrap_err();
    assert_at_deadline(begun);
    assert!(error.is_reset() && error.is_remote(), "{error:?}");
    let log = gate.log(1).await;
    assert_eq!((&log[0]["status"], &log[0]["reason"]), (&499.into(), &"client_stalled".into()));
    assert_eq!(http2_client::ask(&sender, "GET", "/v2/").await.status(), 200);
}

/// `stall_timeout` resets an answer whose client opens no window: none for the stream, a small one
/// that is used up, and one of the connection that is used up.
#[tokio::test]
async fn stall_timeout_resets_an_answer_without_a_window() {
    for (stream, connection, used) in
        [(0, 65_535, 0), (1000, 65_535, 1000), (1 << 20, 65_535, 65_535)]
    {
        let (mut upstream, gate) = ScriptedUpstream::behind(setup("stall_timeout: 300ms")).await;
        let (sender, driver) = http2_client::connect_with_windows(&gate, stream, connection).await;
        let begun = Instant::now();
        let (answer, _) = http2_client::begin(&sender, "GET", BLOB, true).await;
        let (mut registry, _) = upstream.accept_request().await;
        registry.write("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
        let script =
            async { while soon(registry.stream.write_all(&[b'x'; 65_536])).await.is_ok() {} };
        let client = async {
            let mut body = soon(answer).await.unwrap().into_body();
            let mut received = 0;
            loop {
                // The client does not release flow-control capacity.
                match soon(body.data()).await.expect("it looks whole") {
                    Ok(data) => received += data.len(),
                    Err(error) => return (received, error),
                }
            }
        };
        let ((), (received, error)) = soon(async { tokio::join!(script, client) }).await;
        assert_at_deadline(begun);
        assert!(error.is_reset() && error.is_remote(), "{error:?}");
        assert_eq!(received, used);
        let log = gate.log(1).await;
        assert_eq!((&log[0]["status"], &log[0]["reason"]), (&200.into(), &"client_stalled".into()));
        assert!(!driver.is_finished(), "the whole connection went");
    }
}

/// `stall_timeout` also ends an answer of the gate itself.
#[tokio::test]
async fn stall_timeout_resets_an_answer_of_the_gate_without_a_window() {
    let gate = TestGate::start(setup("stall_timeout: 300ms")).await;
    let (sender, _driver) = http2_client::connect_with_windows(&gate, 0, 65_535).await;
    let begun = Instant::now();
    let response = http2_client::ask(&sender, "GET", "/v2/").await;
    let mut body = response.into_body();
    let error = soon(body.data()).await.expect("it looks whole").unwrap_err();
    assert_at_deadline(begun);
    assert!(error.is_reset(), "{error:?}");
    assert_eq!(gate.log(1).await[0]["reason"], "client_stalled");
}

/// The gate uses a small window, but does not wait forever for room for the last bytes of an
/// answer, also if other streams of the connection are busy. A stream that the gate has ended
/// cannot be reset, so the gate closes the connection.
#[tokio::test]
async fn stall_timeout_ends_an_answer_whose_last_bytes_find_no_window() {
    for busy in [false, true] {
        let (mut upstream, gate) = ScriptedUpstream::behind(setup("stall_timeout: 300ms")).await;
        let (sender, driver) = http2_client::connect_with_windows(&gate, 10, 65_535).await;
        let begun = Instant::now();
        let (answer, _) = http2_client::begin(&sender, "GET", BLOB, true).await;
        let (mut registry, _) = upstream.accept_request().await;
        registry.write("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n01234567890123456789").await;
        let others = async {
            while let Ok(mut sender) = sender.clone().ready().await {
                let request = http::Request::get("https://registry.test/v2/").body(()).unwrap();
                let Ok((answer, _)) = sender.send_request(request, true) else { break };
                let Ok(answer) = answer.await else { break };
                assert_eq!(answer.status(), 401);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let client = async {
            let mut body = soon(answer).await.unwrap().into_body();
            let mut received = 0;
            while let Some(Ok(data)) = soon(body.data()).await {
                received += data.len();
            }
            received
        };
        let received = if busy { tokio::join!(client, soon(others)).0 } else { client.await };
        assert_eq!(received, 10);
        assert_at_deadline(begun);
        let log = gate.log(1).await;
        let blob = log.iter().find(|line| line["operation"] == "blob_get").expect("no line");
        assert_eq!((&blob["status"], &blob["reason"]), (&200.into(), &"client_stalled".into()));
        drop(driver);
    }
}

/// If the registry does not read an upload, the gate gives up the registry and answers the client
/// with 504.
#[tokio::test]
async fn stall_timeout_ends_an_upload_that_the_registry_does_not_read() {
    let (mut upstream, gate) = ScriptedUpstream::behind(setup("stall_timeout: 300ms")).await;
    let sender = gate.http2().await;
    let begun = Instant::now();
    let (answer, mut stream) = http2_client::begin(&sender, "PATCH", UPLOAD, false).await;
    let (_registry, _) = upstream.accept_request().await;
    // The gate ends the stream after the answer, although the client has more to send.
    let sending = async {
        while http2_client::send(&mut stream, vec![b'x'; 65_536].into(), false).await.is_ok() {}
    };
    let (response, ()) = tokio::join!(soon(answer), sending);
    let response = response.unwrap();
    assert_eq!(response.status(), 504);
    assert_at_deadline(begun);
    assert_eq!(gate.log(1).await[0]["reason"], "upstream_timeout");
}

/// `stall_timeout` ends a download whose client does not read from its socket.
#[tokio::test]
async fn stall_timeout_ends_a_connection_that_is_not_read() {
    // The test plays the registry, and the same `stall_timeout` applies to it.
    let (mut upstream, gate) = ScriptedUpstream::behind(setup("stall_timeout: 1s")).await;
    let socket = gate.connect_tls(&[b"h2"]).await;
    let (sender, driver) = h2::client::Builder::new()
        .initial_window_size(1 << 30)
        .initial_connection_window_size(1 << 30)
        .handshake::<_, bytes::Bytes>(socket)
        .await
        .unwrap();
    let mut driver = Box::pin(driver);
    let (mut registry, answer) = {
        let begin = async {
            let (answer, _) = http2_client::begin(&sender, "GET", BLOB, true).await;
            let (mut registry, _) = upstream.accept_request().await;
            registry.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
            (registry, answer)
        };
        tokio::select! {
            pair = begin => pair,
            _ = &mut driver => panic!("the connection ended"),
        }
    };
    // The driver is not polled from here on, so the client reads nothing.
    let begun = Instant::now();
    while soon(registry.stream.write_all(&[b'x'; 65_536])).await.is_ok() {
        assert!(begun.elapsed() < SOON, "all of it was taken");
    }
    assert_at_deadline(begun);
    assert_eq!(gate.log(1).await[0]["reason"], "client_stalled");
    drop((answer, driver));
}
