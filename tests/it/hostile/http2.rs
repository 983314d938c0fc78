//! Classes 1, 4 and 7: messages that HTTP/2 permits and HTTP/1.1 does not, or that HTTP/2 expresses
//! differently.

use moorgate::demo::registry::BodyEnd;

use super::frames::{Fate, RawHttp2, credential, fields};
use super::{assert_refusal, http2, http2_request};
use crate::harness::{READ_WRITE, TestGate};

const PATH: &str = "/v2/demo/a/manifests/v1";

#[tokio::test]
async fn a_host_that_differs_from_the_authority_is_refused() {
    let gate = TestGate::tls().await;
    let sender = gate.http2().await;
    for (host, status) in [
        ("registry.test", 404),
        ("REGISTRY.test", 404),
        ("other.example", 400),
        ("registry.test:81", 400),
        ("user@registry.test", 400),
        ("", 400),
    ] {
        let before = gate.forwarded();
        let mut request = http2_request("GET", PATH, Some(READ_WRITE));
        request.headers_mut().insert("host", host.parse().unwrap());
        let reply = http2(&sender, request, None::<&str>).await.unwrap();
        assert_eq!(reply.status, status, "{host}: {reply:?}");
        assert_eq!(gate.forwarded() - before, usize::from(status == 404), "{host}");
    }
    let mut request = http2_request("GET", PATH, Some(READ_WRITE));
    request.headers_mut().append("host", "registry.test".parse().unwrap());
    request.headers_mut().append("host", "registry.test".parse().unwrap());
    let before = gate.forwarded();
    assert_refusal(
        &http2(&sender, request, None::<&str>).await.unwrap(),
        400,
        "UNSUPPORTED",
        "two hosts",
    );
    let mut request = http2_request("GET", PATH, Some(READ_WRITE));
    request.headers_mut().append("authorization", "Bearer x".parse().unwrap());
    assert_refusal(
        &http2(&sender, request, None::<&str>).await.unwrap(),
        400,
        "UNSUPPORTED",
        "two authorizations",
    );
    assert_eq!(gate.forwarded(), before);
}

#[tokio::test]
async fn malformed_header_blocks_are_refused() {
    let gate = TestGate::tls().await;
    let credential = credential();
    let plain = fields("GET", PATH, &credential);
    let without =
        |name: &str| plain.iter().copied().filter(|(key, _)| *key != name).collect::<Vec<_>>();
    let with = |name: &'static str, value: &'static str| [&*plain, &[(name, value)]].concat();
    let first = |name: &'static str, value: &'static str| [&[(name, value)], &*plain].concat();
    let instead =
        |name: &'static str, value: &'static str| [&[(name, value)], &*without(name)].concat();

    // The unmodified request must succeed, or the refusals below would prove nothing.
    let mut connection = RawHttp2::connect(&gate).await;
    connection.headers(&plain, true).await;
    assert_eq!(connection.fate().await, Fate::Status(404));
    assert_eq!(gate.forwarded(), 1);

    for spoiled in [
        with("connection", "close"),
        with("connection", "x-forwarded-for"),
        with("transfer-encoding", "chunked"),
        with("upgrade", "h2c"),
        with("keep-alive", "5"),
        with("proxy-connection", "keep-alive"),
        with("te", "gzip"),
        with("X-Upper", "x"),
        with("x y", "x"),
        with("", "x"),
        with("x", "a\r\nx-forwarded-for: 1.2.3.4"),
        with("x", "a\nb"),
        with("x", "a\rb"),
        with("x", "a\0b"),
        with("x\r\ny", "z"),
        with(":path", "/v2/demo/b/manifests/v1"),
        with(":unknown", "x"),
        first(":path", "/v2/demo/b/manifests/v1"),
        first(":method", "DELETE"),
        first(":authority", "other.example"),
        first(":scheme", "http"),
        first(":status", "200"),
        first(":protocol", "websocket"),
        first("x-first", "x"),
        instead(":path", ""),
        instead(":path", "v2/demo/a/manifests/v1"),
        instead(":path", "*"),
        instead(":path", "https://registry.test/v2/demo/a/manifests/v1"),
        instead(":path", "/v2/demo/a/manifests/v1 HTTP/1.1\r\nX: y"),
        instead(":path", "/v2/demo/a\0/manifests/v1"),
        instead(":path", "/v2/demo/a b/manifests/v1"),
        instead(":method", ""),
        instead(":method", "GET /v2/demo/b/manifests/v1 HTTP/1.1"),
        instead(":method", "G\0T"),
        instead(":authority", "user@registry.test"),
        instead(":authority", "registry.test/x"),
        instead(":authority", ""),
        instead(":authority", "registry.test:x"),
        instead(":authority", "registry.test:"),
        instead(":authority", "registry.test:65536"),
        instead(":authority", "[zz]"),
        instead(":authority", "[::1%25a]"),
        instead(":authority", "..."),
        instead(":scheme", ""),
        instead(":scheme", "ftp"),
        instead(":scheme", "httpss"),
        instead(":scheme", "https:"),
        instead(":scheme", "a b"),
        with("x", " a"),
        with("x", "a "),
        with("x", "\ta"),
        with("x", "a\t"),
        with("range", " bytes=0-1"),
        with("accept", "*/* "),
        with("host", "registry.test "),
        without(":path"),
        without(":method"),
        without(":authority"),
        without(":scheme"),
        vec![(":method", "CONNECT"), (":authority", "registry.test:22")],
    ] {
        let mut connection = RawHttp2::connect(&gate).await;
        connection.headers(&spoiled, true).await;
        let fate = connection.fate().await;
        assert!(fate.is_refused(), "{spoiled:?}: {fate:?}");
        assert_eq!(gate.forwarded(), 1, "{spoiled:?}");
    }

    // `:authority` may be left out if there is a Host (RFC 9113, 8.3.1).
    let mut connection = RawHttp2::connect(&gate).await;
    connection
        .headers(&[without(":authority"), vec![("host", "registry.test")]].concat(), true)
        .await;
    assert_eq!(connection.fate().await, Fate::Status(404));
    assert_eq!(gate.forwarded(), 2);
}

/// The gate refuses lengths that two programs could read differently: h2 reads only the first of
/// several.
#[tokio::test]
async fn invalid_and_repeated_content_lengths_are_refused() {
    let gate = TestGate::tls().await;
    let credential = credential();
    for lengths in [
        &["+5"][..],
        &["-5"],
        &["0x5"],
        &["5,5"],
        &["5, 5"],
        &["5 5"],
        &[" 5"],
        &["5;"],
        &["5.0"],
        &[""],
        &["18446744073709551615"],
        &["18446744073709551621"],
        &["99999999999999999999999999"],
        &["5", "5"],
        &["5", "6"],
        &["6", "5"],
        &["5", "0"],
        &["5", "nonsense"],
    ] {
        let mut fields = fields("POST", "/v2/demo/a/blobs/uploads/", &credential);
        fields.extend(lengths.iter().map(|length| ("content-length", *length)));
        let mut connection = RawHttp2::connect(&gate).await;
        connection.headers(&fields, false).await;
        connection.data(b"hello", true).await;
        let fate = connection.fate().await;
        assert!(fate.is_refused(), "{lengths:?}: {fate:?}");
        let entries = gate.ledger.entries();
        assert!(
            entries.iter().all(|entry| entry.body().end == BodyEnd::Broken),
            "{lengths:?}: {entries:?}"
        );
    }
}

/// RFC 9113 does not allow a fragment in a target. The gate must not forward one.
#[tokio::test]
async fn a_fragment_is_never_forwarded() {
    let gate = TestGate::tls().await;
    let credential = credential();
    for path in [
        "/v2/demo/a/manifests/v1#/../other",
        "/v2/demo/a/manifests/v1#",
        "/v2/demo/a/#/manifests/v1",
    ] {
        let mut connection = RawHttp2::connect(&gate).await;
        connection.headers(&fields("GET", path, &credential), true).await;
        let fate = connection.fate().await;
        let targets: Vec<_> =
            gate.ledger.entries().iter().map(|entry| entry.target.clone()).collect();
        assert!(targets.iter().all(|target| target == PATH), "{path}: {fate:?}, {targets:?}");
    }
}

/// HTTP/2 permits field names that HTTP/1.1 cannot express. They must not reach the registry, which
/// speaks HTTP/1.1.
#[tokio::test]
async fn field_names_that_http1_cannot_express_are_not_forwarded() {
    let gate = TestGate::tls().await;
    let credential = credential();
    for name in [
        "x\"test",
        "x(test)",
        "x/test",
        "x:test",
        "x,test",
        "x=test",
        "x{test}",
        "x\u{7f}test",
        "x\u{e9}test",
    ] {
        let before = gate.forwarded();
        let mut connection = RawHttp2::connect(&gate).await;
        connection
            .headers(
                &[fields("GET", PATH, &credential), vec![(name, "x"), ("range", "bytes=0-1")]]
                    .concat(),
                true,
            )
            .await;
        let fate = connection.fate().await;
        let entries = gate.ledger.entries();
        match &entries[before..] {
            [] => assert!(fate.is_refused(), "{name}: {fate:?}"),
            [entry] => {
                assert_eq!(fate, Fate::Status(404), "{name}");
                assert!(
                    entry.headers.keys().all(|name| !name.as_str().contains("test")),
                    "{name}: {:?}",
                    entry.headers
                );
                assert_eq!(entry.headers["range"], "bytes=0-1");
            }
            more => panic!("{more:?}"),
        }
    }
}
