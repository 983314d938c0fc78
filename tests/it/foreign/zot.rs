//! zot with bearer authentication.
//!
//! From project-zot/zot, `pkg/api/bearer.go` and `pkg/api/authn.go`: the realm and the service are
//! those of its config, so the token server is on any host; `/v2/` is challenged with `scope=""`; a
//! write is challenged with `repository:NAME:push` alone, and so is DELETE; a token that cannot be
//! read gets 401 without a challenge. From `pkg/api/routes.go`: the `Location` of an upload is the
//! path of the request with the ID, `Range` is `0-0` at first, and the ID is in `Blob-Upload-UUID`;
//! a repository that does not exist is 404 `NAME_UNKNOWN`. Blobs are sent, not redirected.
//! Its token server here is Distribution's, with both members of the reply.

use http::Method;

use super::harness::deletes;
use super::script::{Realm, Script};

fn zot() -> Script {
    Script {
        realm: Realm::Elsewhere("/auth/token"),
        challenge: |asked| {
            let action = match asked.method {
                Method::GET | Method::HEAD => "pull",
                _ => "push",
            };
            let realm = format!("http://{}/auth/token", asked.sites.realm);
            let scope = if asked.name.is_empty() {
                String::new()
            } else {
                format!("repository:{}:{action}", asked.name)
            };
            Some(format!("Bearer realm=\"{realm}\",service=\"myauth\",scope=\"{scope}\""))
        },
        reply: ("application/json", r#"{"token":"TOKEN","access_token":"TOKEN","expires_in":60}"#),
        needs: |asked| match asked.method {
            Method::GET | Method::HEAD => &["pull"],
            _ => &["push"],
        },
        upload: |asked, id, _| format!("/v2/{}/blobs/uploads/{id}", asked.name),
        upload_id: Some("blob-upload-uuid"),
        created: |_, path| path.to_owned(),
        headers: &[],
        ..Script::distribution()
    }
}

super::token_exchanges!(zot);

/// Its challenge to DELETE asks for `push`.
#[tokio::test]
async fn a_delete_has_the_right_to_push() {
    deletes(zot(), &["push"]).await;
}
