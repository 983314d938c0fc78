//! Cloudflare's container registry.
//!
//! From cloudflare/serverless-registry, `src/errors.ts`, `src/router.ts` and `src/registry/r2.ts`:
//! 401 with Basic, whose realm is the URL of the request; the `Location` of an upload is relative,
//! with a `_stateHash` that changes with each chunk and is checked; `Range` and
//! `OCI-Chunk-Min-Length` come with it; 404 `MANIFEST_UNKNOWN` and `BLOB_UNKNOWN`; blobs are sent,
//! not redirected. From cloudflare/cloudflare-docs#28637: the managed registry
//! (`registry.cloudflare.com`) has temporary passwords, for the user name `v1` as public clients
//! send them.
//! Not found in a source: the challenge of the managed registry itself.

use super::harness::deletes;
use super::script::{Missing, Realm, Script};

fn cloudflare() -> Script {
    Script {
        username: "v1",
        realm: Realm::None,
        challenge: |asked| {
            let (host, path) = (asked.sites.registry, &asked.path);
            Some(format!("Basic realm=\"http://{host}{path}\""))
        },
        refusal: (
            "application/json;charset=UTF-8",
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
        ),
        missing: Missing::NotFound("MANIFEST_UNKNOWN"),
        upload: |asked, id, step| {
            let state = format!("{:064x}", step + 0xc10d);
            format!("/v2/{}/blobs/uploads/{id}?_stateHash={state}", asked.name)
        },
        created: |_, path| path.to_owned(),
        headers: &[("oci-chunk-min-length", "5242880")],
        ..Script::distribution()
    }
}

super::exchanges!(cloudflare);

#[tokio::test]
async fn a_delete_has_the_password() {
    deletes(cloudflare(), &[]).await;
}
