//! The catalog, through the whole gate.

mod faults;
mod gitlab;

use serde_json::Value;

use crate::harness::{EMPTY_INDEX, INDEX_TYPE, Reply, Setup, TestGate};

const CATALOG: &str = "/v2/_catalog";

/// A user who may push everywhere and fills the registry.
const ROOT: (&str, &str) = ("root", "one");
/// A user who sees every repository.
const LISTER: (&str, &str) = ("lister", "two");
/// Two users who see some repositories.
const ALICE: (&str, &str) = ("alice", "three");
const BOB: (&str, &str) = ("bob", "four");

const HTPASSWD: &str = "- { name: local, type: htpasswd, file: htpasswd, \
                        scopes: [read_registry, write_registry, delete_registry] }";

const RULES: [&str; 5] = [
    "rules:",
    "  - { name: fills, repositories: [\"**\"], who: [\"user:root\"], allow: [push, pull] }",
    "  - { name: lists, repositories: [\"**\"], who: [\"user:lister\"], allow: [catalog] }",
    "  - { name: own, repositories: [\"${user}/**\"], who: [authenticated], allow: [pull] }",
    "  - { name: public, repositories: [\"open/**\"], who: [anonymous, authenticated], \
     allow: [pull] }",
];

const NAMES: [&str; 8] =
    ["alice/a", "alice/b", "bob/a", "bob/b", "bob/c", "open/a", "open/b", "zebra"];

fn setup(policy: &[&'static str]) -> Setup {
    Setup {
        identity: Some(HTPASSWD),
        htpasswd_users: vec![ROOT, LISTER, ALICE, BOB],
        policy: policy.to_vec(),
        ..Setup::default()
    }
}

/// Starts a gate in front of a registry with all [`NAMES`].
async fn gate(policy: &[&'static str]) -> TestGate {
    let gate = TestGate::start(setup(policy)).await;
    for name in NAMES {
        let put = gate
            .send("PUT", &format!("/v2/{name}/manifests/v1"), Some(ROOT), INDEX_TYPE, EMPTY_INDEX)
            .await;
        assert_eq!(put.status, 201, "{put:?}");
    }
    gate
}

fn names(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.header("content-type").unwrap().starts_with("application/json"), "{reply:?}");
    assert_eq!(reply.header("docker-distribution-api-version"), Some("registry/2.0"));
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    serde_json::from_value(body["repositories"].clone()).unwrap()
}

/// Returns the catalog as seen with a token for this scope, of which only `granted` is granted.
async fn with_token(
    gate: &TestGate,
    (user, password): (&str, &str),
    scope: &str,
    granted: &str,
) -> Reply {
    let form = format!("grant_type=password&username={user}&password={password}&scope={scope}");
    let form_type = "Content-Type: application/x-www-form-urlencoded\r\n";
    let reply = gate.send("POST", "/token", None, form_type, &form).await;
    let answer: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(answer["scope"], granted, "{scope}");
    let bearer = format!("Authorization: Bearer {}\r\n", answer["token"].as_str().unwrap());
    gate.send("GET", CATALOG, None, &bearer, "").await
}

#[tokio::test]
async fn each_caller_sees_what_the_rules_let_it_pull() {
    for mode in [&[][..], &["mode: shadow"]] {
        let gate = gate(&[&RULES[..], mode].concat()).await;
        for (who, expected) in [
            (ROOT, &NAMES[..]),
            (LISTER, &NAMES),
            (ALICE, &["alice/a", "alice/b", "open/a", "open/b"]),
            (BOB, &["bob/a", "bob/b", "bob/c", "open/a", "open/b"]),
        ] {
            let reply = gate.get(CATALOG, Some(who)).await;
            assert_eq!(
                (names(&reply), reply.header("link")),
                (expected.iter().map(|&it| it.into()).collect(), None)
            );
        }
        let forwarded = gate.forwarded();
        assert_eq!(gate.get(CATALOG, None).await.status, 401, "not even what is public");
        for method in ["HEAD", "POST", "DELETE"] {
            let reply = gate.send(method, CATALOG, Some(ALICE), "", "").await;
            assert_eq!((reply.status, reply.header("allow")), (405, Some("GET")), "{method}");
        }
        assert_eq!(gate.forwarded(), forwarded);
    }
}

/// Without rules the gate does not filter: it forwards the client's query, and the registry's own
/// answer goes through.
#[tokio::test]
async fn without_rules_everything_is_shown() {
    let gate = gate(&[]).await;
    let reply = gate.get("/v2/_catalog?n=2&last=bob/a&unknown=1", Some(ALICE)).await;
    assert_eq!(names(&reply), ["bob/b", "bob/c"]);
    assert_eq!(
        reply.header("link"),
        Some("</v2/_catalog?last=bob/c&n=2>; rel=\"next\""),
        "the registry's own"
    );
    assert_eq!(
        gate.ledger.entries().last().unwrap().target,
        "/v2/_catalog?n=2&last=bob/a&unknown=1"
    );
    assert_eq!(gate.get("/v2/_catalog?n=2&n=3", Some(ALICE)).await.status, 400);
}

#[tokio::test]
async fn catalog_pages_are_full_and_contain_no_hidden_names() {
    let gate = gate(&RULES).await;
    let bobs = ["bob/a", "bob/b", "bob/c", "open/a", "open/b"];
    for count in 1..6 {
        let mut found = Vec::new();
        let mut next = Some(format!("{CATALOG}?n={count}"));
        while let Some(target) = next {
            let reply = gate.get(&target, Some(BOB)).await;
            found.extend(names(&reply));
            next = reply.header("link").map(|link| {
                let expected = format!("{CATALOG}?n={count}&last={}", found.last().unwrap());
                assert_eq!(
                    (link, found.len() % count),
                    (&*format!("<{expected}>; rel=\"next\""), 0)
                );
                expected
            });
        }
        assert_eq!(found, bobs, "pages of {count}");
    }
    // A hidden name, an unknown name and an invalid name must give the same answer.
    for last in ["alice/b", "alice/bb", "alice/b%2F.."] {
        let reply = gate.get(&format!("{CATALOG}?n=1&last={last}"), Some(BOB)).await;
        assert_eq!(names(&reply), ["bob/a"], "{last}");
        assert_eq!(reply.header("link"), Some("</v2/_catalog?n=1&last=bob/a>; rel=\"next\""));
    }
    let forwarded = gate.forwarded();
    let none = gate.get(&format!("{CATALOG}?n=0"), Some(BOB)).await;
    assert_eq!((names(&none).len(), none.header("link")), (0, None));
    for count in ["-1", "x", "4294967296"] {
        let reply = gate.get(&format!("{CATALOG}?n={count}"), Some(BOB)).await;
        assert_eq!((reply.status, &*reply.code()), (400, "PAGINATION_NUMBER_INVALID"), "{count}");
    }
    assert_eq!(gate.forwarded(), forwarded);
    assert_eq!(names(&gate.get(&format!("{CATALOG}?n=4294967295"), Some(BOB)).await), bobs);
}

#[tokio::test]
async fn a_gate_token_shows_at_most_what_it_lists() {
    let gate = gate(&RULES).await;
    let all = "registry:catalog:*";
    for (who, scope, granted, shown) in [
        (ALICE, all, all, Ok(&["alice/a", "alice/b", "open/a", "open/b"][..])),
        (LISTER, all, all, Ok(&NAMES)),
        (
            ALICE,
            "registry:catalog:* repository:alice/b:pull,push repository:bob/a:pull",
            "repository:alice/b:pull registry:catalog:*",
            Ok(&["alice/b"]),
        ),
        (
            ROOT,
            "repository:bob/a:push registry:catalog:*",
            "repository:bob/a:push registry:catalog:*",
            Ok(&[]),
        ),
        (ROOT, "repository:bob/a:pull", "repository:bob/a:pull", Err(401)),
        (ALICE, "", "", Err(401)),
    ] {
        let reply = with_token(&gate, who, scope, granted).await;
        match shown {
            Ok(shown) => assert_eq!(names(&reply), shown, "{scope}"),
            Err(status) => {
                let challenge = reply.header("www-authenticate").unwrap();
                assert_eq!(reply.status, status);
                assert!(
                    challenge.contains("scope=\"registry:catalog:*\",error=\"insufficient_scope\""),
                    "{challenge}"
                );
            }
        }
    }
    // An anonymous caller gets no token for the catalog.
    let token = gate.get("/token?scope=registry:catalog:*", None).await;
    let token: Value = serde_json::from_str(&token.body).unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap());
    assert_eq!(gate.send("GET", CATALOG, None, &bearer, "").await.status, 401);
}
