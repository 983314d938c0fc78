//! The registry: manifests, blobs, lists and the ledger.

use moorgate::demo::registry::{BodyEnd, Registry};
use serde_json::json;

use super::{Api, Reply, listener};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The digest of `hello`.
pub(super) const HELLO: &str =
    "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const NOWHERE: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

pub(super) fn start() -> (Registry, Api) {
    let registry = Registry::start(listener()).unwrap();
    let api = Api::new(registry.address());
    (registry, api)
}

async fn push_blob(api: &Api, name: &str) {
    let reply =
        api.send("POST", &format!("/v2/{name}/blobs/uploads/?digest={HELLO}"), &[], "hello").await;
    assert_eq!(reply.status, 201);
}

async fn push_image(api: &Api, name: &str, reference: &str, extra: serde_json::Value) -> Reply {
    let mut manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE,
        "config": { "mediaType": "application/vnd.test", "digest": HELLO, "size": 5 },
        "layers": [{ "mediaType": "text/plain", "digest": HELLO, "size": 5 }] });
    manifest.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    put_manifest(api, name, reference, IMAGE, &manifest.to_string()).await
}

async fn put_manifest(
    api: &Api,
    name: &str,
    reference: &str,
    content_type: &str,
    content: &str,
) -> Reply {
    let target = format!("/v2/{name}/manifests/{reference}");
    api.send("PUT", &target, &[("content-type", content_type)], content.to_owned()).await
}

#[tokio::test]
async fn the_base_path_answers_and_unknown_paths_are_refused() {
    let (_registry, api) = start();
    let reply = api.get("/v2/").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json(), json!({}));
    assert_eq!(reply.header("docker-distribution-api-version"), "registry/2.0");
    assert_eq!(api.get("/v1/").await.refusal(), (404, "UNSUPPORTED".into()));
    assert_eq!(api.send("POST", "/v2/", &[], "").await.refusal(), (405, "UNSUPPORTED".into()));
    assert_eq!(api.get("/v2/UPPER/tags/list").await.refusal(), (400, "NAME_INVALID".into()));
}

#[tokio::test]
async fn a_manifest_is_read_by_tag_and_by_digest() {
    let (_registry, api) = start();
    push_blob(&api, "demo/app").await;
    let put = push_image(&api, "demo/app", "v1", json!({})).await;
    assert_eq!(put.status, 201);
    let digest = put.header("docker-content-digest").to_owned();
    assert_eq!(put.location(), format!("{}/v2/demo/app/manifests/{digest}", api.base));

    for reference in ["v1", &digest] {
        let target = format!("/v2/demo/app/manifests/{reference}");
        let (get, head) = (api.get(&target).await, api.send("HEAD", &target, &[], "").await);
        assert_eq!((get.status.as_u16(), head.status.as_u16()), (200, 200));
        for reply in [&get, &head] {
            assert_eq!(reply.header("content-type"), IMAGE);
            assert_eq!(reply.header("docker-content-digest"), digest);
            assert_eq!(reply.header("content-length"), get.body.len().to_string());
        }
        assert!(head.body.is_empty());
    }
    assert_eq!(
        api.get("/v2/demo/app/manifests/v2").await.refusal(),
        (404, "MANIFEST_UNKNOWN".into())
    );
    assert_eq!(
        api.get("/v2/demo/other/manifests/v1").await.refusal(),
        (404, "MANIFEST_UNKNOWN".into())
    );
}

#[tokio::test]
async fn an_invalid_manifest_is_refused() {
    let (_registry, api) = start();
    assert_eq!(
        put_manifest(&api, "a", "v1", IMAGE, "no json").await.refusal(),
        (400, "MANIFEST_INVALID".into())
    );
    assert_eq!(
        put_manifest(&api, "a", NOWHERE, IMAGE, "{}").await.refusal(),
        (400, "DIGEST_INVALID".into())
    );
    assert_eq!(
        push_image(&api, "a", "v1", json!({})).await.refusal(),
        (400, "MANIFEST_BLOB_UNKNOWN".into())
    );
    let index = json!({ "schemaVersion": 2, "manifests": [{ "digest": NOWHERE }] }).to_string();
    assert_eq!(
        put_manifest(&api, "a", "v1", INDEX, &index).await.refusal(),
        (400, "MANIFEST_BLOB_UNKNOWN".into())
    );
    let large = " ".repeat(4 * 1024 * 1024 + 1);
    assert_eq!(
        put_manifest(&api, "a", "v1", IMAGE, &large).await.refusal(),
        (413, "MANIFEST_INVALID".into())
    );
    assert_eq!(api.get("/v2/a/tags/list").await.refusal(), (404, "NAME_UNKNOWN".into()));
}

#[tokio::test]
async fn a_manifest_put_by_digest_may_set_several_tags() {
    let (_registry, api) = start();
    push_blob(&api, "a").await;
    let digest =
        push_image(&api, "a", "v1", json!({})).await.header("docker-content-digest").to_owned();
    let put = push_image(&api, "a", &format!("{digest}?tag=x&tag=y"), json!({})).await;
    assert_eq!(put.status, 201);
    assert_eq!(put.headers.get_all("oci-tag").iter().collect::<Vec<_>>(), ["x", "y"]);
    assert_eq!(
        api.get("/v2/a/tags/list").await.json(),
        json!({ "name": "a", "tags": ["v1", "x", "y"] })
    );
    let bad = push_image(&api, "a", &format!("{digest}?tag=-"), json!({})).await;
    assert_eq!(bad.refusal(), (400, "MANIFEST_INVALID".into()));
}

#[tokio::test]
async fn manifests_are_deleted_by_tag_and_by_digest() {
    let (_registry, api) = start();
    push_blob(&api, "a").await;
    let digest =
        push_image(&api, "a", "v1", json!({})).await.header("docker-content-digest").to_owned();
    push_image(&api, "a", "v2", json!({})).await;

    let by_digest = format!("/v2/a/manifests/{digest}");
    assert_eq!(api.send("DELETE", "/v2/a/manifests/v1", &[], "").await.status, 202);
    assert_eq!(api.get(&by_digest).await.status, 200);
    assert_eq!(api.get("/v2/a/manifests/v1").await.status, 404);
    assert_eq!(api.send("DELETE", &by_digest, &[], "").await.status, 202);
    assert_eq!(api.get("/v2/a/manifests/v2").await.status, 404);
    assert_eq!(
        api.send("DELETE", &by_digest, &[], "").await.refusal(),
        (404, "MANIFEST_UNKNOWN".into())
    );
}

#[tokio::test]
async fn lists_come_in_pages() {
    let (_registry, api) = start();
    for name in ["b/two", "a", "c"] {
        push_blob(&api, name).await;
        push_image(&api, name, "v2", json!({})).await;
        push_image(&api, name, "v1", json!({})).await;
    }
    push_blob(&api, "blobs-alone").await;

    assert_eq!(
        api.get("/v2/_catalog").await.json(),
        json!({ "repositories": ["a", "b/two", "c"] })
    );
    let page = api.get("/v2/_catalog?n=2").await;
    assert_eq!(page.json(), json!({ "repositories": ["a", "b/two"] }));
    assert_eq!(page.header("link"), "</v2/_catalog?last=b/two&n=2>; rel=\"next\"");
    let page = api.get("/v2/_catalog?last=b/two&n=2").await;
    assert_eq!(page.json(), json!({ "repositories": ["c"] }));
    assert!(page.headers.get("link").is_none());

    let page = api.get("/v2/a/tags/list?n=1").await;
    assert_eq!(page.json(), json!({ "name": "a", "tags": ["v1"] }));
    assert_eq!(page.header("link"), "</v2/a/tags/list?last=v1&n=1>; rel=\"next\"");
    assert_eq!(
        api.get("/v2/a/tags/list?last=v1").await.json(),
        json!({ "name": "a", "tags": ["v2"] })
    );
    assert_eq!(api.get("/v2/a/tags/list?n=x").await.status, 400);
}

#[tokio::test]
async fn referrers_are_found_by_subject() {
    let (_registry, api) = start();
    push_blob(&api, "a").await;
    let image =
        push_image(&api, "a", "v1", json!({})).await.header("docker-content-digest").to_owned();
    let subject = json!({
        "subject": { "mediaType": IMAGE, "digest": image, "size": 1 },
        "annotations": { "k": "v" },
    });
    let put = push_image(&api, "a", "signature", subject).await;
    assert_eq!(put.header("oci-subject"), image);

    let reply = api.get(&format!("/v2/a/referrers/{image}")).await;
    assert_eq!(reply.header("content-type"), INDEX);
    let found = reply.json()["manifests"][0].clone();
    assert_eq!(found["digest"], put.header("docker-content-digest"));
    assert_eq!(found["artifactType"], "application/vnd.test");
    assert_eq!(found["annotations"], json!({ "k": "v" }));
    assert!(reply.headers.get("oci-filters-applied").is_none());

    let filtered = api.get(&format!("/v2/a/referrers/{image}?artifactType=other/type")).await;
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    assert_eq!(filtered.json()["manifests"], json!([]));
    let of_nothing = api.get(&format!("/v2/b/referrers/{NOWHERE}")).await;
    assert_eq!(
        (of_nothing.status.as_u16(), of_nothing.json()["manifests"].clone()),
        (200, json!([]))
    );
}

#[tokio::test]
async fn blobs_are_read_in_whole_and_in_part() {
    let (_registry, api) = start();
    push_blob(&api, "a").await;
    let target = format!("/v2/a/blobs/{HELLO}");

    let whole = api.get(&target).await;
    assert_eq!((whole.status.as_u16(), &*whole.body), (200, &b"hello"[..]));
    assert_eq!(whole.header("docker-content-digest"), HELLO);
    let head = api.send("HEAD", &target, &[], "").await;
    assert_eq!((head.header("content-length"), head.body.len()), ("5", 0));

    let part = api.send("GET", &target, &[("range", "bytes=1-3")], "").await;
    assert_eq!((part.status.as_u16(), &*part.body), (206, &b"ell"[..]));
    assert_eq!(part.header("content-range"), "bytes 1-3/5");
    let behind = api.send("GET", &target, &[("range", "bytes=5-")], "").await;
    assert_eq!((behind.status.as_u16(), behind.header("content-range")), (416, "bytes */5"));
    let several = api.send("GET", &target, &[("range", "bytes=0-0,2-2")], "").await;
    assert_eq!((several.status.as_u16(), &*several.body), (200, &b"hello"[..]));
}

#[tokio::test]
async fn a_blob_is_known_where_it_was_pushed_or_mounted() {
    let (_registry, api) = start();
    push_blob(&api, "a").await;
    let in_b = format!("/v2/b/blobs/{HELLO}");
    assert_eq!(api.get(&in_b).await.refusal(), (404, "BLOB_UNKNOWN".into()));

    // A mount from a repository without the blob starts a plain upload.
    let not_there =
        api.send("POST", &format!("/v2/b/blobs/uploads/?mount={HELLO}&from=c"), &[], "").await;
    assert_eq!(not_there.status, 202);
    let mounted =
        api.send("POST", &format!("/v2/b/blobs/uploads/?mount={HELLO}&from=a"), &[], "").await;
    assert_eq!(mounted.status, 201);
    assert_eq!(mounted.location(), format!("{}{in_b}", api.base));

    assert_eq!(api.send("DELETE", &format!("/v2/a/blobs/{HELLO}"), &[], "").await.status, 202);
    assert_eq!(
        api.send("DELETE", &format!("/v2/a/blobs/{HELLO}"), &[], "").await.refusal(),
        (404, "BLOB_UNKNOWN".into())
    );
    assert_eq!(api.get(&in_b).await.body, "hello");
    assert_eq!(api.send("DELETE", &in_b, &[], "").await.status, 202);
    assert_eq!(api.get(&in_b).await.status, 404);
}

#[tokio::test]
async fn the_ledger_keeps_requests_as_they_arrived() {
    let (registry, api) = start();
    api.get("/v2/?before").await;
    let ledger = registry.ledger();
    ledger.keep();
    api.send(
        "POST",
        &format!("/v2/a/blobs/uploads/?digest={HELLO}&x=%2e"),
        &[("x-test", "1")],
        "hello",
    )
    .await;
    api.get("/v2//odd;path?a=%3D&=").await;

    let entries = ledger.entries();
    assert_eq!(ledger.count(), 2);
    assert_eq!(entries[0].method, "POST");
    assert_eq!(entries[0].target, format!("/v2/a/blobs/uploads/?digest={HELLO}&x=%2e"));
    assert_eq!(entries[0].headers["x-test"], "1");
    assert_eq!((entries[0].body().bytes, entries[0].body().end), (5, BodyEnd::Complete));
    assert_eq!(entries[1].target, "/v2//odd;path?a=%3D&=");
    assert_eq!((entries[1].body().bytes, entries[1].body().end), (0, BodyEnd::Complete));
}
