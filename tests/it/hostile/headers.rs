//! Classes 2 and 10: the headers that a client may send to the registry, and the headers that only
//! the gate sets.

use std::collections::BTreeSet;

use super::{http2, http2_request};
use crate::harness::{READ_WRITE, Setup, TestGate};

/// The headers that a client may send. The two lines of `Accept` stay two lines.
const ALLOWED: [(&str, &str); 12] = [
    ("Accept", "application/vnd.oci.image.manifest.v1+json"),
    ("Accept", "application/vnd.oci.image.index.v1+json;q=0.5, */*"),
    ("Accept-Encoding", "identity"),
    ("Cache-Control", "no-cache"),
    ("Content-Encoding", "zstd"),
    ("Content-Range", "0-4"),
    ("If-Match", "\"b\""),
    ("If-None-Match", "\"a\""),
    ("If-Range", "\"c\""),
    ("Range", "bytes=0-1,3-4,-5"),
    ("User-Agent", "kube-probe/1.30"),
    ("Docker-Upload-UUID", "id"),
];

/// Headers that would speak for the gate, suggest another path, or concern the connection.
const STRIPPED: [(&str, &str); 44] = [
    ("X-Forwarded-For", "10.0.0.1"),
    ("x-forwarded-for", "10.0.0.2"),
    ("X-FORWARDED-PROTO", "gopher"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Port", "1"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Forwarded-Server", "evil.example"),
    ("X-Forwarded-Uri", "/v2/secret/a/manifests/v1"),
    ("X-Forwarded-Method", "DELETE"),
    ("X-Forwarded-User", "root"),
    ("X-Forwarded-Provider", "evil"),
    ("X-Forwarded-Email", "root@evil.example"),
    ("X-Forwarded-Groups", "admins"),
    ("X-Forwarded-Access-Token", "x"),
    ("X_Forwarded_For", "10.0.0.3"),
    ("X-Forwarded_For", "10.0.0.3"),
    ("X-Forwarded", "for=10.0.0.4"),
    ("Forwarded", "for=10.0.0.5;host=evil.example;proto=http"),
    ("Forwarded-For", "10.0.0.6"),
    ("Via", "1.1 evil"),
    ("X-Real-IP", "10.0.0.7"),
    ("X-Client-IP", "10.0.0.8"),
    ("True-Client-IP", "10.0.0.9"),
    ("X-Original-URL", "/v2/secret/a/manifests/v1"),
    ("X-Rewrite-URL", "/v2/secret/a/manifests/v1"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-HTTP-Method", "DELETE"),
    ("X-Method-Override", "DELETE"),
    ("X-Remote-User", "root"),
    ("Remote-User", "root"),
    ("X_Remote_User", "root"),
    ("X-Auth-Request-User", "root"),
    ("X-Webauth-User", "root"),
    ("X-Amzn-Oidc-Identity", "root"),
    ("Proxy-Authorization", "Basic cm9vdDpyb290"),
    ("Proxy-Foo", "x"),
    ("Cookie", "session=root"),
    ("Referer", "https://evil.example/"),
    ("Origin", "https://evil.example"),
    ("X-Registry-Auth", "x"),
    ("Private-Token", "glpat-x"),
    ("Job-Token", "glcbt-x"),
    ("Content-Length2", "5"),
    ("Transfer_Encoding", "chunked"),
];

/// Headers of HTTP/1.1 that concern the connection, and the headers that they name.
const CONNECTION: [(&str, &str); 9] = [
    ("Connection", "keep-alive, X-Named, X-Forwarded-For, x-forwarded-host"),
    ("Connection", "Authorization, X-Request-Id, Host, If-Modified-Since"),
    ("X-Named", "x"),
    ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("Keep-Alive", "timeout=5"),
    ("TE", "trailers"),
    ("Trailer", "X-Forwarded-For"),
    ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
    ("Proxy-Connection", "keep-alive"),
];

/// Headers of [`CONNECTION`] that HTTP/2, which has no `Connection`, treats as plain headers.
const CONNECTION_OVER_HTTP2: [(&str, &str); 4] = [
    ("TE", "trailers"),
    ("Trailer", "X-Forwarded-For"),
    ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
    ("X-Named", "x"),
];

/// Asserts that exactly the allowed headers and the headers of the gate itself reached the
/// registry.
fn assert_clean(gate: &TestGate, proto: &str) {
    let entry = gate.ledger.entries().pop().unwrap();
    assert_eq!((entry.method.as_str(), &*entry.target), ("GET", "/v2/demo/a/manifests/v1"));
    let own = ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"];
    let allowed = ALLOWED.iter().map(|(name, _)| name.to_lowercase());
    let expected: BTreeSet<String> = allowed.chain(own.map(str::to_owned)).collect();
    let found: BTreeSet<String> =
        entry.headers.keys().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(found, expected);
    let values = |name: &str| {
        entry.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>()
    };
    for (name, _) in ALLOWED {
        let sent: Vec<_> =
            ALLOWED.iter().filter(|(key, _)| *key == name).map(|(_, value)| *value).collect();
        assert_eq!(values(name), sent, "{name}");
    }
    assert_eq!(values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values("x-forwarded-proto"), [proto]);
    assert_eq!(values("x-forwarded-host"), ["registry.test"]);
    assert_eq!(values("x-request-id").len(), 1);
    let host = values("host");
    assert!(matches!(*host, [host] if host.starts_with("127.0.0.1:")), "{host:?}");
}

#[tokio::test]
async fn only_allowed_request_headers_are_forwarded() {
    let gate = TestGate::plain().await;
    let all = ALLOWED.iter().chain(&STRIPPED).chain(&CONNECTION);
    let lines: String = all.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let target = "/v2/demo/a/manifests/v1?health=1&X-Forwarded-Uri=/healthz";
    assert_eq!(gate.send("GET", target, Some(READ_WRITE), &lines, "").await.status, 404);
    assert_clean(&gate, "http");
    assert_eq!(gate.gitlab.ledger().entries()[0].forwarded_for, ["127.0.0.1"]);
    assert_eq!(gate.log(1).await[0]["client_ip"], "127.0.0.1");
}

#[tokio::test]
async fn only_allowed_request_headers_are_forwarded_over_http2() {
    let gate = TestGate::tls().await;
    let mut request = http2_request("GET", "/v2/demo/a/manifests/v1?health=1", Some(READ_WRITE));
    for (name, value) in ALLOWED.iter().chain(&STRIPPED).chain(&CONNECTION_OVER_HTTP2) {
        // HTTP/2 treats all `Proxy-…` headers but `Proxy-Connection` as plain headers.
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    assert_eq!(http2(&gate.http2().await, request, None::<&str>).await.unwrap().status, 404);
    assert_clean(&gate, "https");
}

/// The gate does not forward a header that `Connection` names, even if it would forward it
/// otherwise (RFC 9110, 7.6.1).
#[tokio::test]
async fn headers_that_connection_names_are_not_forwarded() {
    let gate = TestGate::plain().await;
    let lines = "Connection: close, Range , cache-control\r\nConnection: user-agent\r\n\
                 Range: bytes=0-1\r\n\
                 Cache-Control: no-cache\r\nUser-Agent: x\r\nAccept: a/b\r\n";
    gate.send("GET", "/v2/demo/a/manifests/v1", Some(READ_WRITE), lines, "").await;
    let entry = gate.ledger.entries().pop().unwrap();
    assert!(
        ["range", "cache-control", "user-agent"]
            .iter()
            .all(|name| !entry.headers.contains_key(*name))
    );
    assert_eq!(entry.headers["accept"], "a/b");
}

/// A request that looks like a health check or names another path in a header still needs a
/// credential.
#[tokio::test]
async fn a_request_that_looks_like_a_health_check_needs_a_credential() {
    let gate = TestGate::plain().await;
    let tls = TestGate::tls().await;
    let sender = tls.http2().await;
    let lines: String =
        STRIPPED.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    for agent in ["kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0", "Prometheus/2.0"] {
        let lines = format!("{lines}User-Agent: {agent}\r\n");
        for target in
            ["/v2/", "/v2/demo/a/manifests/v1", "/v2/demo/a/manifests/v1?/healthz", "/v2/?/livez"]
        {
            assert_eq!(
                gate.send("GET", target, None, &lines, "").await.status,
                401,
                "{agent} {target}"
            );
            let mut request = http2_request("GET", target, None);
            for (name, value) in STRIPPED.iter().chain(&[("User-Agent", agent)]) {
                request
                    .headers_mut()
                    .append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
            }
            assert_eq!(
                http2(&sender, request, None::<&str>).await.unwrap().status,
                401,
                "{agent} {target}"
            );
        }
    }
    for gate in [&gate, &tls] {
        assert_eq!((gate.forwarded(), gate.gitlab.ledger().count()), (0, 0));
    }
}

#[tokio::test]
async fn trusted_proxies_tell_the_address() {
    let http = vec!["trusted_proxies: [127.0.0.0/8, 198.51.100.0/24]"];
    let gate = TestGate::start(Setup { http, ..Setup::default() }).await;
    for (number, (lines, address)) in [
        ("X-Forwarded-For: 192.0.2.66, 203.0.113.7, 198.51.100.9\r\n", "203.0.113.7"),
        ("X-Forwarded-For: 192.0.2.66\r\nX-Forwarded-For: 203.0.113.8\r\n", "203.0.113.8"),
        ("X-Forwarded-For: ::ffff:203.0.113.9\r\n", "203.0.113.9"),
        ("X-Forwarded-For: 203.0.113.7, nonsense\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 203.0.113.7,\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 203.0.113.7, 10.0.0.1 evil\r\n", "127.0.0.1"),
        ("Forwarded: for=192.0.2.66, for=\"[2001:db8::1]:4711\";proto=https\r\n", "2001:db8::1"),
        ("X_Forwarded_For: 203.0.113.7\r\nX-Real-IP: 203.0.113.7\r\n", "127.0.0.1"),
        ("", "127.0.0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        gate.send("GET", &format!("/v2/demo/r{number}/tags/list"), Some(READ_WRITE), lines, "")
            .await;
        let entries = gate.ledger.entries();
        let told: Vec<_> = entries[number].headers.get_all("x-forwarded-for").iter().collect();
        assert_eq!(told, [address], "{lines}");
        assert!(!entries[number].headers.contains_key("forwarded"));
        assert_eq!(gate.gitlab.ledger().entries()[number].forwarded_for, [address], "{lines}");
        assert_eq!(gate.log(number + 1).await[number]["client_ip"], address, "{lines}");
    }
}
