//! The media type of a client's body. Distribution reads `mount` and `from` from a form, so a body
//! that it takes for a form would be a mount that the gate has not checked.

use crate::harness::{READ_WRITE, TestGate, basic, exchange};

/// Media types that a registry may read as a form: Go trims Unicode white space and lowers Unicode
/// letters before it compares media types.
const FORMS: [&[u8]; 12] = [
    b"application/x-www-form-urlencoded",
    b"APPLICATION/X-WWW-FORM-URLENCODED; charset=utf-8",
    b" application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=b",
    b"multipart/mixed",
    b"\xc2\xa0application/x-www-form-urlencoded",
    b"\xc2\x85application/x-www-form-urlencoded",
    b"\xe3\x80\x80application/x-www-form-urlencoded",
    b"appl\xc4\xb0cation/x-www-form-urlencoded",
    b"\xc2\xa0multipart/form-data; boundary=b",
    b"application/x-www-form-urlencoded\xc2\xa0; a=b",
    b"application/x-www-form-urlencoded , text/plain",
];

fn post(media_types: &[&[u8]], target: &str) -> Vec<u8> {
    let mut request = format!("POST {target} HTTP/1.1\r\nHost: registry.test\r\n").into_bytes();
    request.extend_from_slice(
        format!("Authorization: {}\r\nContent-Length: 9\r\n", basic(READ_WRITE)).as_bytes(),
    );
    for media_type in media_types {
        request.extend_from_slice(b"Content-Type: ");
        request.extend_from_slice(media_type);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\nmount=x&y");
    request
}

/// A form as the body of a manifest is refused, because a manifest is forwarded with the client's
/// media type.
#[tokio::test]
async fn nothing_that_reads_as_a_form_is_forwarded() {
    let gate = TestGate::plain().await;
    let put = |types: &[&[u8]]| {
        let request = post(types, "/v2/demo/a/manifests/v1");
        [b"PUT", &request[4..]].concat()
    };
    for form in FORMS {
        let reply = exchange(&mut gate.connect().await, put(&[form])).await;
        assert_eq!(reply.status, 415, "{}", String::from_utf8_lossy(form));
    }
    let two: [&[u8]; 2] = [b"application/octet-stream", b"application/x-www-form-urlencoded"];
    assert_eq!(exchange(&mut gate.connect().await, put(&two)).await.status, 415);
    assert_eq!(gate.forwarded(), 0);
}

/// The gate does not forward the client's media type for an upload.
#[tokio::test]
async fn uploads_are_forwarded_as_octet_stream_and_manifests_keep_their_type() {
    let gate = TestGate::plain().await;
    let odd: [&[&[u8]]; 5] =
        [&[], &[b"text/plain"], &[b""], &[b"odd"], &[b"text/plain", b"multipart/mixed"]];
    for media_types in odd.into_iter().map(Vec::from).chain(FORMS.map(|form| vec![form])) {
        assert_eq!(
            exchange(&mut gate.connect().await, post(&media_types, "/v2/demo/a/blobs/uploads/"))
                .await
                .status,
            202
        );
        assert_eq!(
            gate.ledger.entries().last().unwrap().headers["content-type"],
            "application/octet-stream"
        );
    }
    let manifest = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
    gate.send("PUT", "/v2/demo/a/manifests/v1", Some(READ_WRITE), manifest, "{}").await;
    let received = gate.ledger.entries().pop().unwrap();
    assert_eq!(received.headers["content-type"], "application/vnd.oci.image.manifest.v1+json");
}
