//! Paths that have exactly one right spelling are redirected to it.

use serde_json::json;

use crate::harness::{READ_WRITE, TestGate, some_digest};

#[tokio::test]
async fn another_spelling_of_a_path_is_redirected_to_the_right_one() {
    let gate = TestGate::plain().await;
    let digest = some_digest();
    let escaped = digest.replace(':', "%3A");
    let lower = digest.replace(':', "%3a");
    let cases = [
        ("GET", "/v2".to_owned(), "/v2/".to_owned()),
        ("HEAD", "/v2?x=1".into(), "/v2/?x=1".into()),
        ("GET", "//v2//".into(), "/v2/".into()),
        ("GET", "/v2/demo//a/tags/list?n=1&x=//".into(), "/v2/demo/a/tags/list?n=1&x=//".into()),
        ("POST", "/v2/demo/a/blobs/uploads".into(), "/v2/demo/a/blobs/uploads/".into()),
        (
            "POST",
            format!("/v2/demo/a//blobs/uploads?mount={escaped}&from=demo/b"),
            format!("/v2/demo/a/blobs/uploads/?mount={escaped}&from=demo/b"),
        ),
        ("GET", format!("/v2/demo/a/blobs/{escaped}"), format!("/v2/demo/a/blobs/{digest}")),
        ("HEAD", format!("/v2/demo/a/manifests/{lower}"), format!("/v2/demo/a/manifests/{digest}")),
        ("PUT", format!("//v2/demo/a/manifests/{lower}"), format!("/v2/demo/a/manifests/{digest}")),
        ("GET", format!("/v2/demo/a/referrers/{lower}"), format!("/v2/demo/a/referrers/{digest}")),
        ("GET", "//token?scope=x".into(), "/token?scope=x".into()),
    ];
    for (method, target, right) in &cases {
        // The redirect precedes authentication.
        for credential in [None, Some(READ_WRITE), Some(("alice", "wrong"))] {
            let reply = gate.send(method, target, credential, "", "").await;
            assert_eq!(
                (reply.status, reply.header("location")),
                (308, Some(&**right)),
                "{method} {target}"
            );
            if *method != "HEAD" {
                assert_eq!(reply.code(), "UNSUPPORTED", "{target}");
            }
        }
    }
    assert_eq!((gate.forwarded(), gate.gitlab.ledger().count()), (0, 0));
    for line in gate.log(3 * cases.len()).await {
        assert_eq!(
            (&line["status"], &line["decision"], &line["reason"]),
            (&json!(308), &json!("denied"), &json!("other_spelling")),
            "{line}"
        );
    }
}

/// A path with another spelling is not redirected if the right spelling would be refused as well.
#[tokio::test]
async fn a_path_without_a_right_spelling_is_refused() {
    let gate = TestGate::plain().await;
    let digest = some_digest();
    for (method, target, status, code) in [
        ("GET", "/v2/demo//A/tags/list".to_owned(), 400, "NAME_INVALID"),
        (
            "GET",
            format!("/v2/demo/a/blobs/{}", digest.replace(':', "%253A")),
            400,
            "DIGEST_INVALID",
        ),
        ("GET", "/v2/demo/a/manifests/v%31".into(), 400, "MANIFEST_INVALID"),
        ("GET", "/v2/demo%2Fa/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "//evil.example.com/v2/".into(), 404, "UNSUPPORTED"),
        ("GET", "/v2/demo/a/blobs/uploads".into(), 405, "UNSUPPORTED"),
        ("PUT", "/v2".into(), 405, "UNSUPPORTED"),
    ] {
        let reply = gate.send(method, &target, Some(READ_WRITE), "", "").await;
        assert_eq!((reply.status, &*reply.code()), (status, code), "{method} {target}");
        assert_eq!(reply.header("location"), None);
    }
    assert_eq!(gate.forwarded(), 0);
}
