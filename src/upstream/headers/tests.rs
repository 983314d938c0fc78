//! Tests of the forwarded headers, in both directions.

use std::time::Duration;

use http::Method;

use super::*;
use crate::identity::Source;
use crate::log_throttle::LogThrottle;
use crate::upstream::connector::Connector;
use crate::upstream::health::UpstreamHealth;
use crate::upstream::location::Origins;
use crate::upstream::{OtherServers, RegistryAuthorization, UploadSeal};

fn settings(authorization: Option<&'static str>) -> UpstreamSettings {
    let second = Duration::from_secs(1);
    UpstreamSettings {
        connector: Connector::new("127.0.0.1".into(), 5000, None, second).unwrap(),
        url: "http://127.0.0.1:5000".into(),
        host: HeaderValue::from_static("127.0.0.1:5000"),
        forwarded_proto: HeaderValue::from_static("https"),
        forwarded_host: HeaderValue::from_static("registry.example.com"),
        authorization: match authorization {
            Some(value) => RegistryAuthorization::Fixed(HeaderValue::from_static(value)),
            None => RegistryAuthorization::OfRequest,
        },
        origins: Origins { names: Vec::new(), own: String::new(), base: String::new() },
        identity_headers: false,
        followed: None,
        uploads: OtherServers::none(),
        seal: UploadSeal::random(),
        log_throttle: LogThrottle::default(),
        response_timeout: second,
        upload_response_timeout: second,
        stall_timeout: second,
        health: UpstreamHealth::default(),
    }
}

fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn text(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    lines.sort();
    lines
}

/// Returns the headers that the registry receives for a request with these lines.
fn sent(
    method: Method,
    path: &str,
    settings: &UpstreamSettings,
    grant: Option<&'static str>,
    lines: &[(&'static str, &str)],
) -> HeaderMap {
    let wanted = RegistryRequest::parse(&method, path, None).unwrap();
    let headers = map(lines);
    let id = "r-1".into();
    let outbound =
        OutboundRequest::to_registry(&wanted, grant.map(HeaderValue::from_static), &headers, &id);
    request(&outbound, settings, "198.51.100.7".parse().unwrap())
}

fn get(lines: &[(&'static str, &str)]) -> HeaderMap {
    sent(Method::GET, "/v2/a/manifests/v1", &settings(None), None, lines)
}

const OF_THE_GATE: [&str; 5] = [
    "host: 127.0.0.1:5000",
    "x-forwarded-for: 198.51.100.7",
    "x-forwarded-host: registry.example.com",
    "x-forwarded-proto: https",
    "x-request-id: r-1",
];

#[test]
fn only_headers_of_the_protocol_are_forwarded_to_the_upstream() {
    let spoken_for_the_gate = get(&[
        ("host", "registry.example.com"),
        ("authorization", "Basic dTpw"),
        ("proxy-authorization", "Basic dTpw"),
        ("cookie", "a=b"),
        ("x-forwarded-for", "203.0.113.1"),
        ("x-forwarded-host", "evil.example.com"),
        ("x_forwarded_for", "203.0.113.1"),
        ("forwarded", "for=203.0.113.1"),
        ("x-real-ip", "203.0.113.1"),
        ("x-request-id", "evil"),
        ("x-original-url", "/v2/b/manifests/v1"),
        ("x-http-method-override", "DELETE"),
        ("x-remote-user", "admin"),
        ("content-length", "3"),
        ("transfer-encoding", "chunked"),
        ("content-type", "text/plain"),
        ("connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("expect", "100-continue"),
    ]);
    assert_eq!(text(&spoken_for_the_gate), OF_THE_GATE);

    let known = get(&[
        ("accept", "a/b"),
        ("accept", "c/d"),
        ("range", "bytes=0-1"),
        ("user-agent", "docker"),
    ]);
    let mut expected: Vec<_> = OF_THE_GATE
        .iter()
        .copied()
        .chain(["accept: a/b", "accept: c/d", "range: bytes=0-1", "user-agent: docker"])
        .collect();
    expected.sort_unstable();
    assert_eq!(text(&known), expected);
}

#[test]
fn headers_named_by_connection_or_outside_ascii_are_not_forwarded() {
    let headers = get(&[
        ("connection", "close, Range"),
        ("connection", "If-Match"),
        ("range", "bytes=0-1"),
        ("if-match", "x"),
        ("user-agent", "d\u{f6}cker"),
        ("accept", "a/b"),
    ]);
    assert_eq!(text(&headers).first().unwrap(), "accept: a/b");
    assert_eq!(headers.len(), OF_THE_GATE.len() + 1);
}

/// Returns the identity headers that the registry receives for a request of this caller, whose
/// client sends such headers too.
fn identity(on: bool, caller: Option<&Principal>) -> Vec<String> {
    let settings = UpstreamSettings { identity_headers: on, ..settings(None) };
    let wanted = RegistryRequest::parse(&Method::GET, "/v2/a/manifests/v1", None).unwrap();
    let headers = map(&[
        ("x-forwarded-user", "root"),
        ("x-forwarded-user", "admin"),
        ("x-forwarded-provider", "evil"),
        ("x_forwarded_user", "root"),
    ]);
    let id = "r-1".into();
    let outbound = OutboundRequest::to_registry(&wanted, None, &headers, &id);
    let outbound = OutboundRequest { caller, ..outbound };
    let sent = request(&outbound, &settings, "198.51.100.7".parse().unwrap());
    let is_of_identity = |line: &String| line.contains("user") || line.contains("provider");
    text(&sent).into_iter().filter(is_of_identity).collect()
}

fn principal(provider: &str, subject: &str, credential_type: Option<&str>) -> Principal {
    let source = Source {
        provider: provider.into(),
        credential_type: credential_type.map(Into::into),
        folds_case: false,
    };
    Principal { source: source.into(), subject: subject.into() }
}

#[test]
fn the_registry_learns_who_the_caller_is_only_if_it_is_configured() {
    let alice = principal("gitlab", "alice", Some("deploy_token"));
    let told = ["x-forwarded-provider: gitlab", "x-forwarded-user: alice"];
    assert_eq!(identity(true, Some(&alice)), told);
    assert!(identity(false, Some(&alice)).is_empty());
    // The client's own headers never reach the registry.
    assert!(identity(true, None).is_empty());
    assert!(identity(false, None).is_empty());
}

/// The job may not act as the user who started it.
#[test]
fn the_user_of_a_ci_job_is_not_told() {
    for credential_type in ["build", "ci"] {
        let job = principal("gitlab", "alice", Some(credential_type));
        assert_eq!(identity(true, Some(&job)), ["x-forwarded-provider: gitlab"]);
    }
}

#[test]
fn all_but_unreserved_characters_of_an_identity_are_escaped() {
    for (subject, escaped) in [
        ("aZ09-._~", "aZ09-._~"),
        ("repo:octo-org/app:ref", "repo%3Aocto-org%2Fapp%3Aref"),
        ("a b,c;\"%", "a%20b%2Cc%3B%22%25"),
        ("a\r\nx-forwarded-user: root", "a%0D%0Ax-forwarded-user%3A%20root"),
        ("é\u{7f}\0", "%C3%A9%7F%00"),
    ] {
        let caller = principal("a:b", subject, None);
        let told =
            ["x-forwarded-provider: a%3Ab".to_owned(), format!("x-forwarded-user: {escaped}")];
        assert_eq!(identity(true, Some(&caller)), told, "{subject:?}");
    }
}

/// Checks that the client decides the type of a manifest, that an upload is bytes, and that no
/// other request has a type.
#[test]
fn the_content_type_depends_on_the_operation() {
    let typed = |method, path: &str| {
        let headers = sent(
            method,
            path,
            &settings(None),
            None,
            &[("content-type", "application/x-www-form-urlencoded")],
        );
        headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(
        typed(Method::PUT, "/v2/a/manifests/v1").as_deref(),
        Some("application/x-www-form-urlencoded")
    );
    for (method, path) in
        [(Method::POST, "uploads/"), (Method::PATCH, "uploads/id"), (Method::PUT, "uploads/id")]
    {
        let media_type = typed(method.clone(), &format!("/v2/a/blobs/{path}"));
        assert_eq!(media_type.as_deref(), Some("application/octet-stream"), "{method} {path}");
    }
    assert_eq!(typed(Method::GET, "/v2/a/manifests/v1"), None);
    assert_eq!(typed(Method::DELETE, "/v2/a/blobs/uploads/id"), None);
}

/// Checks that the registry receives the gate's own credential or the token that was issued for
/// this request, and never the client's credential.
#[test]
fn the_upstream_never_gets_the_clients_authorization() {
    let client = [("authorization", "Basic Y2xpZW50")];
    let read = |settings: &UpstreamSettings, grant| {
        let headers = sent(Method::GET, "/v2/a/manifests/v1", settings, grant, &client);
        let lines: Vec<_> = headers.get_all(header::AUTHORIZATION).iter().cloned().collect();
        lines
    };
    assert!(read(&settings(None), None).is_empty());
    assert_eq!(read(&settings(Some("Basic Z2F0ZQ==")), None), ["Basic Z2F0ZQ=="]);
    assert_eq!(read(&settings(None), Some("Bearer granted")), ["Bearer granted"]);
    assert_eq!(read(&settings(Some("Basic Z2F0ZQ==")), Some("Bearer granted")), ["Bearer granted"]);
}

#[test]
fn connection_headers_and_headers_of_the_gate_are_removed_from_responses() {
    let mut headers = map(&[
        ("connection", "x-internal, close"),
        ("x-internal", "1"),
        ("keep-alive", "1"),
        ("transfer-encoding", "chunked"),
        ("set-cookie", "a=b"),
        ("alt-svc", "h3"),
        ("clear-site-data", "*"),
        ("strict-transport-security", "max-age=1"),
        ("refresh", "0"),
        ("www-authenticate", "Basic"),
        ("proxy-authenticate", "Basic"),
        ("access-control-allow-origin", "*"),
        ("x-accel-redirect", "/secret"),
        ("x-request-id", "other"),
        ("content-type", "application/json"),
        ("docker-content-digest", "sha256:x"),
        ("etag", "\"x\""),
        ("x-proxy-", "stays: it does not begin so"),
    ]);
    clean_response(&mut headers);
    let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["content-type", "docker-content-digest", "etag", "x-proxy-"]);
}

#[test]
fn the_lines_of_accept_become_one_for_a_proxy() {
    let mut headers = map(&[("accept", "a/b"), ("x", "y"), ("accept", "c/d;q=0.5")]);
    join_accept(&mut headers);
    assert_eq!(text(&headers), ["accept: a/b, c/d;q=0.5", "x: y"]);
}
