//! Routing: the requests that are forwarded, those that are not, and their spelling. The registry's
//! ledger is the oracle.

use crate::harness::{READ_WRITE, TestGate, some_digest};

#[tokio::test]
async fn ping_is_answered_by_the_gate() {
    let gate = TestGate::plain().await;
    let reply = gate.get("/v2/", Some(READ_WRITE)).await;
    assert_eq!((reply.status, &*reply.body), (200, "{}"));
    assert_eq!(reply.header("docker-distribution-api-version"), Some("registry/2.0"));
    assert!(reply.header("x-request-id").is_some());
    assert_eq!(gate.get("/v2/", None).await.status, 401);
    assert_eq!(gate.forwarded(), 0);
}

#[tokio::test]
async fn every_operation_is_forwarded_in_one_spelling() {
    let gate = TestGate::plain().await;
    let digest = some_digest();
    let escaped = digest.replace(':', "%3A");
    for (method, target, rendered) in [
        (
            "GET",
            "/v2/demo/a/tags/list?n=2&last=b&x=1".to_owned(),
            "/v2/demo/a/tags/list?n=2&last=b&x=1".to_owned(),
        ),
        ("GET", "/v2/demo/a/tags/list?%6E=2&ns=a".into(), "/v2/demo/a/tags/list?%6E=2".into()),
        ("GET", "/v2/demo/a/manifests/v1?ns=docker.io".into(), "/v2/demo/a/manifests/v1".into()),
        (
            "HEAD",
            format!("/v2/demo/a/manifests/{digest}"),
            format!("/v2/demo/a/manifests/{digest}"),
        ),
        ("GET", format!("/v2/demo/a/blobs/{digest}"), format!("/v2/demo/a/blobs/{digest}")),
        (
            "GET",
            format!("/v2/demo/a/referrers/{digest}?artifactType=a/b%2Bc"),
            format!("/v2/demo/a/referrers/{digest}?artifactType=a/b%2Bc"),
        ),
        (
            "POST",
            format!("/v2/demo/a/blobs/uploads/?mount={escaped}&from=demo/b"),
            format!("/v2/demo/a/blobs/uploads/?mount={digest}&from=demo/b"),
        ),
        (
            "POST",
            format!("/v2/demo/a/blobs/uploads/?mount={escaped}"),
            "/v2/demo/a/blobs/uploads/".into(),
        ),
        (
            "POST",
            "/v2/demo/a/blobs/uploads/?from=demo/b".into(),
            "/v2/demo/a/blobs/uploads/".into(),
        ),
        (
            "PATCH",
            "/v2/demo/a/blobs/uploads/id?_state=a%3D=".into(),
            "/v2/demo/a/blobs/uploads/id?_state=a%3D=".into(),
        ),
        (
            "PATCH",
            "/v2/demo/a/blobs/uploads/id?_stateHash=x&_state=y&from=demo/b".into(),
            "/v2/demo/a/blobs/uploads/id?_stateHash=x&_state=y&from=demo/b".into(),
        ),
        (
            "GET",
            "/v2/demo/a/blobs/uploads/id?_nouploadcache=false".into(),
            "/v2/demo/a/blobs/uploads/id?_nouploadcache=false".into(),
        ),
        (
            "DELETE",
            "/v2/demo/a/blobs/uploads/id?x=%2F".into(),
            "/v2/demo/a/blobs/uploads/id?x=%2F".into(),
        ),
        (
            "GET",
            format!("/v2/demo/a/referrers/{digest}?nextToken=a%3D&ns=b"),
            format!("/v2/demo/a/referrers/{digest}?nextToken=a%3D"),
        ),
        (
            "POST",
            "/v2/demo/a/blobs/uploads/?digest-algorithm=sha512&x=1".into(),
            "/v2/demo/a/blobs/uploads/?digest-algorithm=sha512".into(),
        ),
        (
            "PUT",
            format!("/v2/demo/a/blobs/uploads/id?digest={escaped}&_state=x"),
            format!("/v2/demo/a/blobs/uploads/id?digest={digest}&_state=x"),
        ),
    ] {
        let before = gate.forwarded();
        gate.send(method, &target, Some(READ_WRITE), "", "").await;
        let entries = gate.ledger.entries();
        assert_eq!(entries.len(), before + 1, "{method} {target}");
        let entry = entries.last().unwrap();
        assert_eq!((entry.method.as_str(), &*entry.target), (method, &*rendered));
    }
}

/// A client that speaks plain HTTP on the TLS port is told to use HTTPS: Docker falls back to plain
/// HTTP on localhost, and users forget the s.
#[tokio::test]
async fn a_plain_http_client_on_the_tls_port_is_told_to_use_https() {
    let gate = TestGate::tls().await;
    let reply = gate.get("/v2/", None).await;
    assert_eq!((reply.status, &*reply.code()), (400, "UNSUPPORTED"));
    assert!(reply.body.contains("speaks HTTPS"), "{}", reply.body);
    assert_eq!(reply.header("content-length"), Some(&*reply.body.len().to_string()));
    let id = reply.header("x-request-id").unwrap().to_owned();
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_ne!(gate.get("/v2/", None).await.header("x-request-id"), Some(&*id));
}
