//! The spans of a request, their attributes, and that none of them has a secret.

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::collector::{Collector, attributes, hex, names};
use super::traced;
use crate::harness::{EMPTY_INDEX, INDEX_TYPE, READ_ONLY, READ_WRITE, Setup, request};
use crate::http2_client;
use crate::scripted_upstream::{ScriptedUpstream, soon};

const MANIFEST: &str = "/v2/demo/a/manifests/v1";

/// Returns the attributes as lines, except for those that are random.
fn shown(span: &Span) -> Vec<String> {
    let of = attributes(&span.attributes);
    of.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

const ERROR: i32 = 2;

fn status(span: &Span) -> i32 {
    span.status.as_ref().map_or(0, |status| status.code)
}

#[tokio::test]
async fn a_pull_has_a_span_with_a_child_for_each_stage() {
    let mut collector = Collector::start();
    let gate = traced(&collector, "1", Setup { external_port: ":8443", ..Setup::default() }).await;
    let put = gate.send("PUT", MANIFEST, Some(READ_WRITE), INDEX_TYPE, EMPTY_INDEX).await;
    assert_eq!(put.status, 201);
    let headers = "X-Request-Id: pull\r\n";
    assert_eq!(gate.send("GET", MANIFEST, Some(READ_ONLY), headers, "").await.status, 200);

    let spans = collector.trace("pull").await;
    assert_eq!(names(&spans), ["request", "authenticate", "provider", "authorize", "upstream"]);
    let [request, authenticate, provider, authorize, upstream] = &spans[..] else { panic!() };
    assert_eq!(
        shown(request),
        [
            "http.request.method=GET",
            "url.scheme=http",
            "url.path=/v2/demo/a/manifests/v1",
            "http.route=/v2/<name>/manifests/<reference>",
            "server.address=registry.test",
            "server.port=8443",
            "client.address=127.0.0.1",
            "http.response.status_code=200",
            "moorgate.request_id=pull",
            "moorgate.operation=manifest_get",
            "moorgate.repository=demo/a",
            "moorgate.decision=allowed",
            "moorgate.reason=allowed",
            "moorgate.provider=gitlab",
            "moorgate.cache=miss",
            "network.protocol.version=1.1",
        ]
    );
    assert_eq!(shown(authenticate), ["moorgate.cache=miss"]);
    let gitlab = gate.gitlab.address();
    assert_eq!(
        shown(provider),
        [
            "moorgate.provider=gitlab".to_owned(),
            "moorgate.provider.type=gitlab".to_owned(),
            "moorgate.verdict=verified".to_owned(),
            "http.request.method=GET".to_owned(),
            format!("url.full=http://{gitlab}/jwt/auth"),
            "server.address=127.0.0.1".to_owned(),
            format!("server.port={}", gitlab.port()),
            "http.response.status_code=200".to_owned(),
        ]
    );
    assert_eq!(shown(authorize), [""; 0]);
    let registry = gate.registry();
    assert_eq!(
        shown(upstream),
        [
            "http.request.method=GET".to_owned(),
            format!("url.full=http://{registry}{MANIFEST}"),
            "server.address=127.0.0.1".to_owned(),
            format!("server.port={}", registry.port()),
            "http.response.status_code=200".to_owned(),
        ]
    );
    let kinds = [
        SpanKind::Server,
        SpanKind::Internal,
        SpanKind::Client,
        SpanKind::Internal,
        SpanKind::Client,
    ];
    for (span, kind) in spans.iter().zip(kinds) {
        assert_eq!(span.kind, i32::from(kind), "{}", span.name);
        assert_eq!(status(span), 0, "{}", span.name);
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{}", span.name);
        assert!(span.start_time_unix_nano >= request.start_time_unix_nano, "{}", span.name);
        assert!(span.end_time_unix_nano <= request.end_time_unix_nano, "{}", span.name);
        // Sampled, and the parent of none is in another process.
        assert_eq!(span.flags, 0x101, "{}", span.name);
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
    }
    assert!(request.parent_span_id.is_empty());
    let mut ids: Vec<_> = spans.iter().map(|span| hex(&span.span_id)).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), spans.len());
}

#[tokio::test]
async fn the_request_of_a_batch_is_otlp_and_names_the_gate() {
    let mut collector = Collector::start();
    let gate = traced(&collector, "1", Setup::default()).await;
    gate.get("/v2/", None).await;
    let batch = collector.batch().await;
    assert_eq!(batch.head.line(), ("POST", "/v1/traces"));
    assert_eq!(batch.head.header("content-type"), Some("application/x-protobuf"));
    let [of_resource] = &batch.request.resource_spans[..] else { panic!() };
    let resource = attributes(&of_resource.resource.as_ref().unwrap().attributes);
    let keys: Vec<_> = resource.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["service.name", "service.version", "service.instance.id"]);
    assert_eq!((&*resource[0].1, &*resource[1].1), ("moorgate", env!("CARGO_PKG_VERSION")));
    let [scope] = &of_resource.scope_spans[..] else { panic!() };
    assert_eq!(scope.scope.as_ref().unwrap().name, "moorgate");
}

#[tokio::test]
async fn a_cached_answer_and_http2_are_told() {
    let mut collector = Collector::start();
    let gate = traced(&collector, "1", Setup { tls: true, ..Setup::default() }).await;
    let sender = gate.http2().await;
    for _ in 0..2 {
        http2_client::ask(&sender, "GET", "/v2/demo/a/tags/list").await;
    }
    let ids: Vec<_> = gate.log(2).await.iter().map(|line| line["request_id"].clone()).collect();
    let first = collector.trace(ids[0].as_str().unwrap()).await;
    let spans = collector.trace(ids[1].as_str().unwrap()).await;
    assert_eq!(names(&first), ["request", "authenticate", "provider", "authorize", "upstream"]);
    assert_eq!(names(&spans), ["request", "authenticate", "authorize", "upstream"]);
    let request = shown(&spans[0]);
    for line in ["network.protocol.version=2", "url.scheme=https", "moorgate.cache=hit"] {
        assert!(request.contains(&line.to_owned()), "{line} is not in {request:?}");
    }
    // The registry does not know the repository.
    assert!(shown(&spans[3]).contains(&"http.response.status_code=404".to_owned()));
    assert!(shown(&spans[3]).contains(&"error.type=404".to_owned()));
    assert_eq!((status(&spans[3]), status(&spans[0])), (ERROR, 0));
}

#[tokio::test]
async fn a_refusal_is_no_error_and_has_its_reason() {
    let mut collector = Collector::start();
    let gate = traced(&collector, "1", Setup::default()).await;
    for (method, target, credential, id, expected, reason) in [
        (
            "GET",
            MANIFEST,
            None,
            "none",
            &["request", "authenticate", "authorize"][..],
            "no_credential",
        ),
        (
            "DELETE",
            MANIFEST,
            Some(READ_ONLY),
            "right",
            &["request", "authenticate", "provider", "authorize"],
            "insufficient_rights",
        ),
        (
            "GET",
            MANIFEST,
            Some(("alice", "glpat-a-wrong-secret")),
            "wrong",
            &["request", "authenticate", "provider"],
            "wrong_credential",
        ),
        ("BREW", "/nothing", None, "unknown", &["request"], "unknown_operation"),
    ] {
        let headers = format!("X-Request-Id: {id}\r\n");
        let reply = gate.send(method, target, credential, &headers, "").await;
        let spans = collector.trace(id).await;
        assert_eq!(names(&spans), expected, "{id}");
        let lines = shown(&spans[0]);
        for line in [
            format!("http.response.status_code={}", reply.status),
            "moorgate.decision=denied".to_owned(),
            format!("moorgate.reason={reason}"),
        ] {
            assert!(lines.contains(&line), "{line} is not in {lines:?}");
        }
        assert!(spans.iter().all(|span| status(span) == 0), "{id}");
        if expected.len() > 1 {
            let stage = spans.iter().rfind(|span| span.kind == i32::from(SpanKind::Internal));
            assert!(shown(stage.unwrap()).contains(&format!("moorgate.reason={reason}")), "{id}");
        }
        if id == "unknown" {
            assert!(lines.contains(&"http.request.method=_OTHER".to_owned()), "{lines:?}");
            assert!(lines.contains(&"http.request.method_original=BREW".to_owned()), "{lines:?}");
            assert!(!lines.iter().any(|line| line.starts_with("http.route=")), "{lines:?}");
        }
    }
}

#[tokio::test]
async fn a_registry_that_fails_is_an_error_of_both_spans() {
    let mut collector = Collector::start();
    let mut upstream = ScriptedUpstream::start();
    let setup = Setup { upstream_address: Some(upstream.address), ..Setup::default() };
    let gate = traced(&collector, "1", setup).await;
    let script = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write("nonsense\r\n\r\n").await;
    };
    let headers = "X-Request-Id: broken\r\n";
    let upload = "/v2/demo/a/blobs/uploads/";
    let ask = gate.raw(request("POST", upload, Some(READ_WRITE), headers, ""));
    soon(async { tokio::join!(script, ask) }).await;
    let spans = collector.trace("broken").await;
    let [request, .., upstream] = &spans[..] else { panic!() };
    assert_eq!((status(request), status(upstream)), (ERROR, ERROR));
    let (request, upstream) = (shown(request), shown(upstream));
    let reason = "error.type=upstream_invalid".to_owned();
    assert!(request.contains(&reason) && upstream.contains(&reason), "{request:?} {upstream:?}");
    assert!(request.contains(&"moorgate.decision=error".to_owned()), "{request:?}");
}

/// A client that leaves ends the spans of the stages that were under way.
#[tokio::test]
async fn a_client_that_leaves_ends_all_spans() {
    let mut collector = Collector::start();
    let mut upstream = ScriptedUpstream::start();
    let setup = Setup { upstream_address: Some(upstream.address), ..Setup::default() };
    let gate = traced(&collector, "1", setup).await;
    let mut client = gate.connect().await;
    let head = request("GET", MANIFEST, Some(READ_WRITE), "X-Request-Id: left\r\n", "");
    tokio::io::AsyncWriteExt::write_all(&mut client, head.as_bytes()).await.unwrap();
    let (_connection, _) = upstream.accept_request().await;
    drop(client);
    let spans = collector.trace("left").await;
    let [request, .., upstream] = &spans[..] else { panic!() };
    assert_eq!(upstream.name, "upstream");
    for span in [request, upstream] {
        assert!(shown(span).contains(&"error.type=client_aborted".to_owned()), "{span:?}");
    }
    assert!(!shown(request).iter().any(|line| line.starts_with("http.response.status_code=")));
}

/// The collector searches every batch for the secrets that the tests plant. This sends more.
#[tokio::test]
async fn no_span_has_a_secret_or_a_query() {
    let mut collector = Collector::start();
    let gate = traced(&collector, "1", Setup::default()).await;
    let secret = "hush-hush-hush-hush";
    crate::canary::plant(secret);
    let lines = format!(
        "Cookie: {secret}\r\nUser-Agent: {secret}\r\nReferer: http://x/{secret}\r\n\
         X-Secret: {secret}\r\nBaggage: key={secret}\r\ntracestate: a={secret}\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
    );
    for (number, (method, target, credential)) in [
        ("GET", format!("/v2/demo/a/tags/list?n=1&last={secret}"), Some(READ_ONLY)),
        ("GET", format!("/v2/demo/a/tags/list?{secret}"), Some(("alice", secret))),
        ("PATCH", format!("/v2/demo/a/blobs/uploads/id?_state={secret}"), Some(READ_WRITE)),
        ("GET", format!("/token?account={secret}"), Some(READ_ONLY)),
        ("GET", format!("/nothing?{secret}"), None),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("secret-{number}");
        let headers = format!("{lines}X-Request-Id: {id}\r\n");
        gate.send(method, &target, credential, &headers, "").await;
        let spans = collector.trace(&id).await;
        let told = format!("{spans:?}");
        assert!(!told.contains(secret) && !told.contains('?'), "{told}");
        assert!(!told.contains("trace_state: \"a"), "{told}");
    }
}

/// The address of an upload that leads elsewhere is sealed for clients, so it may be a secret.
#[tokio::test]
async fn the_path_of_a_sealed_upload_is_in_no_span() {
    let mut collector = Collector::start();
    let mut registry = ScriptedUpstream::start();
    let setup = Setup { upstream_address: Some(registry.address), ..Setup::default() };
    let gate = traced(&collector, "1", setup).await;
    let answer = "HTTP/1.1 202 Accepted\r\nLocation: /elsewhere/canary-path?state=x\r\n\
                  Content-Length: 0\r\nConnection: close\r\n\r\n";
    let mut target = "/v2/demo/a/blobs/uploads/".to_owned();
    for (method, headers) in [("POST", ""), ("PATCH", "X-Request-Id: sealed\r\n")] {
        let script = async {
            let (mut connection, head) = registry.accept_request().await;
            connection.write(answer).await;
            head
        };
        let ask = gate.send(method, &target, Some(READ_WRITE), headers, "");
        let (head, reply) = soon(async { tokio::join!(script, ask) }).await;
        assert_eq!((reply.status, head.0.contains("canary-path")), (202, method == "PATCH"));
        target = reply.header("location").unwrap().to_owned();
    }
    let spans = collector.trace("sealed").await;
    assert!(names(&spans).contains(&"upstream"), "{:?}", names(&spans));
    assert!(!format!("{spans:?}").contains("canary-path"));
}
