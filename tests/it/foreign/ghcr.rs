//! GitHub's container registry, ghcr.io.
//!
//! `Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:user/image:pull"` (as
//! renovatebot/renovate quotes it). The token server answers 403 `DENIED` for an image that is
//! missing or forbidden (sigstore/scaffolding#127, coollabsio/coolify#5575), and text/plain as the
//! media type of its JSON (spring-attic/spring-cloud-dataflow#4653). The `Location` of an upload is
//! relative, below `/v2/NAME/blobs/upload/`, in the singular (hpc/charliecloud#1501,
//! dotnet/sdk-container-builds#292). A blob is 307 (containerd/stargz-snapshotter#167) to
//! `pkg-containers.githubusercontent.com`.
//!
//! The gate passes on a 403 of the token server as 502, for an image that is missing too: the same
//! answer would mean that the gate's own account is refused.
//! Not found in a source: members of the reply beside `token`, and the `Location` after PATCH.

use http::Method;

use super::harness::{deletes, follows};
use super::script::{Blob, Missing, Realm, Script, bearer};

fn ghcr() -> Script {
    Script {
        realm: Realm::Here("/token"),
        challenge: |asked| {
            let realm = format!("http://{}/token", asked.sites.registry);
            Some(bearer(&realm, "ghcr.io", &asked.scope()))
        },
        reply: ("text/plain; charset=utf-8", r#"{"token":"TOKEN"}"#),
        missing: Missing::RealmForbids,
        blob: |asked| match asked.method {
            Method::GET => {
                let query = "se=2026-11-30T00%3A05%3A00Z&sig=q%2Fw%3D&sp=r&hmac=0a1b2c";
                let path = format!("/ghcrblobs01/{}", asked.rest);
                Blob::Redirect(307, format!("http://{}{path}?{query}", asked.sites.storage))
            }
            _ => Blob::Here,
        },
        upload: |asked, id, _| format!("/v2/{}/blobs/upload/{id}", asked.name),
        created: |_, path| path.to_owned(),
        ..Script::distribution()
    }
}

super::forbidding_exchanges!(ghcr);

#[tokio::test]
async fn the_gate_follows_redirects() {
    follows(ghcr()).await;
}

#[tokio::test]
async fn a_delete_has_the_right_to_delete() {
    deletes(ghcr(), &["delete"]).await;
}
