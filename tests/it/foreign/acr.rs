//! Azure Container Registry.
//!
//! From azure.github.io/acr, "Azure Container Registry's support of getting Bearer token using
//! Basic Authentication", and learn.microsoft.com, "Access Tokens - Get From Login": `Bearer
//! realm="https://HOST/oauth2/token",service="HOST",scope="repository:NAME:pull"`, and the reply
//! `{"access_token":…}` alone. `/v2/` is challenged without a scope (renovatebot/renovate#14708).
//! The list of tags needs the action `metadata_read` instead of `pull` (Azure/acr#676,
//! argoproj-labs/argocd-image-updater#1502). The `Location` of an upload is relative, with
//! `_nouploadcache` and `_state` (containerd/containerd#2385). A blob is 307 to an address at the
//! blob storage, which answers 400 to an `Authorization` (Azure/acr#217).
//! Not found in a source: the answer for a repository that does not exist; Distribution's here.

use http::Method;

use super::harness::{Foreign, deletes, follows};
use super::script::{Asked, Blob, NAME, Realm, Script, bearer};
use crate::foreign::client::Kind;

fn acr() -> Script {
    Script {
        realm: Realm::Here("/oauth2/token"),
        challenge: |asked| {
            let host = asked.sites.registry.to_string();
            let scope =
                if lists_tags(asked) { asked.scope_for("metadata_read") } else { asked.scope() };
            Some(bearer(&format!("http://{host}/oauth2/token"), &host, &scope))
        },
        reply: ("application/json; charset=utf-8", r#"{"access_token":"TOKEN"}"#),
        actions: &["pull", "push", "delete", "metadata_read", "metadata_write", "*"],
        needs: |asked| match asked.method {
            _ if lists_tags(asked) => &["metadata_read"],
            Method::GET | Method::HEAD => &["pull"],
            Method::DELETE => &["delete"],
            _ => &["pull", "push"],
        },
        blob: |asked| match asked.method {
            Method::GET => {
                let query = "se=2026-11-30T11%3A17%3A13Z&sig=a%2Bb%2F%3D&sp=r&sr=b&sv=2018-03-28";
                let path = format!("/0a1b2c3d4e5f/{}", asked.rest.replace(':', "/"));
                Blob::Redirect(307, format!("http://{}{path}?{query}", asked.sites.storage))
            }
            _ => Blob::Here,
        },
        upload: |asked, id, step| {
            let state = format!("_nouploadcache=false&_state=y4CXAeAQ1WvtVnf-{step}");
            format!("/v2/{}/blobs/uploads/{id}?{state}", asked.name)
        },
        created: |_, path| path.to_owned(),
        ..Script::distribution()
    }
}

fn lists_tags(asked: &Asked) -> bool {
    asked.rest == "tags/list"
}

super::token_exchanges!(acr);

#[tokio::test]
async fn the_gate_follows_redirects() {
    follows(acr()).await;
}

#[tokio::test]
async fn a_delete_has_the_right_to_delete() {
    deletes(acr(), &["delete"]).await;
}

#[tokio::test]
async fn the_list_of_tags_has_the_right_to_read_metadata() {
    let foreign = Foreign::start(acr(), &[]).await;
    for kind in [Kind::Docker, Kind::Containerd] {
        let target = format!("/v2/{NAME}/tags/list");
        let reply = foreign.client(kind).ask("GET", &target, "", "").await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let questions = foreign.registry.questions();
    let last = &questions.last().expect("the token server was never asked").scopes;
    let actions = last[0].rsplit(':').next().unwrap();
    assert!(last.len() == 1 && actions.split(',').any(|action| action == "metadata_read"));
    assert!(actions.split(',').all(|action| ["pull", "metadata_read"].contains(&action)));
    assert!(questions.len() <= 2, "{questions:?}");
}

#[tokio::test]
async fn the_catalog_has_a_scope_of_its_own() {
    let foreign = Foreign::start(acr(), &[]).await;
    let reply = foreign.client(Kind::Docker).ask("GET", "/v2/_catalog", "", "").await;
    assert_eq!((reply.status, &*reply.body), (200, "{\"repositories\":[\"demo/app\"]}"));
    foreign.check(&[&["registry:catalog:*"]]);
}
