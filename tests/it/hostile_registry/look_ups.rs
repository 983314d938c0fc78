//! The look-up of an immutable tag at a registry that asks for tokens.

use super::server::{Server, answer};
use super::{ALICE, MANIFEST, gate_with};
use crate::harness::{EMPTY_INDEX, INDEX_TYPE, Reply, Setup, TestGate};

/// A token server that names its tokens after what they are for.
fn realm() -> Server {
    Server::start("127.0.0.1", |request| {
        let is_write = request.target().contains("push");
        let token = if is_write { "writer" } else { "reader" };
        answer("200 OK", "", &format!(r#"{{"token":"{token}"}}"#))
    })
}

/// A registry that refuses the token of a read, and answers the look-up with this status to that of
/// a write.
fn registry(realm: &Server, to_writer: &'static str) -> Server {
    let realm = realm.address;
    Server::start("127.0.0.1", move |request| {
        let is_put = request.line().starts_with("PUT");
        match request.header("authorization") {
            Some("Bearer writer") if is_put => answer("201 Created", "", ""),
            Some("Bearer writer") if !to_writer.starts_with("401") => answer(to_writer, "", ""),
            _ => {
                let challenge = format!(r#"Bearer realm="http://{realm}/token",service="s""#);
                answer("401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"), "")
            }
        }
    })
}

async fn immutable(registry: &Server) -> TestGate {
    let rule = "rules: [{ name: all, repositories: [\"**\"], who: [authenticated], \
                allow: [pull, push], immutable: true }]";
    let own = ["authorization: token", "username: gate", "password_file: upstream.password"];
    let own: Vec<String> = own.iter().map(ToString::to_string).collect();
    gate_with(registry, &own, Setup { policy: vec![rule], ..Setup::default() }).await
}

async fn put(gate: &TestGate) -> Reply {
    gate.send("PUT", MANIFEST, Some(ALICE), INDEX_TYPE, EMPTY_INDEX).await
}

/// A refusal of the look-up does not say that there is no such tag: an account may push and not
/// pull.
#[tokio::test]
async fn a_registry_that_refuses_the_look_up_does_not_say_that_a_tag_is_free() {
    for (to_writer, status) in [("200 OK", 403), ("404 Not Found", 201), ("401 Unauthorized", 502)]
    {
        let realm = realm();
        let registry = registry(&realm, to_writer);
        let gate = immutable(&registry).await;
        assert_eq!(put(&gate).await.status, status, "{to_writer}");
        let forwarded = registry.lines().iter().any(|line| line.starts_with("PUT"));
        assert_eq!(forwarded, status == 201, "{to_writer}");
    }
}

/// What the registry did not show to a reader lately may be there now, by another gate.
#[tokio::test]
async fn a_look_up_does_not_use_what_is_remembered_of_refused_reads() {
    let realm = realm();
    let registry = registry(&realm, "200 OK");
    let gate = immutable(&registry).await;
    assert_eq!(gate.get(MANIFEST, Some(ALICE)).await.status, 404);
    assert_eq!(put(&gate).await.status, 403);
}
