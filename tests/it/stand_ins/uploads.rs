//! The registry: uploads.

use std::sync::Arc;

use moorgate::demo::registry::{BodyEnd, Received, ReceivedBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::registry::{HELLO, start};
use super::{Api, Reply};

async fn begin(api: &Api) -> String {
    let reply = api.send("POST", "/v2/a/blobs/uploads/", &[], "").await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.header("range"), "0-0");
    assert!(reply.location().contains(reply.header("docker-upload-uuid")));
    reply.location().to_owned()
}

fn body(bytes: u64, end: BodyEnd) -> ReceivedBody {
    ReceivedBody { bytes, end }
}

async fn blob(api: &Api) -> Reply {
    api.get(&format!("/v2/a/blobs/{HELLO}")).await
}

#[tokio::test]
async fn an_upload_in_chunks_makes_a_blob() {
    let (_registry, api) = start();
    let location = begin(&api).await;
    let first = api.send("PATCH", &location, &[("content-range", "0-1")], "he").await;
    assert_eq!((first.status.as_u16(), first.header("range")), (202, "0-1"));
    let second = api.send("PATCH", first.location(), &[], "ll").await;
    assert_eq!(second.header("range"), "0-3");
    let status = api.get(second.location()).await;
    assert_eq!((status.status.as_u16(), status.header("range")), (204, "0-3"));

    let finish = format!("{}&digest={HELLO}", status.location());
    let done = api.send("PUT", &finish, &[("content-range", "4-4")], "o").await;
    assert_eq!(done.status, 201);
    assert_eq!(done.location(), format!("{}/v2/a/blobs/{HELLO}", api.base));
    assert_eq!(done.header("docker-content-digest"), HELLO);
    assert_eq!(blob(&api).await.body, "hello");
    assert_eq!(api.get(&location).await.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".into()));
}

#[tokio::test]
async fn an_upload_in_one_put_works_with_sha256_and_sha512() {
    let sha512 = "sha512:\
                  9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca7\
                  2323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043";
    let (_registry, api) = start();
    for digest in [HELLO, sha512] {
        let location = begin(&api).await;
        assert_eq!(
            api.send("PUT", &format!("{location}&digest={digest}"), &[], "hello").await.status,
            201
        );
        assert_eq!(api.get(&format!("/v2/a/blobs/{digest}")).await.body, "hello");
    }
}

#[tokio::test]
async fn content_that_does_not_match_its_digest_is_refused() {
    let (_registry, api) = start();
    let location = begin(&api).await;
    let other = api.send("PUT", &format!("{location}&digest={HELLO}"), &[], "jello").await;
    assert_eq!(other.refusal(), (400, "DIGEST_INVALID".into()));
    let at_once =
        api.send("POST", &format!("/v2/a/blobs/uploads/?digest={HELLO}"), &[], "jello").await;
    assert_eq!(at_once.refusal(), (400, "DIGEST_INVALID".into()));
    let none = api.send("PUT", &begin(&api).await, &[], "hello").await;
    assert_eq!(none.refusal(), (400, "DIGEST_INVALID".into()));
    assert_eq!(blob(&api).await.status, 404);
}

#[tokio::test]
async fn a_chunk_in_the_wrong_place_is_refused() {
    let (_registry, api) = start();
    let location = begin(&api).await;
    api.send("PATCH", &location, &[], "he").await;
    for range in ["0-1", "3-4"] {
        let wrong = api.send("PATCH", &location, &[("content-range", range)], "ll").await;
        assert_eq!(wrong.refusal(), (416, "BLOB_UPLOAD_INVALID".into()));
        assert_eq!(wrong.header("range"), "0-1");
    }
    let short = api.send("PATCH", &location, &[("content-range", "2-9")], "ll").await;
    assert_eq!(short.refusal(), (400, "SIZE_INVALID".into()));
    let nonsense = api.send("PATCH", &location, &[("content-range", "x")], "ll").await;
    assert_eq!(nonsense.refusal(), (400, "BLOB_UPLOAD_INVALID".into()));
    assert_eq!(api.get(&location).await.header("range"), "0-1");
    assert_eq!(
        api.send("PUT", &format!("{location}&digest={HELLO}"), &[], "llo").await.status,
        201
    );
}

#[tokio::test]
async fn a_cancelled_upload_is_gone() {
    let (_registry, api) = start();
    let location = begin(&api).await;
    assert_eq!(api.send("DELETE", &location, &[], "").await.status, 204);
    assert_eq!(
        api.send("PATCH", &location, &[], "x").await.refusal(),
        (404, "BLOB_UPLOAD_UNKNOWN".into())
    );
}

#[tokio::test]
async fn the_upload_state_must_come_back_unchanged_to_its_repository() {
    let (_registry, api) = start();
    let location = begin(&api).await;
    let (path, state) = location.split_once("?_state=").unwrap();
    for wrong in [
        path.to_owned(),
        format!("{path}?_state="),
        format!("{path}?_state=x{state}"),
        // In order: an escape that is escaped again, one that is resolved and not escaped again,
        // and a plus that became a space.
        format!("{path}?_state={}", state.replace('%', "%25")),
        format!("{path}?_state={}", state.replace("%253D", "%3D")),
        format!("{path}?_state={}", state.replace("%2B", "+")),
    ] {
        assert_ne!(wrong, location);
        assert_eq!(api.get(&wrong).await.refusal(), (400, "BLOB_UPLOAD_INVALID".into()), "{wrong}");
    }
    let elsewhere = location.replace("/v2/a/", "/v2/b/");
    assert_eq!(api.get(&elsewhere).await.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".into()));
    // Clients escape a query in their own way, and the value is the same.
    assert_eq!(api.get(&location.replace('~', "%7E").replace("%2F", "/")).await.status, 204);
}

#[tokio::test]
async fn locations_use_the_forwarded_scheme_and_host() {
    let (_registry, api) = start();
    let headers =
        [("x-forwarded-proto", "https"), ("x-forwarded-host", "registry.example.com:8443")];
    let reply = api.send("POST", "/v2/a/blobs/uploads/", &headers, "").await;
    assert!(
        reply.location().starts_with("https://registry.example.com:8443/v2/a/blobs/uploads/"),
        "{reply:?}"
    );
}

#[tokio::test]
async fn a_broken_chunk_counts_for_nothing() {
    let (registry, api) = start();
    let ledger = registry.ledger();
    let location = begin(&api).await;
    api.send("PATCH", &location, &[], "he").await;
    ledger.keep();

    let target = location.strip_prefix(&api.base).unwrap();
    for framing in [
        "content-length: 100\r\n\r\nXXXXXXXX",
        "transfer-encoding: chunked\r\n\r\n8\r\nXXXXXXXX\r\n",
    ] {
        let mut connection = TcpStream::connect(registry.address()).await.unwrap();
        let head = format!("PATCH {target} HTTP/1.1\r\nhost: localhost\r\n{framing}");
        connection.write_all(head.as_bytes()).await.unwrap();
        let last_is = |end| {
            move |entries: &[Arc<Received>]| {
                entries.last().map(|entry| entry.body()) == Some(body(8, end))
            }
        };
        ledger.wait_until(last_is(BodyEnd::Open)).await;
        drop(connection);
        ledger.wait_until(last_is(BodyEnd::Broken)).await;
    }

    assert_eq!(api.get(&location).await.header("range"), "0-1");
    assert_eq!(
        api.send("PUT", &format!("{location}&digest={HELLO}"), &[], "llo").await.status,
        201
    );
    assert_eq!(blob(&api).await.body, "hello");
}

#[tokio::test]
async fn a_broken_put_makes_no_blob() {
    let (registry, api) = start();
    let ledger = registry.ledger();
    ledger.keep();
    let location = begin(&api).await;
    let target = location.strip_prefix(&api.base).unwrap();
    let mut connection = TcpStream::connect(registry.address()).await.unwrap();
    let head = format!(
        "PUT {target}&digest={HELLO} HTTP/1.1\r\nhost: localhost\r\n\
         transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    ledger.wait_until(|entries| entries.iter().any(|entry| entry.body().bytes == 5)).await;
    drop(connection);
    ledger
        .wait_until(|entries| entries.iter().any(|entry| entry.body().end == BodyEnd::Broken))
        .await;
    assert_eq!(blob(&api).await.status, 404);
}

#[tokio::test]
async fn large_content_streams_through() {
    let (_registry, api) = start();
    let content = vec![7; 5_000_000];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let location = begin(&api).await;
    let done =
        api.send("PUT", &format!("{location}&digest=sha256:{hex}"), &[], content.clone()).await;
    assert_eq!(done.status, 201);
    assert!(api.get(&format!("/v2/a/blobs/sha256:{hex}")).await.body == content);
}

#[tokio::test]
async fn a_shut_down_registry_closes_its_connections() {
    let (registry, _) = start();
    let address = registry.address();
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(b"GET /v2/ HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert!(connection.read(&mut [0; 16]).await.unwrap() > 0);
    registry.shutdown().await;
    let mut rest = Vec::new();
    // The connection ends or is reset. In both cases the registry is gone.
    let _ = connection.read_to_end(&mut rest).await;
    assert!(TcpStream::connect(address).await.is_err());
}
