//! Protected and immutable tags, end to end. The registry's ledger shows what was forwarded.

use serde_json::{Value, json};

use super::{answer, unsigned};
use crate::harness::{
    EMPTY_INDEX, INDEX_TYPE, READ_WRITE, Setup, TestGate, digest_of, request, some_digest,
};
use crate::scripted_upstream::ScriptedUpstream;

/// Makes GitLab grant everything on `demo/a` in its next answer, under these tag rules.
fn next_answer(gate: &TestGate, meta: &Value) {
    let claims = json!({
        "aud": "container_registry", "sub": "alice", "iat": 1, "exp": 301,
        "auth_type": "personal_access_token",
        "access": [{
            "type": "repository", "name": "demo/a",
            "actions": ["pull", "push", "delete"], "meta": meta,
        }],
    });
    gate.gitlab
        .script([answer(200, json!({ "token": unsigned(&claims.to_string()) }).to_string())]);
}

/// Sends a request under these tag rules, with a credential that is not in the cache.
async fn send(
    gate: &TestGate,
    meta: &Value,
    method: &str,
    target: &str,
) -> (u16, String, Vec<String>) {
    next_answer(gate, meta);
    let before = gate.forwarded();
    let user = format!("user-{before}-{}", fastrand::u64(..));
    let body = if method == "PUT" { EMPTY_INDEX } else { "" };
    let headers = if method == "PUT" { INDEX_TYPE } else { "" };
    let reply = gate.send(method, target, Some((&user, READ_WRITE.1)), headers, body).await;
    let forwarded = gate.ledger.entries().split_off(before);
    let forwarded =
        forwarded.iter().map(|entry| format!("{} {}", entry.method, entry.target)).collect();
    (reply.status, reply.body, forwarded)
}

#[tokio::test]
async fn tag_rules_decide_about_every_operation() {
    let gate = TestGate::plain().await;
    let meta = json!({
        "project_path": "demo/a",
        "tag_deny_access_patterns": { "push": ["^prod"], "delete": ["^keep"] },
        "tag_immutable_patterns": ["^v\\d"],
    });
    let (digest, other) = (digest_of(EMPTY_INDEX.as_bytes()), some_digest());
    let path = |rest: &str| format!("/v2/demo/a/{rest}");
    let refused = |what: &'static str| (403, what, vec![]);
    for (method, target, (status, says, forwarded)) in [
        (
            "PUT",
            path("manifests/latest"),
            (201, "", vec![format!("PUT {}", path("manifests/latest"))]),
        ),
        ("PUT", path("manifests/prod"), refused("the tag prod is protected")),
        (
            "PUT",
            path("manifests/v1"),
            (
                201,
                "",
                vec![
                    format!("HEAD {}", path("manifests/v1")),
                    format!("PUT {}", path("manifests/v1")),
                ],
            ),
        ),
        (
            "PUT",
            path("manifests/v1"),
            (
                403,
                "the tag v1 exists and is immutable",
                vec![format!("HEAD {}", path("manifests/v1"))],
            ),
        ),
        (
            "PUT",
            path(&format!("manifests/{digest}?tag=x&tag=v2")),
            (
                201,
                "",
                vec![
                    format!("HEAD {}", path("manifests/v2")),
                    format!("PUT {}", path(&format!("manifests/{digest}?tag=x&tag=v2"))),
                ],
            ),
        ),
        (
            "PUT",
            path(&format!("manifests/{digest}?tag=x&tag=v1")),
            (
                403,
                "the tag v1 exists and is immutable",
                vec![format!("HEAD {}", path("manifests/v1"))],
            ),
        ),
        (
            "PUT",
            path(&format!("manifests/{digest}?tag=x&tag=prod")),
            refused("the tag prod is protected"),
        ),
        (
            "PUT",
            path(&format!("manifests/{digest}")),
            (201, "", vec![format!("PUT {}", path(&format!("manifests/{digest}")))]),
        ),
        ("DELETE", path("manifests/keep-it"), refused("the tag keep-it is protected")),
        ("DELETE", path("manifests/v1"), refused("the tag v1 is immutable")),
        ("DELETE", path(&format!("manifests/{digest}")), refused("delete by tag")),
        ("DELETE", path(&format!("blobs/{other}")), refused("delete by tag")),
        (
            "DELETE",
            path("manifests/latest"),
            (202, "", vec![format!("DELETE {}", path("manifests/latest"))]),
        ),
        (
            "POST",
            path("blobs/uploads/"),
            (202, "", vec![format!("POST {}", path("blobs/uploads/"))]),
        ),
        ("GET", path("manifests/v1"), (200, "", vec![format!("GET {}", path("manifests/v1"))])),
    ] {
        let (found, body, went_on) = send(&gate, &meta, method, &target).await;
        assert_eq!((found, &went_on), (status, &forwarded), "{method} {target}: {body}");
        assert!(body.contains(says), "{method} {target}: {body}");
    }
}

#[tokio::test]
async fn unreadable_tag_rules_stop_writes_and_not_reads() {
    let gate = TestGate::plain().await;
    for meta in [json!({ "tag_immutable_patterns": ["[a--b]"] }), json!({ "tag_new": true })] {
        for (method, target, status) in [
            ("PUT", "/v2/demo/a/manifests/v1", 403),
            ("POST", "/v2/demo/a/blobs/uploads/", 403),
            ("DELETE", "/v2/demo/a/manifests/v1", 403),
            ("GET", "/v2/demo/a/manifests/v1", 404),
        ] {
            let (found, body, _) = send(&gate, &meta, method, target).await;
            assert_eq!(found, status, "{meta} {method} {body}");
        }
    }
    let reasons: Vec<_> =
        gate.log(8).await.iter().map(|line| line["reason"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        reasons.iter().filter(|reason| *reason == "tag_rules_unreadable").count(),
        6,
        "{reasons:?}"
    );
}

/// The look-up is the gate's own request. A header of the client could make the registry answer
/// that the tag does not exist.
#[tokio::test]
async fn the_tag_look_up_sends_the_gates_own_headers() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    next_answer(&gate, &json!({ "tag_immutable_patterns": ["^v"] }));
    let headers = format!(
        "{INDEX_TYPE}Accept: text/plain\r\nIf-None-Match: *\r\nRange: bytes=0-1\r\n\
         X-Request-Id: mine\r\n"
    );
    let message =
        request("PUT", "/v2/demo/a/manifests/v1", Some(READ_WRITE), &headers, EMPTY_INDEX);
    let (reply, ()) = tokio::join!(gate.raw(message), async {
        let (mut connection, head) = upstream.accept_request().await;
        assert_eq!(head.line(), ("HEAD", "/v2/demo/a/manifests/v1"));
        assert!(
            head.header("accept").unwrap().contains("application/vnd.oci.image.manifest.v1+json"),
            "{head:?}"
        );
        assert!(
            head.header("accept")
                .unwrap()
                .contains("application/vnd.docker.distribution.manifest.v2+json")
        );
        for name in ["if-none-match", "range", "authorization", "content-length", "content-type"] {
            assert_eq!(head.header(name), None);
        }
        assert_eq!(head.header("x-request-id"), Some("mine"));
        connection.write("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n").await;
        let (mut connection, head) = upstream.accept_request().await;
        assert_eq!(head.line(), ("PUT", "/v2/demo/a/manifests/v1"));
        assert_eq!(connection.bytes(EMPTY_INDEX.len()).await, EMPTY_INDEX.as_bytes());
        connection.write("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await;
    });
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
}

/// If the gate cannot tell whether the tag exists, it does not allow a write to it.
#[tokio::test]
async fn a_look_up_that_fails_is_502() {
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup::default()).await;
    for answer in [
        "500 Oops",
        "401 Unauthorized",
        "403 Forbidden",
        "304 Not Modified",
        "404 Not Found\r\nTransfer-Encoding: gzip",
        "",
    ] {
        next_answer(&gate, &json!({ "tag_immutable_patterns": ["^v"] }));
        let user = format!("user {}", answer.len());
        let message = request(
            "PUT",
            "/v2/demo/a/manifests/v1",
            Some((&user, READ_WRITE.1)),
            INDEX_TYPE,
            EMPTY_INDEX,
        );
        let (reply, ()) = tokio::join!(gate.raw(message), async {
            let (mut connection, head) = upstream.accept_request().await;
            assert_eq!(head.line().0, "HEAD");
            if !answer.is_empty() {
                connection
                    .write(format!(
                        "HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                    ))
                    .await;
            }
        });
        assert!(
            reply.starts_with("HTTP/1.1 502")
                && reply.contains("did not say whether the tag exists"),
            "{reply}"
        );
    }
    assert_eq!(upstream.requests(), 6);
    assert!(gate.log(6).await.iter().all(|line| line["reason"] == "tag_lookup_failed"));
}
