//! Class 3: every method on every resource.

use super::{assert_refusal, assert_refusal_headers, http2, http2_request};
use crate::harness::{READ_WRITE, TestGate, some_digest};

const METHODS: [&str; 13] = [
    "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "MKCOL",
    "BREW", "get", "PURGE",
];

/// Returns for each path its `Allow` header, the methods that the gate forwards for a caller who
/// may pull and push, and the methods that it refuses with 403.
fn resources() -> Vec<(String, &'static str, &'static [&'static str], &'static [&'static str])> {
    let digest = some_digest();
    vec![
        ("/v2/".into(), "GET, HEAD", &[], &[]),
        ("/v2/_catalog".into(), "GET", &[], &["GET"]),
        ("/v2/demo/a/tags/list".into(), "GET", &["GET"], &[]),
        (format!("/v2/demo/a/referrers/{digest}"), "GET", &["GET"], &[]),
        (
            "/v2/demo/a/manifests/v1".into(),
            "GET, HEAD, PUT, DELETE",
            &["GET", "HEAD", "PUT"],
            &["DELETE"],
        ),
        (
            format!("/v2/demo/a/manifests/{digest}"),
            "GET, HEAD, PUT, DELETE",
            &["GET", "HEAD", "PUT"],
            &["DELETE"],
        ),
        (format!("/v2/demo/a/blobs/{digest}"), "GET, HEAD, DELETE", &["GET", "HEAD"], &["DELETE"]),
        ("/v2/demo/a/blobs/uploads/".into(), "POST", &["POST"], &[]),
        // Cancelling an upload needs push.
        (
            "/v2/demo/a/blobs/uploads/id".into(),
            "GET, HEAD, PATCH, PUT, DELETE",
            &["GET", "HEAD", "PATCH", "PUT", "DELETE"],
            &[],
        ),
    ]
}

#[tokio::test]
async fn each_resource_accepts_only_its_allowed_methods() {
    let gate = TestGate::tls().await;
    let sender = gate.http2().await;
    let plain = TestGate::plain().await;
    for (target, allow, forwarded, denied) in resources() {
        for method in METHODS {
            let case = format!("{method} {target}");
            let before = (gate.forwarded(), plain.forwarded());
            let request = http2_request(method, &target, Some(READ_WRITE));
            let replies = [
                plain.send(method, &target, Some(READ_WRITE), "", "").await,
                http2(&sender, request, None::<&str>).await.unwrap(),
            ];
            let expected = usize::from(forwarded.contains(&method));
            assert_eq!(
                (gate.forwarded() - before.0, plain.forwarded() - before.1),
                (expected, expected),
                "{case}"
            );
            for reply in replies {
                if !allow.split(", ").any(|allowed| allowed == method) {
                    assert_eq!(reply.status, 405, "{case}");
                    assert_eq!(reply.header("allow"), Some(allow), "{case}");
                    match method {
                        "HEAD" => assert_refusal_headers(&reply, &case),
                        _ => assert_refusal(&reply, 405, "UNSUPPORTED", &case),
                    }
                } else if denied.contains(&method) {
                    assert_refusal(&reply, 403, "DENIED", &case);
                } else if target == "/v2/" {
                    assert_eq!(reply.status, 200, "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn every_path_that_is_not_an_operation_is_404() {
    let gate = TestGate::plain().await;
    for target in [
        "/",
        "/v1/",
        "/v3/",
        "/v2.0/",
        "/v2x/demo/a/tags/list",
        "/tokens",
        "/livez",
        "/healthz",
        "/readyz",
        "/metrics",
        "/status.json",
        "/gitlab/v1/repositories/demo/a/",
        "/.well-known/openid-configuration",
        "/debug/pprof/",
        "/v2/demo",
        "/v2/_catalog/",
        "/v2/demo/a/b/c",
        "/v2/uploads/id",
        "/v2/manifests/v1",
    ] {
        for credential in [None, Some(READ_WRITE)] {
            for method in ["GET", "POST", "BREW"] {
                let reply = gate.send(method, target, credential, "", "").await;
                assert_refusal(&reply, 404, "UNSUPPORTED", target);
            }
        }
    }
    assert_refusal(&gate.send("OPTIONS", "*", None, "", "").await, 404, "UNSUPPORTED", "*");
    assert_eq!((gate.forwarded(), gate.gitlab.ledger().count()), (0, 0));
}
