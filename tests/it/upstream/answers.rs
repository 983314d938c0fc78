//! Invalid answers of the registry (class 11 of hostile input). None of them may become the answer
//! to the next caller.

use tokio::io::AsyncWriteExt;

use crate::harness::{READ_WRITE, Reply, Setup, exchange, read_to_close, request};
use crate::http2_client;
use crate::scripted_upstream::{BLOB, FINISH, OK, ScriptedUpstream, UPLOAD, open_request, soon};

/// Returns the answer that the client receives if the registry answers its request with these
/// bytes. Asserts that the gate closes the broken connection, and that the next request uses a new
/// connection and receives its own answer.
async fn answered(method: &str, answer: &str) -> String {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let script = async {
        let (mut broken, _) = upstream.accept_request().await;
        // The gate cuts off an endless invalid answer in the middle of the write.
        let _ = broken.stream.write_all(answer.as_bytes()).await;
        broken.closed().await;
        let (mut fresh, _) = upstream.accept_request().await;
        fresh.write(OK).await;
    };
    let client = async {
        let reply = gate.raw(request(method, BLOB, Some(READ_WRITE), "", "")).await;
        let next = gate.get(BLOB, Some(READ_WRITE)).await;
        assert_eq!((next.status, &*next.body), (200, "ok"), "after {}", short(answer));
        reply
    };
    let ((), reply) = soon(async { tokio::join!(script, client) }).await;
    assert_eq!((upstream.accepted(), upstream.requests()), (2, 2));
    reply
}

async fn assert_bad_gateway(method: &str, answer: &str) {
    let reply = Reply::parse(&answered(method, answer).await);
    assert_eq!(reply.status, 502, "{}: {reply:?}", short(answer));
    if method != "HEAD" {
        assert_eq!(reply.code(), "UNAVAILABLE", "{}", short(answer));
    }
}

fn short(answer: &str) -> &str {
    answer.get(..200).unwrap_or(answer)
}

#[tokio::test]
async fn an_answer_with_several_or_invalid_lengths_is_502() {
    for lengths in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2\r\nContent-Length: 2",
        "Content-Length: 2, 2",
        "Content-Length: 2, 3",
        "Content-Length: +2",
        "Content-Length: 0x2",
        "Content-Length: -1",
        "Content-Length:",
        "Content-Length: 99999999999999999999999",
    ] {
        assert_bad_gateway("GET", &format!("HTTP/1.1 200 OK\r\n{lengths}\r\n\r\nok")).await;
    }
}

#[tokio::test]
async fn an_answer_with_an_ambiguous_transfer_coding_is_502() {
    for headers in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 2",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
    ] {
        assert_bad_gateway(
            "GET",
            &format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        )
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_502() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\nNo colon here\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 99 Less\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "\0\0\0\0",
    ] {
        assert_bad_gateway("GET", answer).await;
    }
}

#[tokio::test]
async fn an_unrequested_switch_of_protocols_is_502() {
    for method in ["GET", "HEAD"] {
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_bad_gateway(method, answer).await;
    }
}

#[tokio::test]
async fn an_answer_head_of_64_kib_is_502() {
    let filler = "a".repeat(64 * 1024);
    assert_bad_gateway(
        "GET",
        &format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {filler}\r\n\r\n"),
    )
    .await;
    // Many small lines are refused too.
    let lines: String = (0..8000).map(|number| format!("X-{number}: a\r\n")).collect();
    assert_bad_gateway("GET", &format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{lines}\r\n"))
        .await;
}

#[tokio::test]
async fn endless_interim_answers_are_502() {
    assert_bad_gateway("GET", &"HTTP/1.1 100 Continue\r\n\r\n".repeat(100_000)).await;
    assert_bad_gateway(
        "GET",
        &"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n".repeat(100_000),
    )
    .await;
}

/// The log distinguishes invalid answers from an unreachable registry.
#[tokio::test]
async fn invalid_answers_are_logged_as_upstream_invalid() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(100_000);
    for answer in ["nonsense\r\n\r\n", &endless] {
        let script = async {
            let (mut connection, _) = upstream.accept_request().await;
            let _ = connection.stream.write_all(answer.as_bytes()).await;
            connection.closed().await;
        };
        let ((), reply) =
            soon(async { tokio::join!(script, gate.get(BLOB, Some(READ_WRITE))) }).await;
        assert_eq!(reply.status, 502);
    }
    let log = gate.log(2).await;
    assert!(log.iter().all(|line| line["reason"] == "upstream_invalid"), "{log:?}");
}

/// Interim answers do not extend `response_timeout`.
#[tokio::test]
async fn interim_answers_do_not_extend_response_timeout() {
    let setup = Setup { upstream: vec!["response_timeout: 300ms"], ..Setup::default() };
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        while connection.stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let ((), reply) = soon(async { tokio::join!(script, gate.get(BLOB, Some(READ_WRITE))) }).await;
    assert_eq!(reply.status, 504);
}

#[tokio::test]
async fn a_few_interim_answers_are_skipped() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection
            .write(format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n{OK}"))
            .await;
    };
    let ((), reply) = soon(async { tokio::join!(script, gate.get(BLOB, Some(READ_WRITE))) }).await;
    assert_eq!((reply.status, &*reply.body), (200, "ok"));
}

/// If the head announces a body that the status does not allow, the gate refuses the answer. If
/// only the bytes behind the answer are wrong, the gate drops them.
#[tokio::test]
async fn a_body_behind_an_answer_without_one_never_reaches_a_client() {
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong";
    for (method, answer, status) in [
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 44\r\n\r\n", 502),
        ("GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2c\r\n", 502),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n", 304),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n", 200),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200),
    ] {
        let reply = Reply::parse(&answered(method, &format!("{answer}{smuggled}")).await);
        assert_eq!(reply.status, status, "{answer}");
        assert!(!format!("{reply:?}").contains("wrong"), "{reply:?}");
    }
}

/// The gate drops unsolicited bytes on an idle connection and closes it.
#[tokio::test]
async fn unsolicited_bytes_close_an_idle_connection() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let mut client = gate.connect().await;
    let (mut first, reply) = soon(async {
        let script = async {
            let (mut connection, _) = upstream.accept_request().await;
            connection.write(OK).await;
            connection
        };
        tokio::join!(script, exchange(&mut client, open_request("GET", BLOB, "", "")))
    })
    .await;
    assert_eq!(reply.status, 200);
    first.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong").await;
    first.closed().await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write(OK).await;
    };
    let ((), reply) = soon(async {
        tokio::join!(script, exchange(&mut client, open_request("PUT", FINISH, "", "body")))
    })
    .await;
    assert_eq!((reply.status, &*reply.body), (200, "ok"));
}

/// Invalid chunks in the middle of a body break it.
#[tokio::test]
async fn invalid_chunks_break_the_answer_off() {
    for chunks in ["2\r\nok\r\nxyz\r\n", "2\r\nokXX0\r\n\r\n", "-1\r\n", "fffffffffffffffff\r\n"] {
        let reply = answered(
            "GET",
            &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        )
        .await;
        // The head may have been waiting to be written when the body broke.
        assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 200 "), "{reply:?}");
        assert!(!reply.ends_with("0\r\n\r\n"), "{chunks:?}: {reply:?}");
    }
}

/// The gate refuses invalid answers over HTTP/2 too, and keeps the client's connection.
#[tokio::test]
async fn over_http2() {
    let (mut upstream, gate) =
        ScriptedUpstream::behind(Setup { tls: true, ..Setup::default() }).await;
    let sender = gate.http2().await;
    let large =
        format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {}\r\n\r\n", "a".repeat(64 * 1024));
    let endless = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100_000);
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
        "nonsense\r\n\r\n",
        &large,
        &endless,
    ] {
        let script = async {
            let (mut connection, _) = upstream.accept_request().await;
            // The gate cuts off an endless invalid answer in the middle of the write.
            let _ = connection.stream.write_all(answer.as_bytes()).await;
            connection.closed().await;
        };
        let ((), response) =
            soon(async { tokio::join!(script, http2_client::ask(&sender, "GET", BLOB)) }).await;
        assert_eq!(response.status(), 502, "{}", short(answer));
        assert_eq!(response.headers()["docker-distribution-api-version"], "registry/2.0");
    }
}

/// If only the bytes behind an answer are wrong, the answer is complete and the gate drops the
/// bytes.
#[tokio::test]
async fn bytes_behind_an_answer_are_dropped_over_http2() {
    let (mut upstream, gate) =
        ScriptedUpstream::behind(Setup { tls: true, ..Setup::default() }).await;
    let sender = gate.http2().await;
    for answer in [OK, "HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n"] {
        let script = async {
            let (mut connection, _) = upstream.accept_request().await;
            connection
                .write(format!("{answer}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"))
                .await;
            connection.closed().await;
        };
        let client =
            async { http2_client::body(http2_client::ask(&sender, "GET", BLOB).await).await };
        let ((), body) = soon(async { tokio::join!(script, client) }).await;
        assert_eq!(body.unwrap(), if answer == OK { &b"ok"[..] } else { b"" });
    }
}

/// A client that asks for another protocol gets no tunnel, even if the registry would switch (class
/// 6).
#[tokio::test]
async fn a_requested_switch_of_protocols_is_502_and_opens_no_tunnel() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let script = async {
        let (mut connection, head) = upstream.accept_request().await;
        assert_eq!((head.header("upgrade"), head.header("connection")), (None, None));
        connection
            .write(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                 Upgrade: tunnel\r\n\r\n",
            )
            .await;
        connection.closed().await
    };
    let upgrade = "Connection: upgrade\r\nUpgrade: tunnel\r\n";
    let message =
        request("GET", BLOB, Some(READ_WRITE), upgrade, "").replace("Connection: close\r\n", "");
    let (through, reply) =
        soon(async { tokio::join!(script, gate.raw(message + "tunnel\r\n\r\n")) }).await;
    assert!(reply.starts_with("HTTP/1.1 502 "), "{reply}");
    assert!(through.is_empty(), "{:?}", String::from_utf8_lossy(&through));
}

/// The client reads the 502 for an invalid answer to an upload whose body is still being sent.
#[tokio::test]
async fn an_invalid_answer_in_the_middle_of_an_upload_is_502() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    let mut client = gate.connect().await;
    let head = open_request("PATCH", UPLOAD, "Content-Length: 1000000\r\n", "");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&[b'x'; 1000]).await.unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    connection.write("nonsense\r\n\r\n").await;
    let reply = Reply::parse(&{
        let _ = client.write_all(&[b'x'; 1000]).await;
        client.shutdown().await.unwrap();
        read_to_close(&mut client).await
    });
    assert_eq!(reply.status, 502);
    connection.closed().await;
}
