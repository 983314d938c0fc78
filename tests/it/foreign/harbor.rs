//! Harbor.
//!
//! From goharbor/harbor, `src/server/middleware/v2auth/auth.go`: a request without `Authorization`
//! is challenged with Bearer, realm `…/service/token` and service `harbor-registry`; the scope of a
//! mount has both repositories in one parameter. A request with any `Authorization` is challenged
//! with `Basic realm="harbor"`, and so is the catalog always, which takes no token
//! (goharbor/harbor#13573). From `src/common/models/token.go`:
//! the token server replies with `token`, `expires_in` and `issued_at`. From the logs in
//! goharbor/harbor#17496: the `_state` of uploads. Harbor's own proxy reports its name to the
//! registry within, which builds absolute addresses (goharbor/harbor#12135).
//! Not found in a source: whether a project that does not exist is 404 or 401 in each version.

use super::harness::{Foreign, deletes};
use super::script::{MISSING, NAME, Realm, Script, bearer};
use crate::foreign::client::Kind;

fn harbor() -> Script {
    Script {
        username: "robot$gate",
        realm: Realm::Here("/service/token"),
        challenge: |asked| {
            let realm = format!("http://{}/service/token", asked.sites.registry);
            let challenge = bearer(&realm, "harbor-registry", &asked.scope());
            let basic = asked.authorized || asked.path == "/v2/_catalog";
            Some(if basic { "Basic realm=\"harbor\"".to_owned() } else { challenge })
        },
        reply: (
            "application/json; charset=utf-8",
            r#"{"token":"TOKEN","expires_in":1800,"issued_at":"2026-11-30T00:00:00Z"}"#,
        ),
        basic_catalog: true,
        ..Script::distribution()
    }
}

super::token_exchanges!(harbor);

#[tokio::test]
async fn a_delete_has_the_right_to_delete() {
    deletes(harbor(), &["delete"]).await;
}

/// The 401 to a token is a Basic challenge. The password must not go to the registry for it.
#[tokio::test]
async fn the_basic_challenge_to_a_token_is_not_answered() {
    let script = Script { missing: super::script::Missing::Unauthorized, ..harbor() };
    let foreign = Foreign::start(script, &[]).await;
    let client = foreign.client(Kind::Docker);
    for name in [MISSING, NAME, MISSING] {
        let reply = client.ask("GET", &format!("/v2/{name}/manifests/v1"), "", "").await;
        assert_eq!(reply.status, 404, "{reply:?}");
    }
    let scopes = [MISSING, NAME].map(|name| format!("repository:{name}:pull"));
    foreign.check(&[&[&scopes[0]], &[&scopes[1]]]);
}

/// The catalog takes Basic alone, whatever the other paths take.
#[tokio::test]
async fn the_catalog_is_asked_for_with_the_password() {
    let foreign = Foreign::start(harbor(), &[]).await;
    let client = foreign.client(Kind::Docker);
    assert_eq!(client.ask("GET", "/v2/demo/app/tags/list", "", "").await.status, 200);
    let reply = client.ask("GET", "/v2/_catalog", "", "").await;
    assert_eq!((reply.status, &*reply.body), (200, "{\"repositories\":[\"demo/app\"]}"));
    assert_eq!(client.ask("GET", "/v2/demo/app/tags/list", "", "").await.status, 200);
    foreign.check_questions(&[&["repository:demo/app:pull"]]);
}
