//! Class 9: mounts that would expose a blob to a caller who may not pull it.

use super::{assert_refusal, http2, http2_request, only_in};
use crate::harness::{READ_WRITE, TestGate, digest_of, some_digest};

/// Returns the target of the last request that reached the registry.
fn last(gate: &TestGate) -> String {
    gate.ledger.entries().last().unwrap().target.clone()
}

/// Starts a gate whose registry has a blob in `secret/a`. The tests' callers may push to `demo` but
/// may not pull from `secret`.
async fn gate_with_secret(content: &str) -> (TestGate, String) {
    let gate = TestGate::plain().await;
    let (owner, digest) = (only_in("secret"), digest_of(content.as_bytes()));
    gate.gitlab.add(owner.clone());
    let target = format!("/v2/secret/a/blobs/uploads/?digest={digest}");
    let reply = gate.send("POST", &target, Some(("bob", &owner.password)), "", content).await;
    assert_eq!(reply.status, 201);
    (gate, digest)
}

/// Returns queries that ask for a mount from `secret/a`, or resemble one.
fn without_right(digest: &str) -> Vec<String> {
    let escaped = digest.replace(':', "%3A");
    vec![
        format!("mount={digest}&from=secret/a"),
        format!("from=secret/a&mount={digest}"),
        format!("mount={escaped}&from=secret%2Fa"),
        format!("mount={digest}&from=secret/a&x=1"),
        format!("&&mount={digest}&&from=secret/a&"),
        // Half of a mount: some registries then search all repositories.
        format!("mount={digest}"),
        "from=secret/a".to_owned(),
        // A source that is empty or not a name.
        format!("mount={digest}&from="),
        format!("mount={digest}&from"),
        format!("mount={digest}&from=demo/../secret/a"),
        format!("mount={digest}&from=demo/%2e%2e/secret/a"),
        format!("mount={digest}&from=demo/a%26from=secret/a"),
        format!("mount={digest}&from=Secret/a"),
        format!("mount={digest}&from=secret/a%00"),
        format!("mount={digest}&from=%zz"),
    ]
}

#[tokio::test]
async fn a_mount_without_pull_on_its_source_becomes_a_plain_upload() {
    let (gate, digest) = gate_with_secret("secret").await;
    for query in without_right(&digest) {
        let target = format!("/v2/demo/a/blobs/uploads/?{query}");
        let reply = gate.send("POST", &target, Some(READ_WRITE), "", "").await;
        assert_eq!((reply.status, &*last(&gate)), (202, "/v2/demo/a/blobs/uploads/"), "{query}");
        let blob = gate.get(&format!("/v2/demo/a/blobs/{digest}"), Some(READ_WRITE)).await;
        assert_eq!(blob.status, 404, "{query}");
    }
}

#[tokio::test]
async fn a_mount_without_pull_on_its_source_becomes_a_plain_upload_over_http2() {
    let gate = TestGate::tls().await;
    let sender = gate.http2().await;
    let (owner, digest) = (only_in("secret"), digest_of(b"secret"));
    gate.gitlab.add(owner.clone());
    let target = format!("/v2/secret/a/blobs/uploads/?digest={digest}");
    let pushed = http2(
        &sender,
        http2_request("POST", &target, Some(("bob", &owner.password))),
        Some("secret"),
    )
    .await;
    assert_eq!(pushed.unwrap().status, 201);
    for query in without_right(&digest) {
        let target = format!("/v2/demo/a/blobs/uploads/?{query}");
        let reply = http2(&sender, http2_request("POST", &target, Some(READ_WRITE)), None::<&str>)
            .await
            .unwrap();
        assert_eq!((reply.status, &*last(&gate)), (202, "/v2/demo/a/blobs/uploads/"), "{query}");
    }
}

#[tokio::test]
async fn a_mount_with_pull_on_its_source_is_forwarded() {
    let (gate, digest) = gate_with_secret("secret").await;
    let owner = only_in("secret");
    let target = format!("/v2/secret/b/blobs/uploads/?mount={digest}&from=secret%2Fa&x=1");
    let reply = gate.send("POST", &target, Some(("bob", &owner.password)), "", "").await;
    assert_eq!(reply.status, 201);
    assert_eq!(last(&gate), format!("/v2/secret/b/blobs/uploads/?mount={digest}&from=secret/a"));
}

/// The gate checks the reach of the credential for each of the two repositories separately.
#[tokio::test]
async fn a_mount_checks_the_credential_for_each_of_its_repositories() {
    let gate = TestGate::plain().await;
    let (part, digest) = (only_in("demo/part"), some_digest());
    gate.gitlab.add(part.clone());
    let part = Some(("bob", &*part.password));
    for (to, from, rendered) in [
        (
            "demo/part/x",
            "demo/part",
            Some(format!("/v2/demo/part/x/blobs/uploads/?mount={digest}&from=demo/part")),
        ),
        ("demo/part", "demo/other", Some("/v2/demo/part/blobs/uploads/".to_owned())),
        ("demo/part", "demo/part-not", Some("/v2/demo/part/blobs/uploads/".to_owned())),
        ("demo/other", "demo/part", None),
    ] {
        let before = gate.forwarded();
        let reply = gate
            .send(
                "POST",
                &format!("/v2/{to}/blobs/uploads/?mount={digest}&from={from}"),
                part,
                "",
                "",
            )
            .await;
        match rendered {
            Some(rendered) => {
                assert_eq!((gate.forwarded(), last(&gate)), (before + 1, rendered), "{to} {from}")
            }
            None => {
                assert_refusal(&reply, 403, "DENIED", from);
                assert_eq!(gate.forwarded(), before);
            }
        }
    }
}

#[tokio::test]
async fn ambiguous_mounts_are_refused() {
    let gate = TestGate::plain().await;
    let tls = TestGate::tls().await;
    let sender = tls.http2().await;
    let digest = some_digest();
    for (query, code) in [
        (format!("mount={digest}&from=demo/a&from=secret/a"), "UNSUPPORTED"),
        (format!("mount={digest}&from=demo/a&fro%6D=secret/a"), "UNSUPPORTED"),
        (format!("mount={digest}&from=demo/a&from=demo/a"), "UNSUPPORTED"),
        (format!("mount={digest}&mount={digest}&from=demo/a"), "UNSUPPORTED"),
        (format!("mount={digest}&%6Dount={digest}&from=demo/a"), "UNSUPPORTED"),
        // Spellings that another program would read as a mount.
        (format!("%6Dount={digest}&fro%6d=secret/a"), "UNSUPPORTED"),
        (format!("%6d%6f%75%6e%74={digest}&%66%72%6f%6d=secret/a"), "UNSUPPORTED"),
        (format!("%6Dount={digest}"), "UNSUPPORTED"),
        (format!("mount={digest}&From=secret/a"), "UNSUPPORTED"),
        (format!("Mount={digest}&from=secret/a"), "UNSUPPORTED"),
        (format!("MOUNT={digest}&FROM=secret/a"), "UNSUPPORTED"),
        (format!("mount%20={digest}&from=secret/a"), "UNSUPPORTED"),
        (format!("+mount={digest}&from=secret/a"), "UNSUPPORTED"),
        (format!("mount[]={digest}&from[]=secret/a"), "UNSUPPORTED"),
        (format!("mount={digest};from=secret/a"), "UNSUPPORTED"),
        ("mount=sha256:short&from=demo/a".to_owned(), "DIGEST_INVALID"),
        ("mount=&from=demo/a".to_owned(), "DIGEST_INVALID"),
        (format!("mount={digest}%26from%3Dsecret/a"), "DIGEST_INVALID"),
    ] {
        let target = format!("/v2/demo/b/blobs/uploads/?{query}");
        let reply = gate.send("POST", &target, Some(READ_WRITE), "", "").await;
        assert_refusal(&reply, 400, code, &query);
        let reply =
            http2(&sender, http2_request("POST", &target, Some(READ_WRITE)), None::<&str>).await;
        assert_refusal(&reply.unwrap(), 400, code, &query);
    }
    assert_eq!((gate.forwarded(), tls.forwarded()), (0, 0));
}

/// Distribution reads `mount` and `from` from a form body before it reads them from the query. The
/// gate therefore refuses a manifest with a form type, and forwards an upload as
/// `application/octet-stream` for any Content-Type.
#[tokio::test]
async fn no_form_reaches_the_registry() {
    let gate = TestGate::plain().await;
    let tls = TestGate::tls().await;
    let sender = tls.http2().await;
    let form = format!("mount={}&from=secret/a", some_digest());
    for kind in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-URLencoded; charset=utf-8",
        "application/x-www-form-urlencoded;",
        "multipart/form-data; boundary=x",
        "MULTIPART/mixed; boundary=x",
    ] {
        let header = format!("Content-Type: {kind}\r\n");
        let twice = format!("Content-Type: text/plain\r\n{header}");
        let manifest = "/v2/demo/a/manifests/v1";
        let before = (gate.forwarded(), tls.forwarded());
        for header in [&header, &twice] {
            let reply = gate.send("PUT", manifest, Some(READ_WRITE), header, &form).await;
            assert_refusal(&reply, 415, "UNSUPPORTED", kind);
        }
        let with_kind = |method, target| {
            let mut request = http2_request(method, target, Some(READ_WRITE));
            request.headers_mut().insert("content-type", kind.parse().unwrap());
            request
        };
        let reply = http2(&sender, with_kind("PUT", manifest), Some(form.clone())).await.unwrap();
        assert_refusal(&reply, 415, "UNSUPPORTED", kind);
        assert_eq!((gate.forwarded(), tls.forwarded()), before);

        for (method, target) in
            [("POST", "/v2/demo/a/blobs/uploads/"), ("PATCH", "/v2/demo/a/blobs/uploads/id")]
        {
            for header in [&header, &twice] {
                gate.send(method, target, Some(READ_WRITE), header, &form).await;
                assert_bytes(&gate, method);
            }
            http2(&sender, with_kind(method, target), Some(form.clone())).await.unwrap();
            assert_bytes(&tls, method);
        }
    }
    assert_eq!((gate.forwarded(), tls.forwarded()), (20, 10));
}

/// Asserts that the last request reached the registry as `application/octet-stream`.
fn assert_bytes(gate: &TestGate, method: &str) {
    let entry = gate.ledger.entries().pop().unwrap();
    assert_eq!(entry.method.as_str(), method);
    let types: Vec<_> = entry.headers.get_all("content-type").iter().collect();
    assert_eq!(types, ["application/octet-stream"]);
}
