//! Statuses of the registry, and a registry that is unreachable or too slow.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use crate::harness::{READ_WRITE, Setup, TestGate, read_reply};
use crate::http2_client;
use crate::scripted_upstream::{
    BLOB, FINISH, OK, ScriptedUpstream, UPLOAD, UPLOADS, open_request, soon,
};

#[tokio::test]
async fn a_challenge_of_the_registry_is_never_shown() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let body = "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"ask evil.test\"}]}";
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        let challenge = "WWW-Authenticate: Bearer realm=\"https://evil.test/token\"";
        let length = body.len();
        connection
            .write(format!(
                "HTTP/1.1 401 No\r\n{challenge}\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .await;
    };
    let ((), reply) = soon(async { tokio::join!(script, gate.get(BLOB, Some(READ_WRITE))) }).await;
    assert_eq!((reply.status, &*reply.code()), (502, "UNAVAILABLE"));
    assert!(!format!("{reply:?}").contains("evil.test"), "{reply:?}");
    assert_eq!(reply.header("www-authenticate"), None);
    let log = gate.log(1).await;
    assert_eq!(
        (&log[0]["status"], &log[0]["reason"]),
        (&502.into(), &"upstream_refused_the_gate".into())
    );
    assert_eq!(log[0]["decision"], "error");
}

#[tokio::test]
async fn every_status_except_401_is_passed_on() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    for status in [
        200, 206, 300, 400, 402, 403, 404, 405, 409, 416, 418, 429, 499, 500, 501, 502, 503, 504,
        599,
    ] {
        let script = async {
            let (mut connection, _) = upstream.accept_request().await;
            let headers = "Connection: close\r\nRetry-After: 9\r\nContent-Length: 4";
            connection.write(format!("HTTP/1.1 {status} Word\r\n{headers}\r\n\r\nbody")).await;
        };
        let ((), reply) =
            soon(async { tokio::join!(script, gate.get(BLOB, Some(READ_WRITE))) }).await;
        assert_eq!(
            (reply.status, &*reply.body, reply.header("retry-after")),
            (status, "body", Some("9"))
        );
    }
}

#[tokio::test]
async fn unreachable() {
    // The port is bound, so that no other test gets it, and not listened on.
    let unused = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    unused.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = unused.local_addr().unwrap().as_socket().unwrap();
    let gate = TestGate::start(Setup { upstream_address: Some(address), ..Setup::default() }).await;
    let reply = gate.get(BLOB, Some(READ_WRITE)).await;
    assert_eq!((reply.status, &*reply.code()), (502, "UNAVAILABLE"));
    let reply = gate.send("PUT", FINISH, Some(READ_WRITE), "", "body").await;
    assert_eq!(reply.status, 502);
    // The answer does not reveal the address of the registry.
    assert!(!reply.body.contains(&address.port().to_string()), "{}", reply.body);
    let log = gate.log(2).await;
    assert_eq!(
        (&log[0]["reason"], &log[0]["upstream_ms"]),
        (&"upstream_unreachable".into(), &().into())
    );
}

/// The registry closes a new connection without an answer, or in the middle of the head. The client
/// receives 502.
#[tokio::test]
async fn a_registry_that_hangs_up_is_502() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let script = async {
            let (mut connection, _) = upstream.accept_request().await;
            connection.write(answer).await;
        };
        let ((), reply) =
            soon(async { tokio::join!(script, gate.get(BLOB, Some(READ_WRITE))) }).await;
        assert_eq!(reply.status, 502);
    }
    assert_eq!(upstream.requests(), 2);
}

/// A listener with a full backlog neither accepts nor refuses a connection, so `connect_timeout`
/// must end the wait.
#[tokio::test]
async fn connect_timeout_ends_a_connect_with_504() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut fill = Vec::new();
    // Until a connection is not accepted any more.
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address))
            .await
    {
        fill.push(stream.unwrap());
        assert!(fill.len() < 64, "the backlog has no end");
    }
    let upstream = vec!["connect_timeout: 200ms"];
    let gate =
        TestGate::start(Setup { upstream_address: Some(address), upstream, ..Setup::default() })
            .await;
    let begun = Instant::now();
    let reply = gate.get(BLOB, Some(READ_WRITE)).await;
    assert_eq!((reply.status, &*reply.code()), (504, "UNAVAILABLE"));
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(gate.log(1).await[0]["reason"], "upstream_timeout");
}

fn impatient() -> Setup {
    Setup {
        upstream: vec!["response_timeout: 300ms", "upload_response_timeout: 1m"],
        ..Setup::default()
    }
}

#[tokio::test]
async fn response_timeout_ends_the_wait_for_an_answer_with_504() {
    let (mut upstream, gate) = ScriptedUpstream::behind(impatient()).await;
    for (method, target, body) in [
        ("GET", BLOB, ""),
        ("HEAD", BLOB, ""),
        ("POST", UPLOADS, ""),
        ("PATCH", UPLOAD, "body"),
        ("GET", UPLOAD, ""),
    ] {
        let begun = Instant::now();
        let script = async {
            let (mut connection, _) = upstream.accept_request().await;
            // Half a head does not count as an answer.
            connection.write("HTTP/1.1 200 OK\r\nContent-").await;
            connection.closed().await;
        };
        let ((), reply) = soon(async {
            tokio::join!(script, gate.send(method, target, Some(READ_WRITE), "", body))
        })
        .await;
        assert_eq!(reply.status, 504, "{method}");
        assert!(begun.elapsed() >= Duration::from_millis(300));
    }
    assert_eq!(upstream.requests(), 5, "a request was repeated");
    let log = gate.log(5).await;
    assert!(
        log.iter().all(|line| line["reason"] == "upstream_timeout" && line["status"] == 504),
        "{log:?}"
    );
}

/// Returns the status of a write that the registry takes longer than `response_timeout` to store.
async fn status_of_a_slow_write(method: &str, target: &str) -> u16 {
    let (mut upstream, gate) = ScriptedUpstream::behind(impatient()).await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.bytes(4).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        connection.write(OK).await;
    };
    let write = gate.send(method, target, Some(READ_WRITE), "", "body");
    soon(async { tokio::join!(script, write) }).await.1.status
}

/// A blob that is sent with the POST is complete with that request.
#[tokio::test]
async fn a_blob_in_one_post_may_take_as_long_as_the_last_request_of_an_upload() {
    let target = format!("{UPLOADS}?digest={}", crate::harness::some_digest());
    assert_eq!(status_of_a_slow_write("POST", &target).await, 200);
}

#[tokio::test]
async fn the_last_request_of_an_upload_may_take_longer() {
    assert_eq!(status_of_a_slow_write("PUT", FINISH).await, 200);

    let upstream = vec!["response_timeout: 1m", "upload_response_timeout: 300ms"];
    let (mut upstream, gate) =
        ScriptedUpstream::behind(Setup { upstream, ..Setup::default() }).await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.bytes(4).await;
        connection.closed().await;
    };
    let ((), reply) = soon(async {
        tokio::join!(script, gate.send("PUT", FINISH, Some(READ_WRITE), "", "body"))
    })
    .await;
    assert_eq!(reply.status, 504);
}

/// `response_timeout` begins at the end of the request's body, so a slow upload does not exceed it.
#[tokio::test]
async fn the_wait_begins_when_the_body_has_ended() {
    let (mut upstream, gate) = ScriptedUpstream::behind(impatient()).await;
    let mut client = gate.connect().await;
    client
        .write_all(open_request("PATCH", UPLOAD, "Content-Length: 10\r\n", "").as_bytes())
        .await
        .unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        client.write_all(b"x").await.unwrap();
        connection.bytes(1).await;
    }
    connection.write(OK).await;
    assert_eq!(read_reply(&mut client).await.status, 200);
}

#[tokio::test]
async fn over_http2() {
    let setup = Setup { tls: true, ..impatient() };
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let sender = gate.http2().await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.closed().await;
        let (mut connection, _) = upstream.accept_request().await;
        connection
            .write("HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
            .await;
    };
    let client = async {
        assert_eq!(http2_client::ask(&sender, "GET", BLOB).await.status(), 504);
        let response = http2_client::ask(&sender, "GET", BLOB).await;
        assert_eq!(response.status(), 502);
        assert!(!response.headers().contains_key("www-authenticate"));
    };
    soon(async { tokio::join!(script, client) }).await;
}
