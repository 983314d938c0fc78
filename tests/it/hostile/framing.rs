//! Classes 4, 6 and 8 over HTTP/1.1, byte by byte: messages that two programs could read
//! differently.
//!
//! An allowed request stands behind each message. The registry must never receive it, for any
//! outcome of the first message.

use super::{authorization, head, hidden, is_refused, status, talk};
use crate::harness::{READ_WRITE, TestGate, request};

const START: &str = "POST /v2/demo/a/blobs/uploads/ HTTP/1.1";
const HOST: &str = "Host: registry.test";

/// Sends a message with the hidden request behind it. Asserts that the gate refuses it and that the
/// ledger stays empty.
async fn refused(gate: &TestGate, message: impl Into<Vec<u8>>, case: &str) {
    let mut bytes = message.into();
    bytes.extend_from_slice(hidden().as_bytes());
    let (answer, _) = talk(gate, bytes).await;
    assert!(is_refused(&answer), "{case}: {answer}");
    assert_eq!(gate.forwarded(), 0, "{case}");
}

#[tokio::test]
async fn invalid_lengths_and_transfer_codings_are_refused() {
    let gate = TestGate::plain().await;
    for lines in [
        &["Transfer-Encoding: gzip, chunked"][..],
        &["Transfer-Encoding: chunked, gzip"],
        &["Transfer-Encoding: chunked, chunked"],
        &["Transfer-Encoding: identity"],
        &["Transfer-Encoding: identity, chunked"],
        &["Transfer-Encoding: xchunked"],
        &["Transfer-Encoding: chunked;q=1"],
        &["Transfer-Encoding: \"chunked\""],
        &["Transfer-Encoding: chunked,"],
        &["Transfer-Encoding: ,chunked"],
        &["Transfer-Encoding: \u{b}chunked"],
        &["Transfer-Encoding:"],
        &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        &["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        &["Transfer-Encoding: identity", "Transfer-Encoding: chunked"],
        &["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"],
        &["Content-Length: +5"],
        &["Content-Length: -5"],
        &["Content-Length: 0x5"],
        &["Content-Length: 5,5"],
        &["Content-Length: 5, 5"],
        &["Content-Length: 5 5"],
        &["Content-Length: 5;"],
        &["Content-Length: 5.0"],
        &["Content-Length:"],
        &["Content-Length: \u{ff15}"],
        &["Content-Length: 18446744073709551615"],
        &["Content-Length: 18446744073709551621"],
        &["Content-Length: 99999999999999999999999999"],
        &["Content-Length: 5", "Content-Length: 6"],
        &["Content-Length: 5", "Content-Length: 0"],
        &["Content-Length: 5", "Transfer-Encoding: gzip"],
    ] {
        let authorization = authorization();
        let message = [&[START, HOST, &*authorization], lines].concat();
        refused(&gate, head(&message) + "5\r\nhello\r\n0\r\n\r\n", &lines.join(" | ")).await;
    }
}

#[tokio::test]
async fn ambiguous_or_malformed_heads_are_refused() {
    let gate = TestGate::plain().await;
    let authorization = authorization();
    for line in [
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Content-Length : 5",
        " Transfer-Encoding: chunked",
        "X: a\r\n folded",
        "X: a\r\n\tfolded",
        "X: a\rY: b",
        "X: a\r\r\nY: b",
        "X: a\0b",
        "X\0: a",
        "X: a\u{1}b",
        "X: a\u{7f}b",
        ": empty name",
        "no colon",
        "",
        "X(Y): a",
        "X\u{e9}: a",
        "Host: registry.test",
        "Host: other.example",
        "Authorization: Basic Og==",
        &authorization,
        "authorization: Bearer x",
    ]
    .into_iter()
    .filter(|line| !line.is_empty())
    {
        refused(&gate, head(&[START, HOST, &authorization, line]), line).await;
    }
}

#[tokio::test]
async fn invalid_hosts_and_targets_are_refused() {
    let gate = TestGate::plain().await;
    let authorization = authorization();
    let path = "/v2/demo/a/manifests/v1";
    for (start, host) in [
        (format!("GET {path} HTTP/1.1"), None),
        (format!("GET {path} HTTP/1.1"), Some("")),
        (format!("GET {path} HTTP/1.1"), Some("a b")),
        (format!("GET {path} HTTP/1.1"), Some("a, b")),
        (format!("GET {path} HTTP/1.1"), Some("user@registry.test")),
        (format!("GET {path} HTTP/1.1"), Some("registry.test/path")),
        (format!("GET {path} HTTP/1.1"), Some("http://registry.test")),
        (format!("GET {path} HTTP/1.1"), Some("registry.test?x")),
        (format!("GET {path} HTTP/1.1"), Some("registry.test#x")),
        (format!("GET {path} HTTP/1.1"), Some("registry\\test")),
        (format!("GET {path} HTTP/1.1"), Some(":80")),
        (format!("GET {path} HTTP/1.1"), Some("[::1")),
        (format!("GET {path} HTTP/1.1"), Some("[zz]")),
        (format!("GET {path} HTTP/1.1"), Some("[::1%25eth0]")),
        (format!("GET {path} HTTP/1.1"), Some("[::1]5000")),
        (format!("GET {path} HTTP/1.1"), Some("localhost:x")),
        (format!("GET {path} HTTP/1.1"), Some("localhost:")),
        (format!("GET {path} HTTP/1.1"), Some("localhost:65536")),
        (format!("GET {path} HTTP/1.1"), Some("localhost:000443")),
        (format!("GET {path} HTTP/1.0"), Some("localhost:x")),
        (format!("GET {path} HTTP/1.1"), Some("...")),
        (format!("GET {path} HTTP/1.1"), Some("a%41")),
        (format!("GET http://registry.test:x{path} HTTP/1.1"), Some("registry.test:x")),
        (format!("GET http://registry.test:{path} HTTP/1.1"), Some("registry.test:")),
        (format!("GET http://[::1%25a]{path} HTTP/1.1"), Some("[::1%25a]")),
        (format!("GET ftp://registry.test{path} HTTP/1.1"), Some("registry.test")),
        (format!("GET http://other.example{path} HTTP/1.1"), Some("registry.test")),
        (format!("GET http://user@registry.test{path} HTTP/1.1"), Some("registry.test")),
        (format!("GET http://registry.test:81{path} HTTP/1.1"), Some("registry.test")),
        (format!("GET http://registry.test@other.example{path} HTTP/1.1"), Some("registry.test")),
        (format!("GET http:{path} HTTP/1.1"), Some("registry.test")),
        (format!("GET registry.test{path} HTTP/1.1"), Some("registry.test")),
        ("GET v2/demo/a/manifests/v1 HTTP/1.1".to_owned(), Some("registry.test")),
        (format!("GET {path}"), Some("registry.test")),
        (format!("GET {path} HTTP/1.2"), Some("registry.test")),
        (format!("GET {path} HTTP/2.0"), Some("registry.test")),
        (format!("GET  {path} HTTP/1.1"), Some("registry.test")),
        (format!("GET {path}  HTTP/1.1"), Some("registry.test")),
        (format!("GET\t{path} HTTP/1.1"), Some("registry.test")),
        (format!(" GET {path} HTTP/1.1"), Some("registry.test")),
        (format!("G\0T {path} HTTP/1.1"), Some("registry.test")),
        ("PRI * HTTP/2.0\r\n\r\nSM".to_owned(), None),
    ] {
        let host = host.map(|host| format!("Host: {host}"));
        let lines: Vec<&str> =
            [Some(&*start), host.as_deref(), Some(&*authorization)].into_iter().flatten().collect();
        refused(&gate, head(&lines), &format!("{start} {host:?}")).await;
    }
}

/// Class 6: the gate opens no tunnel and changes to no other protocol.
#[tokio::test]
async fn the_gate_opens_no_tunnel_and_switches_no_protocol() {
    let gate = TestGate::plain().await;
    let authorization = authorization();
    for start in [
        "CONNECT registry.test:443 HTTP/1.1",
        "CONNECT 127.0.0.1:22 HTTP/1.1",
        "CONNECT /v2/demo/a/manifests/v1 HTTP/1.1",
    ] {
        let (answer, _) =
            talk(&gate, head(&[start, HOST, "Connection: close", &authorization]).into_bytes())
                .await;
        assert!(is_refused(&answer), "{start}: {answer}");
        assert_eq!(gate.forwarded(), 0, "{start}");
    }
    for lines in [
        &["Connection: close, Upgrade", "Upgrade: websocket"][..],
        &[
            "Connection: close, Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
        ],
        &["Connection: close", "Upgrade: TLS/1.0"],
    ] {
        let before = gate.forwarded();
        let start = ["GET /v2/demo/a/manifests/v1 HTTP/1.1", HOST, &authorization];
        let (answer, _) = talk(&gate, (head(&[&start[..], lines].concat())).into_bytes()).await;
        assert_eq!(status(&answer), Some(404), "{lines:?}: {answer}");
        assert!(!answer.to_lowercase().contains("upgrade"), "{answer}");
        let entries = gate.ledger.entries();
        assert_eq!(entries.len(), before + 1, "{lines:?}");
        let headers = &entries[before].headers;
        assert!(
            !["upgrade", "connection", "http2-settings"]
                .iter()
                .any(|name| headers.contains_key(*name))
        );
    }
}

/// hyper resolves a length beside `chunked` as RFC 9112 allows. The gate forwards the request
/// alone, with new framing, or not at all.
#[tokio::test]
async fn a_request_with_length_and_chunked_is_forwarded_alone_or_refused() {
    let gate = TestGate::plain().await;
    for lines in [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Transfer-Encoding: chunked", "Content-Length: nonsense"],
        ["Transfer-Encoding: chunked", "Content-Length: 0"],
        ["Transfer-Encoding: CHUNKED", "Content-Length: 100"],
    ] {
        let before = gate.forwarded();
        let message =
            head(&[START, HOST, &authorization(), lines[0], lines[1]]) + "0\r\n\r\n" + &hidden();
        let (answer, _) = talk(&gate, message.into_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{lines:?}: {answer}");
        let entries = gate.ledger.entries();
        assert!(entries.len() <= before + 1, "{lines:?}");
        for entry in &entries[before..] {
            assert_eq!(entry.target, "/v2/demo/a/blobs/uploads/");
            let framing = ["content-length", "transfer-encoding"]
                .map(|name| entry.headers.get_all(name).iter().count());
            assert!(framing[0] + framing[1] <= 1, "{lines:?}: {:?}", entry.headers);
        }
    }
}

/// hyper silently repairs these messages, but a proxy in front of the gate may have read them
/// differently. The gate refuses them and does not read the bytes behind them on the connection.
#[tokio::test]
async fn messages_that_hyper_would_repair_are_refused() {
    let gate = TestGate::plain().await;
    let path = "/v2/demo/a/manifests/v1";
    let put = |headers: &str| {
        request("PUT", path, Some(READ_WRITE), headers, "hello")
            .replace("Connection: close\r\n", "")
    };
    let get = request("GET", path, Some(READ_WRITE), "", "").replace("Connection: close\r\n", "");
    for message in [
        put("Content-Length: 5\r\n"),
        put("X: a\n"),
        put("").replace("\r\n", "\n"),
        get.replacen("\r\n", "\n", 1),
        get.replace("\r\n\r\n", "\r\n\n"),
    ] {
        let answer = gate.raw(format!("{message}{get}{get}")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    assert_eq!(gate.forwarded(), 0);
    // Well-formed requests in a pipeline are served, with and without bodies.
    let last = request("GET", path, Some(READ_WRITE), "", "");
    let answer = gate.raw(format!("{get}{}{get}{last}", put(""))).await;
    assert_eq!((answer.matches("HTTP/1.1 ").count(), gate.forwarded()), (4, 4), "{answer}");
}

/// The gate also refuses messages that hyper would repair if they follow a body in the same write.
#[tokio::test]
async fn messages_that_hyper_would_repair_are_refused_behind_a_body() {
    let gate = TestGate::plain().await;
    let path = "/v2/demo/a/manifests/v1";
    let kept = |text: String| text.replace("Connection: close\r\n", "");
    let get = kept(request("GET", path, Some(READ_WRITE), "", ""));
    let bodies = [
        kept(request("PUT", path, Some(READ_WRITE), "", "hello")),
        head(&[START, HOST, &authorization(), "Content-Length:   005  "]) + "hello",
        head(&[START, HOST, &authorization(), "Transfer-Encoding: chunked"])
            + "5\r\nhello\r\n0\r\n\r\n",
        head(&[START, HOST, &authorization(), "TRANSFER-ENCODING:chunked "])
            + "02;x=\"y\"\r\nhe\r\n3 \r\nllo\r\n000\r\n\r\n",
    ];
    for body in &bodies {
        for odd in [
            get.replace("\r\n", "\n"),
            get.replacen("\r\n", "\n", 1),
            get.replace("\r\n\r\n", "\r\n\n"),
        ] {
            let before = gate.forwarded();
            let answer = gate.raw(format!("{body}{odd}{get}{get}")).await;
            assert!(answer.contains("HTTP/1.1 400 "), "{body}{odd}: {answer}");
            assert!(answer.matches("HTTP/1.1 ").count() <= 2, "{body}{odd}: {answer}");
            assert!(gate.forwarded() <= before + 1, "{body}{odd}");
        }
        // Well-formed requests behind the body are served.
        let before = gate.forwarded();
        let answer = gate
            .raw(format!("{body}{get}{body}{}", request("GET", path, Some(READ_WRITE), "", "")))
            .await;
        assert_eq!(
            (answer.matches("HTTP/1.1 ").count(), gate.forwarded() - before),
            (4, 4),
            "{body}: {answer}"
        );
    }
}
