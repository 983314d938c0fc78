//! Docker Hub.
//!
//! From distribution/distribution#1589, docker/docs#11662 and jupyterhub/binderhub#993: `Bearer
//! realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:NAME:pull"`,
//! so the token server is on another host; the reply has `token`, `expires_in` (300) and
//! `issued_at`. From docker-archive/docker-registry#1071: what does not exist is 401 with
//! `error="insufficient_scope"`, to a token that was issued for it. From
//! opencontainers/distribution-spec#299: a blob is 307 to the CDN
//! (`production.cloudflare.docker.com`). From docker/hub-feedback#2215: several `scope` parameters
//! are taken.
//! Not found in a source: the answer to HEAD of a blob; a redirect here, as Distribution does it.

use super::harness::{ANONYMOUS, Foreign, follows};
use super::script::{Blob, MISSING, Missing, NAME, Realm, Script, bearer};
use crate::foreign::client::Kind;

fn docker_hub() -> Script {
    Script {
        realm: Realm::Elsewhere("/token"),
        challenge: |asked| {
            let realm = format!("http://{}/token", asked.sites.realm);
            let challenge = bearer(&realm, "registry.docker.io", &asked.scope());
            let error = if asked.authorized { ",error=\"insufficient_scope\"" } else { "" };
            Some(challenge + error)
        },
        reply: (
            "application/json",
            r#"{"token":"TOKEN","expires_in":300,"issued_at":"2026-11-30T00:00:00.857363835Z"}"#,
        ),
        missing: Missing::Unauthorized,
        blob: |asked| {
            let digest = asked.rest.rsplit(':').next().unwrap();
            let path = format!("/registry-v2/docker/registry/v2/blobs/sha256/{digest}/data");
            let query = "verify=1632139768-qcB4OlxVYmlgJCLs%3D";
            Blob::Redirect(307, format!("http://{}{path}?{query}", asked.sites.storage))
        },
        headers: &[
            ("docker-distribution-api-version", "registry/2.0"),
            ("docker-ratelimit-source", "192.0.2.1"),
        ],
        ..Script::distribution()
    }
}

super::token_exchanges!(docker_hub);

#[tokio::test]
async fn the_gate_follows_redirects() {
    follows(docker_hub()).await;
}

/// A write to what the credential may not see is refused, and the log has no error of the gate.
#[tokio::test]
async fn a_write_to_what_is_missing_is_denied() {
    let foreign = Foreign::start(docker_hub(), &[]).await;
    let target = format!("/v2/{MISSING}/blobs/uploads/");
    let client = foreign.client(Kind::Docker);
    let reply = client.ask("POST", &target, "Content-Length: 0\r\n", "").await;
    assert_eq!((reply.status, &*reply.code()), (403, "DENIED"));
    foreign.check(&[&[&format!("repository:{MISSING}:pull,push")]]);
}

/// Public images need no account: the token server is asked without a credential.
#[tokio::test]
async fn a_gate_without_a_password_asks_as_nobody() {
    let foreign = Foreign::start(docker_hub(), &[ANONYMOUS]).await;
    let reply =
        foreign.client(Kind::Docker).ask("GET", &format!("/v2/{NAME}/manifests/v1"), "", "").await;
    assert_eq!(reply.status, 404, "{reply:?}");
    foreign.check(&[&[&format!("repository:{NAME}:pull")]]);
}

#[tokio::test]
async fn requests_that_wait_for_one_token_ask_for_it_once() {
    let foreign = Foreign::start(docker_hub(), &[]).await;
    let client = foreign.client(Kind::Docker);
    let target = format!("/v2/{NAME}/tags/list");
    let ask = || client.ask("GET", &target, "", "");
    let replies = tokio::join!(ask(), ask(), ask(), ask());
    for reply in [replies.0, replies.1, replies.2, replies.3] {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    foreign.check_questions(&[&[&format!("repository:{NAME}:pull")]]);
    foreign.check_credentials(4);
}
