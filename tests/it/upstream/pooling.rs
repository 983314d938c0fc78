//! Connections to the registry that the gate reuses, and those that it must not reuse.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Reply, Setup, TestGate, exchange, read_reply};
use crate::scripted_upstream::{
    BLOB, FINISH, OK, ScriptedUpstream, UPLOAD, UPLOADS, UpstreamConnection, open_request, soon,
};

/// Returns the connection of a client and that of the registry after one successful exchange.
async fn warm(upstream: &mut ScriptedUpstream, gate: &TestGate) -> (TcpStream, UpstreamConnection) {
    let mut client = gate.connect().await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write(OK).await;
        connection
    };
    let (connection, reply) = soon(async {
        tokio::join!(script, exchange(&mut client, open_request("GET", BLOB, "", "")))
    })
    .await;
    assert_eq!(reply.status, 200);
    (client, connection)
}

#[tokio::test]
async fn requests_one_after_the_other_use_one_connection() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let (mut client, mut connection) = warm(&mut upstream, &gate).await;
    for (method, target, answer, body) in [
        ("GET", BLOB, OK, ""),
        (
            "GET",
            BLOB,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "",
        ),
        ("GET", BLOB, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", ""),
        ("PUT", FINISH, OK, "body"),
        ("PATCH", UPLOAD, OK, "body"),
        ("POST", UPLOADS, OK, ""),
        ("DELETE", UPLOAD, OK, ""),
        // The same request again, directly before a request of another client.
        ("GET", BLOB, OK, ""),
    ] {
        let script = async {
            connection.head().await;
            connection.bytes(body.len()).await;
            connection.write(answer).await;
        };
        let chunked = answer.contains("chunked");
        let client = async {
            if chunked {
                client.write_all(open_request(method, target, "", body).as_bytes()).await.unwrap();
                let mut bytes = Vec::new();
                while !bytes.ends_with(b"0\r\n\r\n") {
                    tokio::io::AsyncReadExt::read_buf(&mut client, &mut bytes).await.unwrap();
                }
                Reply::parse(&String::from_utf8(bytes).unwrap())
            } else {
                exchange(&mut client, open_request(method, target, "", body)).await
            }
        };
        let ((), reply) = soon(async { tokio::join!(script, client) }).await;
        assert!(matches!(reply.status, 200 | 404), "{reply:?}");
    }
    drop(client);
    let script = async {
        connection.head().await;
        connection.write(OK).await;
    };
    let mut other = gate.connect().await;
    let ((), reply) = soon(async {
        tokio::join!(script, exchange(&mut other, open_request("GET", BLOB, "", "")))
    })
    .await;
    assert_eq!((reply.status, upstream.accepted()), (200, 1));
}

/// The gate does not use a connection that the registry closed while it was idle.
#[tokio::test]
async fn an_idle_connection_that_the_registry_closed_is_not_used() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    for (method, target, body) in
        [("GET", BLOB, ""), ("PUT", FINISH, "body"), ("POST", UPLOADS, "")]
    {
        let (mut client, mut connection) = warm(&mut upstream, &gate).await;
        connection.stream.shutdown().await.unwrap();
        connection.closed().await;
        let before = (upstream.accepted(), upstream.requests());
        let script = async {
            let (mut connection, _) = upstream.accept_request().await;
            connection.bytes(body.len()).await;
            connection.write(OK).await;
            connection.stream.shutdown().await.unwrap();
            connection.closed().await;
        };
        let request = exchange(&mut client, open_request(method, target, "", body));
        let ((), reply) = soon(async { tokio::join!(script, request) }).await;
        assert_eq!(reply.status, 200, "{method}");
        assert_eq!(
            (upstream.accepted(), upstream.requests()),
            (before.0 + 1, before.1 + 1),
            "{method}"
        );
    }
}

/// If the registry closes a pooled connection just as a request arrives, the gate repeats a read
/// once.
#[tokio::test]
async fn a_read_on_a_dead_pooled_connection_is_retried_once() {
    for method in ["GET", "HEAD"] {
        let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
        let (mut client, mut connection) = warm(&mut upstream, &gate).await;
        let script = async {
            connection.head().await;
            drop(connection);
            let (mut connection, head) = upstream.accept_request().await;
            assert_eq!(head.line().0, method);
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        };
        let request = exchange(&mut client, open_request(method, BLOB, "", ""));
        let ((), reply) = soon(async { tokio::join!(script, request) }).await;
        assert_eq!(
            (reply.status, upstream.accepted(), upstream.requests()),
            (200, 2, 3),
            "{method}"
        );
    }
}

#[tokio::test]
async fn a_read_is_not_retried_a_second_time() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let (mut client, mut connection) = warm(&mut upstream, &gate).await;
    let script = async {
        connection.head().await;
        drop(connection);
        drop(upstream.accept_request().await);
    };
    let request = exchange(&mut client, open_request("GET", BLOB, "", ""));
    let ((), reply) = soon(async { tokio::join!(script, request) }).await;
    assert_eq!((reply.status, upstream.accepted(), upstream.requests()), (502, 2, 3));
}

/// The gate never sends a request that changes something twice.
#[tokio::test]
async fn a_write_on_a_dead_pooled_connection_is_not_retried() {
    for (method, target, body) in [
        ("POST", UPLOADS, ""),
        ("PATCH", UPLOAD, "body"),
        ("PUT", FINISH, "body"),
        ("PUT", FINISH, ""),
        ("PUT", "/v2/demo/a/manifests/v1", "{}"),
        ("DELETE", UPLOAD, ""),
    ] {
        let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
        let (mut client, mut connection) = warm(&mut upstream, &gate).await;
        let script = async {
            connection.head().await;
            drop(connection);
        };
        let request = exchange(&mut client, open_request(method, target, "", body));
        let ((), reply) = soon(async { tokio::join!(script, request) }).await;
        assert_eq!(
            (reply.status, upstream.accepted(), upstream.requests()),
            (502, 1, 2),
            "{method}"
        );
    }
}

/// The gate does not repeat any request that failed on a new connection.
#[tokio::test]
async fn a_request_on_a_fresh_connection_is_not_retried() {
    for (method, target, body) in
        [("GET", BLOB, ""), ("POST", UPLOADS, ""), ("PUT", FINISH, "body")]
    {
        let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
        let mut client = gate.connect().await;
        let script = async { drop(upstream.accept_request().await) };
        let request = exchange(&mut client, open_request(method, target, "", body));
        let ((), reply) = soon(async { tokio::join!(script, request) }).await;
        assert_eq!(
            (reply.status, upstream.accepted(), upstream.requests()),
            (502, 1, 1),
            "{method}"
        );
    }
}

/// The registry may have closed an idle connection without the gate having noticed yet. A request
/// that cannot be repeated therefore needs a connection that was used recently.
#[tokio::test]
async fn a_request_that_cannot_be_retried_avoids_a_long_idle_connection() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let (mut client, mut rested) = warm(&mut upstream, &gate).await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.bytes(4).await;
        connection.write(OK).await;
        connection
    };
    let request = exchange(&mut client, open_request("PUT", FINISH, "", "body"));
    let (mut fresh, reply) = soon(async { tokio::join!(script, request) }).await;
    assert_eq!((reply.status, upstream.accepted()), (200, 2));
    // A read may use the older connection, but the gate takes the most recently used one first.
    let script = async {
        tokio::select! {
            _ = fresh.head() => fresh.write(OK).await,
            _ = rested.head() => panic!("the older connection was used"),
        }
    };
    let request = exchange(&mut client, open_request("GET", BLOB, "", ""));
    let ((), reply) = soon(async { tokio::join!(script, request) }).await;
    assert_eq!((reply.status, upstream.accepted()), (200, 2));
}

#[tokio::test]
async fn a_connection_that_the_registry_ends_is_not_kept() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
        let mut client = gate.connect().await;
        for number in 1..=2 {
            let script = async {
                let (mut connection, _) = upstream.accept_request().await;
                connection.write(answer).await;
                // The registry leaves the connection open, so the gate must close it.
                connection.closed().await;
            };
            let request = exchange(&mut client, open_request("PUT", FINISH, "", "body"));
            let ((), reply) = soon(async { tokio::join!(script, request) }).await;
            assert_eq!(
                (reply.status, &*reply.body, upstream.accepted()),
                (200, "ok", number),
                "{answer}"
            );
        }
    }
}

/// The gate refuses an answer that ends with its connection, because a complete one cannot be told
/// from one that broke off.
#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_refused() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let mut client = gate.connect().await;
    client.write_all(open_request("GET", BLOB, "", "").as_bytes()).await.unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    connection.write("HTTP/1.1 200 OK\r\n\r\nsome bytes").await;
    assert_eq!(soon(read_reply(&mut client)).await.status, 502);
    connection.closed().await;
}

/// If the answer is complete but the request is not, the gate closes the connection: the registry
/// would read the next request as the rest of the body.
#[tokio::test]
async fn a_connection_with_half_a_request_on_it_is_not_kept() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let mut client = gate.connect().await;
    client
        .write_all(open_request("PATCH", UPLOAD, "Content-Length: 100\r\n", "").as_bytes())
        .await
        .unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    connection.write(OK).await;
    assert_eq!(soon(read_reply(&mut client)).await.status, 200);
    connection.closed().await;
}
