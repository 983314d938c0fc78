//! What the command says about the list of all repositories.

use super::{explain, run};
use crate::harness::{READ_WRITE, Setup, TestGate};

const CATALOG: &str = "/v2/_catalog";
const CATALOG_TOKEN: &str = "/token?scope=registry:catalog:*";
const LISTER: (&str, &str) = ("lister", "one");
const ALICE: (&str, &str) = ("alice", "two");
const BOB: (&str, &str) = ("bob", "three");

async fn gate() -> TestGate {
    let policy = vec![
        "rules:",
        "  - { name: lists, repositories: [\"**\"], who: [\"user:lister\"], allow: [catalog] }",
        "  - { name: own, repositories: [\"${user}\", \"${user}/**\"], who: [\"user:alice\"], \
         allow: [pull, push] }",
        "  - { name: fills, repositories: [\"**\"], who: [\"user:alice\"], allow: [push] }",
    ];
    let identity =
        Some("- { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }");
    let htpasswd_users = vec![LISTER, ALICE, BOB];
    TestGate::start(Setup { identity, htpasswd_users, policy, ..Setup::default() }).await
}

#[tokio::test]
async fn explain_shows_the_rules_that_decide_what_the_catalog_lists() {
    let gate = gate().await;
    let filtered = explain(&gate, "GET", CATALOG, Some(ALICE)).await;
    assert_eq!(filtered.code, Some(0), "{filtered:?}");
    assert_eq!(filtered.about("rules"), "for the list of all repositories:");
    assert_eq!(filtered.about("  lists"), "own: ${user}, ${user}/**");
    assert_eq!(
        filtered.about("  does not"),
        "lists: it is for other callers (`who`) | fills: it does not allow this (`allow`)"
    );
    assert!(filtered.about("answer").contains("the list is filtered: it shows"), "{filtered:?}");

    let whole = explain(&gate, "GET", CATALOG, Some(LISTER)).await;
    assert_eq!(whole.about("  lists"), "lists: every repository (`catalog`)");
    assert!(whole.about("answer").contains("hide no repository"), "{whole:?}");

    let empty = explain(&gate, "GET", CATALOG, Some(BOB)).await;
    assert_eq!(empty.about("  lists"), "");
    assert!(empty.about("answer").contains("filtered and empty"), "{empty:?}");
}

#[tokio::test]
async fn explain_shows_the_rules_of_a_token_for_the_catalog() {
    let gate = gate().await;
    for path in [CATALOG_TOKEN, "/token?scope=registry:catalog:*&scope=repository:alice/a:pull"] {
        let token = explain(&gate, "GET", path, Some(ALICE)).await;
        assert!(token.about("rules").contains("for the list of all repositories:"), "{token:?}");
        assert!(token.about("  lists").contains("own: ${user}, ${user}/**"), "{token:?}");
        let answer = token.about("answer");
        assert!(answer.contains("valid for the list of all repositories"), "{token:?}");
        assert!(answer.contains("the list is filtered"), "{token:?}");
    }
}

#[tokio::test]
async fn explain_says_that_no_rule_filters_the_catalog() {
    let gate = TestGate::start(Setup {
        identity: Some(
            "- { name: local, type: htpasswd, file: htpasswd, \
                        scopes: [read_registry] }",
        ),
        htpasswd_users: vec![ALICE],
        ..Setup::default()
    })
    .await;
    let whole = explain(&gate, "GET", CATALOG, Some(ALICE)).await;
    assert!(whole.about("rules").ends_with("the list is not filtered"), "{whole:?}");
    assert!(whole.about("answer").contains("hide no repository"), "{whole:?}");
    // The list of an ordinary GitLab user is refused, and rules do not matter.
    let gate = TestGate::plain().await;
    let closed = explain(&gate, "GET", CATALOG, Some(READ_WRITE)).await;
    assert_eq!(closed.answer(), (Some(403), "catalog_closed".into()), "{closed:?}");
}

#[tokio::test]
async fn explain_shows_that_a_gate_token_limits_the_catalog() {
    const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n";
    let gate = TestGate::start(Setup {
        identity: Some(
            "- { name: local, type: htpasswd, file: htpasswd, \
                        scopes: [read_registry] }",
        ),
        htpasswd_users: vec![ALICE],
        tokens: vec!["key_file: keys"],
        files: vec![("keys", KEY)],
        ..Setup::default()
    })
    .await;
    let scope = "/token?scope=registry:catalog:*&scope=repository:alice/a:pull";
    let reply = gate.get(scope, Some(ALICE)).await;
    let reply: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let token = reply["token"].as_str().unwrap();
    let said = run(&gate, &["--method", "GET", "--path", CATALOG], token).await;
    assert!(
        said.about("answer").contains("limited to what the gate token lists: alice/a"),
        "{said:?}"
    );
}
