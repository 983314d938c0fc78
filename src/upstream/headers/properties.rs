//! Properties that hold for all headers.

use std::time::Duration;

use http::Method;
use proptest::prelude::*;

use super::super::{Connector, Origins, OtherServers, UploadSeal, UpstreamHealth};
use super::*;
use crate::log_throttle::LogThrottle;

/// The headers that concern one connection, in both directions (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

/// The headers that would speak for the gate, or tell the registry who is calling.
const SPEAKS_FOR_THE_GATE: [&str; 15] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-provider",
    "x-forwarded-user",
    "x-forwarded-uri",
    "x-original-url",
    "x-remote-user",
    "x-http-method-override",
    "x-real-ip",
    "host",
];

const OF_THE_GATE: [&str; 5] =
    ["host", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-for", "x-request-id"];

const PLAIN: [&str; 8] = [
    "accept",
    "range",
    "user-agent",
    "content-type",
    "docker-content-digest",
    "if-none-match",
    "etag",
    "x-other",
];

const NOT_FOR_CLIENTS: [&str; 12] = [
    "set-cookie",
    "alt-svc",
    "clear-site-data",
    "strict-transport-security",
    "refresh",
    "www-authenticate",
    "authentication-info",
    "proxy-authenticate",
    "proxy-status",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "x-accel-redirect",
];

fn name() -> impl Strategy<Value = String> {
    let known: Vec<_> =
        [&HOP_BY_HOP[..], &SPEAKS_FOR_THE_GATE, &OF_THE_GATE, &PLAIN, &NOT_FOR_CLIENTS].concat();
    let known = prop::sample::select(known);
    let spelled = (known, 0..3).prop_map(|(name, spelling)| match spelling {
        0 => name.to_owned(),
        1 => name.to_uppercase(),
        _ => name.replace('-', "_"),
    });
    prop_oneof![4 => spelled, 1 => "[a-zA-Z_!~-]{1,8}"]
}

/// Generates values, some of them with bytes outside ASCII.
fn value() -> impl Strategy<Value = HeaderValue> {
    let bytes = prop_oneof![
        3 => "[ -~]{0,12}".prop_map(String::into_bytes),
        1 => prop::collection::vec(0x20_u8..=0xff, 0..6),
        3 => prop::collection::vec(name(), 0..3).prop_map(|names| names.join(" ,\t").into_bytes()),
        1 => name().prop_map(|name| [name.as_bytes(), b",\xff"].concat()),
    ];
    bytes.prop_filter_map("no value", |bytes| HeaderValue::from_bytes(&bytes).ok())
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let line = (prop_oneof![3 => name(), 1 => Just("Connection".to_owned())], value());
    prop::collection::vec(line, 0..12).prop_map(|lines| {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        headers
    })
}

fn wanted() -> impl Strategy<Value = RegistryRequest> {
    let requests = [
        (Method::GET, "/v2/a/tags/list"),
        (Method::PUT, "/v2/a/manifests/v1"),
        (Method::POST, "/v2/a/blobs/uploads/"),
        (Method::PATCH, "/v2/a/blobs/uploads/1"),
    ];
    let parse = |(method, path)| RegistryRequest::parse(&method, path, None).unwrap();
    prop::sample::select(requests.map(parse).to_vec())
}

fn settings() -> UpstreamSettings {
    let value = HeaderValue::from_static;
    UpstreamSettings {
        connector: Connector::new("upstream.test".into(), 80, None, Duration::ZERO).unwrap(),
        url: String::new(),
        host: value("upstream.test"),
        forwarded_proto: value("https"),
        forwarded_host: value("registry.test"),
        authorization: RegistryAuthorization::OfRequest,
        origins: Origins { names: Vec::new(), own: String::new(), base: String::new() },
        identity_headers: false,
        followed: None,
        uploads: OtherServers::none(),
        seal: UploadSeal::random(),
        log_throttle: LogThrottle::default(),
        response_timeout: Duration::ZERO,
        upload_response_timeout: Duration::ZERO,
        stall_timeout: Duration::ZERO,
        health: UpstreamHealth::default(),
    }
}

/// Returns whether `Connection` names a header. This is an independent parser: it reads lists of
/// words between commas, next to any other bytes.
fn is_named_by_connection(headers: &HeaderMap, name: &str) -> bool {
    let values = headers
        .get_all("connection")
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).to_lowercase());
    values
        .into_iter()
        .any(|value| value.split(',').any(|word| word.trim_matches([' ', '\t']) == name))
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a HeaderValue> {
    headers.get_all(name).iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 2000,
        ..ProptestConfig::default()
    })]

    /// Includes names with `_` in place of `-`, because some servers treat both alike.
    #[test]
    fn no_client_header_can_speak_for_the_gate(client in headers(), wanted in wanted()) {
        let id = "id".into();
        let outbound = OutboundRequest::to_registry(&wanted, None, &client, &id);
        let sent = request(&outbound, &settings(), [192, 0, 2, 1].into());
        let expected = ["upstream.test", "https", "registry.test", "192.0.2.1", "id"];
        for (name, expected) in OF_THE_GATE.iter().zip(expected) {
            prop_assert_eq!(values(&sent, name), [expected], "{}", name);
        }
        for (name, value) in &sent {
            let dashed = name.as_str().replace('_', "-");
            let own = OF_THE_GATE.contains(&name.as_str());
            let forbidden =
                HOP_BY_HOP.contains(&&*dashed) || SPEAKS_FOR_THE_GATE.contains(&&*dashed);
            prop_assert!(own || !forbidden, "{}", name);
            let of_the_operation = name == "content-type" && value == "application/octet-stream";
            let is_named = is_named_by_connection(&client, name.as_str());
            prop_assert!(own || of_the_operation || !is_named, "{}", name);
        }
    }

    #[test]
    fn the_upstream_gets_only_the_grant_or_the_gates_own_credential(
        client in headers(),
        granted in any::<bool>(),
    ) {
        let wanted = RegistryRequest::parse(&Method::GET, "/v2/a/tags/list", None).unwrap();
        let upstream_token = granted.then(|| HeaderValue::from_static("Bearer grant"));
        let id = "id".into();
        let outbound =
            OutboundRequest::to_registry(&wanted, upstream_token, &client, &id);
        let authorization = RegistryAuthorization::Fixed(HeaderValue::from_static("Basic own"));
        let own = UpstreamSettings { authorization, ..settings() };
        let sent = request(&outbound, &own, [192, 0, 2, 1].into());
        let expected = if granted { "Bearer grant" } else { "Basic own" };
        prop_assert_eq!(values(&sent, "authorization"), [expected]);
    }

    /// Also checks that all other headers of the response pass unchanged.
    #[test]
    fn a_response_keeps_only_headers_that_are_meant_for_the_client(answer in headers()) {
        let mut cleaned = answer.clone();
        clean_response(&mut cleaned);
        let keep_away = |name: &str| {
            HOP_BY_HOP.contains(&name) && name != "trailers" || NOT_FOR_CLIENTS.contains(&name)
                || name.starts_with("proxy-") || name == "x-request-id"
        };
        for name in answer.keys().map(HeaderName::as_str) {
            let gone = keep_away(name) || is_named_by_connection(&answer, name);
            let expected = if gone { Vec::new() } else { values(&answer, name) };
            prop_assert_eq!(values(&cleaned, name), expected, "{}", name);
        }
    }
}
