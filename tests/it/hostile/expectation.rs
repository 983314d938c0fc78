//! Class 29: unknown expectations, TLS early data, and many ranges.

use std::sync::Arc;

use rustls::client::Resumption;
use tokio::io::AsyncWriteExt;

use super::{assert_refusal, authorization, head, http2, http2_request, talk};
use crate::harness::{READ_WRITE, Reply, TestGate, read_to_close, trusting};

#[tokio::test]
async fn expectations_other_than_100_continue_are_refused() {
    let gate = TestGate::plain().await;
    let tls = TestGate::tls().await;
    let sender = tls.http2().await;
    for expectations in [
        &["200-ok"][..],
        &["100-continue, 200-ok"],
        &["100-continue;x=1"],
        &["\"100-continue\""],
        &["100-continued"],
        &["100"],
        &[""],
        &["100-continue", "100-continue"],
        &["100-continue", "x"],
        &["x", "100-continue"],
    ] {
        let case = expectations.join(" | ");
        let lines: Vec<String> =
            expectations.iter().map(|value| format!("Expect: {value}")).collect();
        let authorization = authorization();
        for start in
            ["POST /v2/demo/a/blobs/uploads/ HTTP/1.1", "GET /v2/demo/a/tags/list HTTP/1.1"]
        {
            let length =
                if start.starts_with('P') { "Content-Length: 5" } else { "Content-Length: 0" };
            let mut message =
                vec![start, "Host: registry.test", "Connection: close", length, &authorization];
            message.extend(lines.iter().map(String::as_str));
            let body = if start.starts_with('P') { "hello" } else { "" };
            let (answer, _) = talk(&gate, (head(&message) + body).into_bytes()).await;
            assert!(!answer.contains("100 Continue"), "{case}: {answer}");
            assert_refusal(&Reply::parse(&answer), 417, "UNSUPPORTED", &case);
        }
        let mut request = http2_request("POST", "/v2/demo/a/blobs/uploads/", Some(READ_WRITE));
        for value in expectations {
            request.headers_mut().append("expect", value.parse().unwrap());
        }
        assert_refusal(
            &http2(&sender, request, Some("hello")).await.unwrap(),
            417,
            "UNSUPPORTED",
            &case,
        );
    }
    assert_eq!((gate.forwarded(), tls.forwarded()), (0, 0));
}

/// The gate does not accept TLS early data, because an attacker who recorded it could replay it.
#[tokio::test]
async fn there_is_no_early_data() {
    let gate = TestGate::tls().await;
    let mut config = trusting(&gate.certificate);
    config.enable_early_data = true;
    config.resumption = Resumption::in_memory_sessions(8);
    let config = Arc::new(config);
    let connector = tokio_rustls::TlsConnector::from(config.clone());
    for resumed in [false, true] {
        let socket = gate.connect().await;
        let mut stream = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
        let message = head(&[
            "GET /v2/ HTTP/1.1",
            "Host: registry.test",
            "Connection: close",
            &authorization(),
        ]);
        stream.write_all(message.as_bytes()).await.unwrap();
        assert_eq!(Reply::parse(&read_to_close(&mut stream).await).status, 200);
        let session = stream.get_ref().1;
        // The second session is resumed. A third could be resumed too, with early data if the gate
        // allowed it.
        assert_eq!(session.handshake_kind() == Some(rustls::HandshakeKind::Resumed), resumed);
    }
    let mut third = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    assert!(third.early_data().is_none());
}

/// The gate forwards any number of ranges unchanged, because only the registry judges them.
#[tokio::test]
async fn many_ranges_pass_as_they_are() {
    let gate = TestGate::plain().await;
    let ranges = format!("bytes={}", vec!["0-0"; 1000].join(","));
    let target = format!("/v2/demo/a/blobs/{}", crate::harness::some_digest());
    gate.send("GET", &target, Some(READ_WRITE), &format!("Range: {ranges}\r\n"), "").await;
    assert_eq!(gate.ledger.entries()[0].headers["range"], *ranges);
}
