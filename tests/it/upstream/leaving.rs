//! Bodies that end early: early answers, clients that leave, and peers that do not read.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{READ_WRITE, Reply, Setup, read_to_close, request};
use crate::http2_client;
use crate::scripted_upstream::{
    BLOB, OK, ScriptedUpstream, UPLOAD, UpstreamConnection, open_request, soon, write_until_stalled,
};

const TOO_LARGE: &str =
    "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge";
/// The time within which the gate must notice that the peer has left.
const AT_ONCE: Duration = Duration::from_secs(1);
/// A body size, in bytes: more than all buffers between the registry and the client hold.
const LIMIT: usize = 40 << 20;

/// The behaviour of the registry after its early answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    StopsReading,
    Closes,
    ReadsOn,
}

async fn answer_early(
    mut connection: UpstreamConnection,
    then: Then,
) -> Option<UpstreamConnection> {
    connection.bytes(1000).await;
    connection.write(TOO_LARGE).await;
    match then {
        Then::StopsReading => Some(connection),
        // The kernel sends a reset, because bytes are unread.
        Then::Closes => None,
        Then::ReadsOn => {
            connection.closed().await;
            None
        }
    }
}

#[tokio::test]
async fn an_early_answer_reaches_the_client() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    // The close races with the gate's writes, so the test repeats it.
    let closes = std::iter::repeat_n(Then::Closes, 20);
    for then in [Then::StopsReading, Then::ReadsOn].into_iter().chain(closes) {
        for length in [200_000, 900_000] {
            let script = async {
                let (connection, _) = upstream.accept_request().await;
                answer_early(connection, then).await
            };
            // A client that reads only after it has written everything, as most do.
            let body = "x".repeat(length);
            let client = gate.raw(request("PATCH", UPLOAD, Some(READ_WRITE), "", &body));
            let (_held, text) = soon(async { tokio::join!(script, client) }).await;
            let reply = Reply::parse(&text);
            assert_eq!((reply.status, &*reply.body), (413, "large"), "{then:?} {length}");
        }
    }
}

#[tokio::test]
async fn an_early_answer_reaches_the_client_over_http2() {
    let (mut upstream, gate) =
        ScriptedUpstream::behind(Setup { tls: true, ..Setup::default() }).await;
    let sender = gate.http2().await;
    let closes = std::iter::repeat_n(Then::Closes, 20);
    for then in [Then::StopsReading, Then::ReadsOn].into_iter().chain(closes) {
        let script = async {
            let (connection, _) = upstream.accept_request().await;
            answer_early(connection, then).await
        };
        let client = async {
            let (answer, mut stream) = http2_client::begin(&sender, "PATCH", UPLOAD, false).await;
            // The write ends early, together with the stream.
            let sent = http2_client::send(&mut stream, Bytes::from(vec![b'x'; LIMIT]), true).await;
            assert!(sent.is_err(), "{then:?}: everything was taken");
            let response = soon(answer).await.unwrap();
            let status = response.status();
            (status, http2_client::body(response).await.unwrap())
        };
        let (_held, (status, body)) = soon(async { tokio::join!(script, client) }).await;
        assert_eq!((status.as_u16(), &*body), (413, &b"large"[..]), "{then:?}");
    }
}

/// If the registry resets the connection without an answer, the client receives 502.
#[tokio::test]
async fn a_reset_of_the_registry_in_mid_upload_is_502() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.bytes(1000).await;
    };
    let body = "x".repeat(500_000);
    let ((), text) = soon(async {
        tokio::join!(script, gate.raw(request("PATCH", UPLOAD, Some(READ_WRITE), "", &body)))
    })
    .await;
    assert_eq!(Reply::parse(&text).status, 502);
    assert_eq!(upstream.requests(), 1);
}

/// A client that leaves never makes its upload look complete, for either framing.
#[tokio::test]
async fn an_upload_of_a_client_that_leaves_never_looks_complete() {
    for headers in ["Content-Length: 100000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
        let mut client = gate.connect().await;
        client.write_all(open_request("PATCH", UPLOAD, headers, "").as_bytes()).await.unwrap();
        client.write_all(b"9\r\nonly this\r\n").await.unwrap();
        let (mut connection, _) = upstream.accept_request().await;
        connection.until(b"only this").await;
        drop(client);
        let left = Instant::now();
        let rest = connection.closed().await;
        assert!(left.elapsed() < AT_ONCE);
        assert!(!rest.ends_with(b"0\r\n\r\n"), "it looks whole: {rest:?}");
        let log = gate.log(1).await;
        assert_eq!((&log[0]["status"], &log[0]["reason"]), (&499.into(), &"client_aborted".into()));
        let bytes_in = if headers.contains("chunked") { 9 } else { 14 };
        assert_eq!((&log[0]["decision"], &log[0]["bytes_in"]), (&"error".into(), &bytes_in.into()));
        assert_eq!(upstream.requests(), 1);
    }
}

#[tokio::test]
async fn an_upload_of_a_client_that_leaves_never_looks_complete_over_http2() {
    for reason in [Some(h2::Reason::CANCEL), Some(h2::Reason::NO_ERROR), None] {
        let (mut upstream, gate) =
            ScriptedUpstream::behind(Setup { tls: true, ..Setup::default() }).await;
        let socket = gate.connect_tls(&[b"h2"]).await;
        let (sender, driver) = h2::client::handshake(socket).await.unwrap();
        let driver = tokio::spawn(driver);
        let (answer, mut stream) = http2_client::begin(&sender, "PATCH", UPLOAD, false).await;
        stream.send_data("only this".into(), false).unwrap();
        let (mut connection, _) = upstream.accept_request().await;
        connection.until(b"only this").await;
        let left = Instant::now();
        match reason {
            Some(reason) => stream.send_reset(reason),
            // The whole connection ends.
            None => driver.abort(),
        }
        let rest = connection.closed().await;
        assert!(left.elapsed() < AT_ONCE);
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{reason:?}: it looks whole: {rest:?}");
        let log = gate.log(1).await;
        assert_eq!(
            (&log[0]["status"], &log[0]["reason"]),
            (&499.into(), &"client_aborted".into()),
            "{reason:?}"
        );
        assert_eq!(log[0]["bytes_in"], 9);
        drop((answer, stream));
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_ends_the_upstream_request() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let mut client = gate.connect().await;
    client.write_all(open_request("GET", BLOB, "", "").as_bytes()).await.unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    drop(client);
    let left = Instant::now();
    connection.closed().await;
    assert!(left.elapsed() < AT_ONCE);
    let log = gate.log(1).await;
    assert_eq!((&log[0]["status"], &log[0]["reason"]), (&499.into(), &"client_aborted".into()));
    assert_eq!((&log[0]["operation"], &log[0]["upstream_ms"]), (&"blob_get".into(), &().into()));
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_download_ends_the_upstream_request() {
    // A registry that continues to send, and one that is silent at that moment.
    for busy in [true, false] {
        let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
        let mut client = gate.connect().await;
        client.write_all(open_request("GET", BLOB, "", "").as_bytes()).await.unwrap();
        let (mut connection, _) = upstream.accept_request().await;
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\nonly this").await;
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"only this") {
            soon(client.read_buf(&mut bytes)).await.unwrap();
        }
        drop(client);
        let left = Instant::now();
        if busy {
            while soon(connection.stream.write_all(&[b'x'; 4096])).await.is_ok() {}
        } else {
            connection.closed().await;
        }
        assert!(left.elapsed() < AT_ONCE);
        let log = gate.log(1).await;
        // The head was sent, so the status is 200.
        assert_eq!((&log[0]["status"], &log[0]["reason"]), (&200.into(), &"client_aborted".into()));
    }
}

#[tokio::test]
async fn an_http2_client_that_leaves_in_mid_download_ends_the_upstream_request() {
    let (mut upstream, gate) =
        ScriptedUpstream::behind(Setup { tls: true, ..Setup::default() }).await;
    let sender = gate.http2().await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this").await;
        connection
    };
    let (mut connection, response) =
        soon(async { tokio::join!(script, http2_client::ask(&sender, "GET", BLOB)) }).await;
    drop(response);
    let left = Instant::now();
    connection.closed().await;
    assert!(left.elapsed() < AT_ONCE);
    let log = gate.log(1).await;
    assert_eq!((&log[0]["status"], &log[0]["reason"]), (&200.into(), &"client_aborted".into()));
}

/// If the client does not read, the registry cannot send: the gate buffers only a bounded amount.
#[tokio::test]
async fn a_client_that_does_not_read_holds_back_the_registry() {
    for tls in [false, true] {
        let (mut upstream, gate) =
            ScriptedUpstream::behind(Setup { tls, ..Setup::default() }).await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LIMIT}\r\n\r\n");
        if tls {
            let (sender, _driver) = http2_client::connect_with_windows(&gate, 65_535, 65_535).await;
            let (answer, _) = http2_client::begin(&sender, "GET", BLOB, true).await;
            let (mut connection, _) = upstream.accept_request().await;
            connection.write(head).await;
            let response = soon(answer).await.unwrap();
            let taken =
                write_until_stalled(&mut connection.stream, Duration::from_millis(500), LIMIT)
                    .await;
            // The transfer resumes and completes.
            let rest = async {
                let _ = connection.stream.write_all(&vec![b'x'; LIMIT - taken]).await;
            };
            let ((), body) = soon(async { tokio::join!(rest, http2_client::body(response)) }).await;
            assert_eq!(body.unwrap().len(), LIMIT);
        } else {
            let mut client = gate.connect().await;
            client
                .write_all(request("GET", BLOB, Some(READ_WRITE), "", "").as_bytes())
                .await
                .unwrap();
            let (mut connection, _) = upstream.accept_request().await;
            connection.write(head).await;
            let taken =
                write_until_stalled(&mut connection.stream, Duration::from_millis(500), LIMIT)
                    .await;
            let rest = async {
                let _ = connection.stream.write_all(&vec![b'x'; LIMIT - taken]).await;
            };
            let ((), text) = soon(async { tokio::join!(rest, read_to_close(&mut client)) }).await;
            assert_eq!(Reply::parse(&text).body.len(), LIMIT);
        }
    }
}

/// If the registry does not read, the client cannot send.
#[tokio::test]
async fn a_registry_that_does_not_read_holds_back_the_client() {
    for tls in [false, true] {
        let (mut upstream, gate) =
            ScriptedUpstream::behind(Setup { tls, ..Setup::default() }).await;
        if tls {
            let sender = gate.http2().await;
            let (answer, mut stream) = http2_client::begin(&sender, "PATCH", UPLOAD, false).await;
            let (mut connection, _) = upstream.accept_request().await;
            let mut sent = 0;
            let piece = Bytes::from(vec![b'x'; 16 * 1024]);
            while let Ok(result) = tokio::time::timeout(
                Duration::from_millis(500),
                http2_client::send(&mut stream, piece.clone(), false),
            )
            .await
            {
                result.unwrap();
                sent += piece.len();
                assert!(sent < LIMIT, "everything was taken");
            }
            connection.write(OK).await;
            assert_eq!(soon(answer).await.unwrap().status(), 200);
        } else {
            let mut client = gate.connect().await;
            let head = open_request("PATCH", UPLOAD, &format!("Content-Length: {LIMIT}\r\n"), "");
            client.write_all(head.as_bytes()).await.unwrap();
            let (mut connection, _) = upstream.accept_request().await;
            let sent = write_until_stalled(&mut client, Duration::from_millis(500), LIMIT).await;
            // The transfer resumes and completes.
            let rest = async {
                client.write_all(&vec![b'x'; LIMIT - sent]).await.unwrap();
                crate::harness::read_reply(&mut client).await
            };
            let script = async {
                connection.bytes(LIMIT).await;
                connection.write(OK).await;
            };
            let (reply, ()) = soon(async { tokio::join!(rest, script) }).await;
            assert_eq!(reply.status, 200);
        }
    }
}
