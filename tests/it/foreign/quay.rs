//! Quay and quay.io.
//!
//! From quay/quay, `auth/registry_jwt_auth.py` and `endpoints/v2/`: 401 with `Bearer
//! realm="…/v2/auth",service="HOST"`, on `/v2/` without a scope; the token server knows the actions
//! `push`, `pull` and `*` and answers 400 to any other; its reply is `{"token":…}` alone; a
//! repository that does not exist is 401 (`require_repo_read`), whatever the token; deleting needs
//! `push`; uploads and created content have absolute addresses. A blob is 302 with
//! `Docker-Content-Digest` (rpardini/docker-registry-proxy#26), on `cdnNN.quay.io` for quay.io.
//! quay.io once sent the scope without quotes (fluxcd/flux#123).

use http::Method;

use super::harness::{deletes, follows, missing_is_not_found, pushes_and_pulls};
use super::script::{Blob, Missing, Realm, Script, bearer};
use crate::foreign::client::Kind;

fn quay() -> Script {
    Script {
        username: "demo+gate",
        realm: Realm::Here("/v2/auth"),
        challenge: |asked| {
            let realm = format!("http://{}/v2/auth", asked.sites.registry);
            let actions = match asked.method {
                Method::GET | Method::HEAD => "pull",
                _ => "pull,push",
            };
            Some(bearer(&realm, &asked.sites.registry.to_string(), &asked.scope_for(actions)))
        },
        refusal: ("text/html; charset=utf-8", "true"),
        actions: &["pull", "push", "*"],
        needs: |asked| match asked.method {
            Method::GET | Method::HEAD => &["pull"],
            _ => &["pull", "push"],
        },
        missing: Missing::Unauthorized,
        blob: |asked| {
            let digest = asked.rest.rsplit(':').next().unwrap();
            let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&cf_sign=a%2Bb%3D%3D&region=us-east-1";
            let path = format!("/quayio-production-s3/sha256/{}/{digest}", &digest[..2]);
            match asked.method {
                Method::GET => {
                    Blob::Redirect(302, format!("http://{}{path}?{query}", asked.sites.storage))
                }
                _ => Blob::Here,
            }
        },
        upload: |asked, id, _| {
            format!("http://{}/v2/{}/blobs/uploads/{id}", asked.sites.registry, asked.name)
        },
        ..Script::distribution()
    }
}

super::token_exchanges!(quay);

#[tokio::test]
async fn the_gate_follows_redirects() {
    follows(quay()).await;
}

/// Its token server refuses the scope `delete`.
#[tokio::test]
async fn a_delete_has_the_right_to_push() {
    deletes(quay(), &["push"]).await;
}

#[tokio::test]
async fn a_scope_without_quotes_is_read() {
    let unquoted = || Script {
        challenge: |asked| {
            let host = asked.sites.registry;
            let scope = match &*asked.scope() {
                "" => String::new(),
                scope => format!(",scope={scope}"),
            };
            Some(format!("Bearer realm=\"http://{host}/v2/auth\",service=\"{host}\"{scope}"))
        },
        ..quay()
    };
    pushes_and_pulls(unquoted(), Kind::Docker).await;
    missing_is_not_found(unquoted()).await;
}
