//! The catalog for callers of GitLab, which grants it to administrators.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use moorgate::demo::gitlab::{Kind, SampleCredential, Scope, State};
use serde_json::{Value, json};

use super::{CATALOG, names, with_token};
use crate::harness::{EMPTY_INDEX, INDEX_TYPE, READ_WRITE, Setup, TestGate};

const ADMIN: (&str, &str) = ("root", "glpat-administrator");

async fn gate(setup: Setup) -> TestGate {
    let gate = TestGate::start(setup).await;
    gate.gitlab.add(SampleCredential {
        kind: Kind::PersonalAccessToken,
        user: ADMIN.0.into(),
        password: ADMIN.1.into(),
        scopes: [Scope::Api].into(),
        reach: String::new(),
        state: State::Active,
        note: String::new(),
    });
    gate
}

#[tokio::test]
async fn gitlab_decides_and_is_asked_once() {
    let gate = gate(Setup::default()).await;
    fill_projects(&gate).await;
    let asked = gate.gitlab.ledger().count();
    for _ in 0..2 {
        assert_eq!(names(&gate.get(CATALOG, Some(ADMIN)).await), ["demo/a", "demo/b"]);
        let refused = gate.get(CATALOG, Some(READ_WRITE)).await;
        assert_eq!((refused.status, &*refused.code()), (403, "DENIED"));
        assert!(refused.body.contains("registry:catalog:* was not granted"), "{refused:?}");
    }
    let questions = gate.gitlab.ledger().entries().split_off(asked);
    let scopes: Vec<_> = questions.iter().map(|question| question.scopes.join(" ")).collect();
    assert_eq!(scopes, ["registry:catalog:*"; 2], "one question each");
    let reasons: Vec<_> =
        gate.log(4 + 2).await.iter().skip(2).map(|line| line["reason"].clone()).collect();
    assert_eq!(reasons, ["allowed", "catalog_closed", "allowed", "catalog_closed"]);
}

async fn fill_projects(gate: &TestGate) {
    for name in ["demo/a", "demo/b"] {
        let target = format!("/v2/{name}/manifests/v1");
        assert_eq!(
            gate.send("PUT", &target, Some(ADMIN), INDEX_TYPE, EMPTY_INDEX).await.status,
            201
        );
    }
}

/// A rule does not add to what GitLab grants, and it narrows what GitLab grants.
#[tokio::test]
async fn rules_narrow_what_gitlab_grants() {
    let rules = vec![
        "rules:",
        "  - { name: fills, repositories: [\"demo/**\"], who: [\"user:root\"], \
         allow: [push, pull] }",
        "  - { name: lists, repositories: [\"**\"], who: [\"user:alice\"], allow: [catalog] }",
    ];
    let gate = gate(Setup { policy: rules, ..Setup::default() }).await;
    fill_projects(&gate).await;
    assert_eq!(names(&gate.get(CATALOG, Some(ADMIN)).await), ["demo/a", "demo/b"]);
    gate.edit("[\"demo/**\"]", "[\"demo/b\"]");
    let mut gate = gate;
    assert!(gate.reload().await);
    assert_eq!(names(&gate.get(CATALOG, Some(ADMIN)).await), ["demo/b"]);
    assert_eq!(gate.get(CATALOG, Some(READ_WRITE)).await.status, 403);
}

/// A token for the catalog and for repositories shows only those repositories that were asked for,
/// so none if the one asked for is not granted. The only scope of the catalog is the whole catalog.
#[tokio::test]
async fn a_token_shows_no_more_than_was_asked() {
    let gate = gate(Setup::default()).await;
    fill_projects(&gate).await;
    for (scopes, shown) in [
        ("registry:catalog:*", Some(vec!["demo/a", "demo/b"])),
        ("registry:catalog:* repository:demo/a:pull", Some(vec!["demo/a"])),
        ("registry:catalog:* repository:nobodys:pull", Some(vec![])),
        ("registry:catalog:* repository:UPPER:pull", Some(vec![])),
        ("registry:catalog:* repository:demo/a:other", Some(vec![])),
        ("registry:catalog:pull", None),
        ("registry:catalog:pull,*", None),
        ("registry:catalog:", None),
    ] {
        let reply =
            gate.get(&format!("/token?scope={}", scopes.replace(' ', "+")), Some(ADMIN)).await;
        assert_eq!(reply.status, 200, "{scopes}: {reply:?}");
        let token = serde_json::from_str::<serde_json::Value>(&reply.body).unwrap()["token"]
            .as_str()
            .unwrap()
            .to_owned();
        let bearer = format!("Authorization: Bearer {token}\r\n");
        let reply = gate.send("GET", CATALOG, None, &bearer, "").await;
        match shown {
            Some(shown) => assert_eq!(
                (reply.status, names(&reply)),
                (200, shown.iter().map(|it| (*it).to_owned()).collect()),
                "{scopes}"
            ),
            None => assert_eq!(reply.status, 401, "{scopes}"),
        }
    }
}

/// A token for the catalog is granted if GitLab grants the catalog, with or without repositories in
/// the request.
#[tokio::test]
async fn tokens() {
    let gate = gate(Setup::default()).await;
    fill_projects(&gate).await;
    for (who, scope, granted, status) in [
        (ADMIN, "registry:catalog:*", "registry:catalog:*", 200),
        (
            ADMIN,
            "repository:demo/b:pull registry:catalog:*",
            "repository:demo/b:pull registry:catalog:*",
            200,
        ),
        (READ_WRITE, "registry:catalog:*", "", 401),
        (READ_WRITE, "repository:demo/b:pull registry:catalog:*", "repository:demo/b:pull", 401),
    ] {
        let reply = with_token(&gate, who, scope, granted).await;
        assert_eq!(reply.status, status, "{scope}: {reply:?}");
    }
}

/// Under `authorization: grant`, GitLab's own token for the catalog goes to the registry, whether
/// or not the gate filters.
#[tokio::test]
async fn the_gate_sends_gitlabs_catalog_token_to_the_registry() {
    let rule = vec![
        "rules:",
        "  - { name: r, repositories: [\"**\"], who: [authenticated], allow: [push, pull] }",
    ];
    for policy in [vec![], rule] {
        let setup = Setup { upstream: vec!["authorization: grant"], policy, ..Setup::default() };
        let gate = gate(setup).await;
        fill_projects(&gate).await;
        assert_eq!(names(&gate.get(CATALOG, Some(ADMIN)).await), ["demo/a", "demo/b"]);
        let received = gate.ledger.entries().pop().unwrap();
        let shown = received.headers.get("authorization").unwrap().to_str().unwrap().to_owned();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(shown.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(
            (&claims["access"][0]["name"], &claims["access"][0]["actions"]),
            (&json!("catalog"), &json!(["*"]))
        );
    }
}
