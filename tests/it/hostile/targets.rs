//! Class 1: the gate refuses every spelling of a target but the canonical one.

use super::{assert_refusal, http2, http2_request, is_refused};
use crate::harness::{READ_WRITE, TestGate, digest_of, request, some_digest};

/// Returns targets that are not valid operations, each with its method and the status and code of
/// the refusal.
fn cases() -> Vec<(&'static str, String, u16, &'static str)> {
    let mut cases = Vec::new();
    let mut add = |method, status, code, targets: &[&str]| {
        cases.extend(targets.iter().map(|target| (method, (*target).to_owned(), status, code)));
    };
    add(
        "GET",
        400,
        "NAME_INVALID",
        &[
            "/v2/demo/../other/manifests/v1",
            "/v2/demo/./a/manifests/v1",
            "/v2/../v2/demo/a/manifests/v1",
            "/v2/demo/%2e%2e/other/manifests/v1",
            "/v2/demo/%2E./other/manifests/v1",
            "/v2/demo%2Fa/manifests/v1",
            "/v2/demo%2fa/tags/list",
            "/v2/demo%5Ca/manifests/v1",
            "/v2/demo\\a/manifests/v1",
            "/v2/demo/a%00/manifests/v1",
            "/v2/demo/a;x=1/manifests/v1",
            "/v2/demo;/a/manifests/v1",
            "/v2/demo/%61/manifests/v1",
            "/v2/demo/A/manifests/v1",
            "/v2/Demo/a/manifests/v1",
            "/v2/demo/a/manifests/v1/",
            "/v2/demo/a/manifests//v1/x",
            "/v2/demo/a/tags/list/",
            "/v2/demo/a/tags%2Flist",
            "/v2/demo/a/Manifests/v1",
            "/v2//manifests/v1",
            "/v2//tags/list",
            "/v2/demo:a/manifests/v1",
            "/v2/demo@a/manifests/v1",
            "/v2/https://other/a/manifests/v1",
            "/v2/demo/a+/manifests/v1",
        ],
    );
    let long = format!("/v2/demo/{}/manifests/v1", "a".repeat(251));
    add("GET", 400, "NAME_INVALID", &[&long]);
    add(
        "GET",
        400,
        "MANIFEST_INVALID",
        &[
            "/v2/demo/a/manifests/",
            "/v2/demo/a/manifests/..",
            "/v2/demo/a/manifests/.",
            "/v2/demo/a/manifests/%2e%2e",
            "/v2/demo/a/manifests/%76%31",
            "/v2/demo/a/manifests/v1%2f..%2f..",
            "/v2/demo/a/manifests/v1;x",
            "/v2/demo/a/manifests/v1%00",
            "/v2/demo/a/manifests/v1%20",
            "/v2/demo/a/manifests/v1%23",
            "/v2/demo/a/manifests/v1%3Fx",
            "/v2/demo/a/manifests/-v1",
            "/v2/demo/a/manifests/sha256:short",
        ],
    );
    let digest = some_digest();
    let upper = digest.to_uppercase().replace("SHA256", "sha256");
    let algorithm = digest.replace("sha256", "SHA256");
    let longer = format!("{digest}a");
    let twice = digest.replace(':', "%253A");
    for odd in [&*upper, &*algorithm, &*twice, &*longer, "", "..", "sha256:", "sha256"] {
        add("GET", 400, "DIGEST_INVALID", &[&format!("/v2/demo/a/blobs/{odd}")]);
        add("GET", 400, "DIGEST_INVALID", &[&format!("/v2/demo/a/referrers/{odd}")]);
    }
    for odd in ["..", ".", "%2e%2e", "a%2Fb", "a;b", "a%25b", "a%00"] {
        add(
            "PATCH",
            400,
            "BLOB_UPLOAD_INVALID",
            &[&format!("/v2/demo/a/blobs/uploads/{odd}?_state=x")],
        );
    }
    add(
        "PUT",
        400,
        "DIGEST_INVALID",
        &[
            &format!("/v2/demo/a/blobs/uploads/id?digest={upper}"),
            "/v2/demo/a/blobs/uploads/id?digest=",
        ],
    );
    let odd_keys = [
        "%66rom",
        "From",
        "FROM",
        "+from",
        "from%20",
        "from+",
        "from%09",
        "from%00",
        "dige%C5%BFt",
        "D%69gest",
        "digest[]",
        "%2566rom",
        "Mount",
        "tag%20",
        "NS",
        "n%73",
        "Digest-Algorithm",
        "digest%2Dalgorithm",
    ];
    for key in odd_keys {
        add(
            "PATCH",
            400,
            "UNSUPPORTED",
            &[&format!("/v2/demo/a/blobs/uploads/id?_state=x&{key}=y")],
        );
        add("POST", 400, "UNSUPPORTED", &[&format!("/v2/demo/a/blobs/uploads/?{key}=y")]);
        add("PUT", 400, "UNSUPPORTED", &[&format!("/v2/demo/a/manifests/v1?{key}")]);
        add("DELETE", 400, "UNSUPPORTED", &[&format!("/v2/demo/a/blobs/{digest}?{key}=y")]);
        add(
            "GET",
            400,
            "UNSUPPORTED",
            &[&format!("/v2/demo/a/tags/list?x=1&{key}=y"), &format!("/v2/?{key}")],
        );
    }
    add(
        "PATCH",
        400,
        "UNSUPPORTED",
        &["/v2/demo/a/blobs/uploads/id?_state=a;b", "/v2/demo/a/blobs/uploads/id?x=a%4"],
    );
    add("GET", 400, "UNSUPPORTED", &["/v2/?;", "/v2/demo/a/manifests/v1?a=b;from=c"]);
    add("POST", 400, "UNSUPPORTED", &["/v2/demo/a/blobs/uploads/?x=1;from=demo/b"]);
    add(
        "POST",
        400,
        "DIGEST_INVALID",
        &[
            "/v2/demo/a/blobs/uploads/?digest-algorithm=sha256:",
            "/v2/demo/a/blobs/uploads/?digest-algorithm=SHA",
        ],
    );
    add(
        "GET",
        400,
        "PAGINATION_NUMBER_INVALID",
        &[
            "/v2/demo/a/tags/list?n=-1",
            "/v2/demo/a/tags/list?n=%2B1",
            "/v2/demo/a/tags/list?n=4294967296",
        ],
    );
    add(
        "GET",
        400,
        "UNSUPPORTED",
        &[
            "/v2/demo/a/tags/list?n=1&n=2",
            "/v2/demo/a/tags/list?n=1&%6e=2",
            "/v2/demo/a/tags/list?last=%00",
            "/v2/demo/a/tags/list?last=%0d%0aX",
            "/v2/demo/a/tags/list?last=%ff",
            "/v2/demo/a/tags/list?last=%zz",
            "/v2/demo/a/tags/list?last=%4",
            "/v2/demo/a/tags/list?%zz=1",
        ],
    );
    add(
        "GET",
        404,
        "UNSUPPORTED",
        &[
            "/V2/demo/a/manifests/v1",
            "/%76%32/demo/a/manifests/v1",
            "/v2/demo/a%2Fmanifests%2Fv1",
            "/x/../v2/demo/a/tags/list",
        ],
    );
    cases
}

#[tokio::test]
async fn odd_spellings_are_refused() {
    let gate = TestGate::plain().await;
    for (method, target, status, code) in cases() {
        let reply = gate.send(method, &target, Some(READ_WRITE), "", "").await;
        assert_refusal(&reply, status, code, &target);
    }
    assert_eq!(gate.forwarded(), 0);
}

#[tokio::test]
async fn odd_spellings_are_refused_over_http2() {
    let gate = TestGate::tls().await;
    let sender = gate.http2().await;
    for (method, target, status, code) in cases() {
        let reply =
            http2(&sender, http2_request(method, &target, Some(READ_WRITE)), None::<&str>).await;
        assert_refusal(&reply.unwrap(), status, code, &target);
    }
    assert_eq!(gate.forwarded(), 0);
}

/// Every byte value in the middle of a name is refused, except those of the grammar.
#[tokio::test]
async fn a_name_with_a_byte_outside_the_grammar_is_refused() {
    let gate = TestGate::plain().await;
    for byte in 0..=255 {
        let mut bytes =
            request("GET", "/v2/demo/a*b/manifests/v1", Some(READ_WRITE), "", "").into_bytes();
        let at = bytes.iter().position(|byte| *byte == b'*').unwrap();
        bytes[at] = byte;
        let before = gate.forwarded();
        let answer = gate.raw(&bytes).await;
        if matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/') {
            let entries = gate.ledger.entries();
            assert_eq!(entries.len(), before + 1, "{byte}");
            assert_eq!(
                entries[before].target,
                format!("/v2/demo/a{}b/manifests/v1", char::from(byte))
            );
        } else {
            assert!(is_refused(&answer), "{byte}: {answer}");
            assert_eq!(gate.forwarded(), before, "{byte}");
        }
    }
}

/// RFC 9112 does not allow a fragment in a target. hyper removes it; the gate must not forward it.
#[tokio::test]
async fn a_fragment_is_never_forwarded() {
    let gate = TestGate::plain().await;
    for (target, rendered) in [
        ("/v2/demo/a/manifests/v1#/../other", Some("/v2/demo/a/manifests/v1")),
        ("/v2/demo/a/tags/list?n=1#&last=x", Some("/v2/demo/a/tags/list?n=1")),
        ("/v2/demo/a/#/manifests/v1", None),
    ] {
        let before = gate.forwarded();
        let reply = gate.get(target, Some(READ_WRITE)).await;
        let entries = gate.ledger.entries();
        let forwarded: Vec<_> =
            entries[before..].iter().map(|entry| entry.target.as_str()).collect();
        assert_eq!(forwarded, Vec::from_iter(rendered), "{target}");
        assert_eq!(reply.status, if rendered.is_some() { 404 } else { 400 }, "{target}");
    }
}

/// The registry may have to look up each tag separately, so the gate limits the number of tags in
/// one request.
#[tokio::test]
async fn one_request_writes_64_tags_at_most() {
    let gate = TestGate::plain().await;
    for (tags, status) in [(64, 201), (65, 400)] {
        let manifest = "{\"schemaVersion\":2}";
        let query: Vec<_> = (0..tags).map(|number| format!("tag=v{number}")).collect();
        let target =
            format!("/v2/demo/a/manifests/{}?{}", digest_of(manifest.as_bytes()), query.join("&"));
        let headers = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
        let reply = gate.send("PUT", &target, Some(READ_WRITE), headers, manifest).await;
        assert_eq!(reply.status, status, "{reply:?}");
    }
    assert_eq!(gate.forwarded(), 1);
}
