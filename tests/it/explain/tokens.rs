//! What the command says about gate tokens, token requests and workload tokens.

use moorgate::demo::issuer::OidcIssuer;
use serde_json::json;

use super::{TAGS, UPLOADS, explain, gate, run, token};
use crate::harness::{READ_WRITE, Setup, TestGate, jobs, listener};

#[tokio::test]
async fn explain_opens_a_gate_token_only_with_its_key_file() {
    const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n";
    let shared =
        Setup { tokens: vec!["key_file: keys"], files: vec![("keys", KEY)], ..Setup::default() };
    for (setup, knows_key) in [(shared, true), (Setup::default(), false)] {
        let gate = gate(&[], setup).await;
        let token = token(&gate, "repository:demo/a:pull").await;
        let said = run(&gate, &["--method", "GET", "--path", TAGS], &token).await;
        let expected =
            if knows_key { (None, "allowed".into()) } else { (Some(401), "invalid_token".into()) };
        assert_eq!(
            (said.answer(), said.about("credential")),
            (expected, "gate_token".into()),
            "{said:?}"
        );
        assert_eq!(said.about("note").contains("tokens.key_file"), !knows_key, "{said:?}");
        if knows_key {
            let more = run(&gate, &["--method", "POST", "--path", UPLOADS], &token).await;
            assert_eq!(more.answer(), (Some(401), "insufficient_scope".into()));
        }
    }
}

#[tokio::test]
async fn explain_shows_what_a_token_request_is_granted() {
    let gate = gate(&[], Setup::default()).await;
    let scope = "/token?scope=repository:demo/a:pull,push,delete&scope=repository:elsewhere:pull";
    let granted = explain(&gate, "GET", scope, Some(READ_WRITE)).await;
    assert_eq!(granted.code, Some(0), "{granted:?}");
    assert_eq!(
        granted.about("answer"),
        "200 with a token; reason allowed | valid for pull and push on demo/a"
    );
    let rules = "for pull on demo/a: | for push on demo/a: | for delete on demo/a: | \
                 for pull on elsewhere:";
    assert_eq!(granted.about("rules"), rules);
}

/// The command shows the groups and claims of a job's `id_token` that rules read, and escapes
/// characters that could move a cursor.
#[tokio::test]
async fn groups_and_claims_are_shown() {
    let issuer = OidcIssuer::start(listener()).unwrap();
    let identity = jobs(&issuer, "groups_claim: teams, scopes: [read_registry, write_registry]");
    let policy = vec![
        "rules:",
        "  - { name: own, repositories: [\"${claims.project_path}\"], who: [authenticated], \
         allow: [pull, push] }",
    ];
    let gate =
        TestGate::start(Setup { identity: Some(identity), policy, ..Setup::default() }).await;
    let claims = json!({
        "project_path": "demo/a", "teams": ["ops", "\u{1b}[2J"],
        "kubernetes.io": { "pod": { "name": "\u{1b}[2J" }, "warnafter": 5 }, "a/b": { "~": {} },
    });
    let token = issuer.id_token("a", &claims).unwrap();
    let own = explain(&gate, "POST", UPLOADS, Some(("oidc", &token))).await;
    assert_eq!((own.code, own.about("groups")), (Some(0), "ops | \\u{1b}[2J".into()), "{own:?}");
    for claim in [
        "project_path = \"demo/a\"",
        "/kubernetes.io/pod/name = \"\\u001b[2J\"",
        "/kubernetes.io/warnafter = 5",
        "/a~1b/~0 = {}",
    ] {
        assert!(own.about("claims").contains(claim), "{claim}: {own:?}");
    }
    assert_eq!(own.about("has"), "the scopes read_registry, write_registry");
    let another =
        run(&gate, &["--method", "POST", "--path", "/v2/demo/b/blobs/uploads/"], &token).await;
    assert_eq!((another.code, another.answer()), (Some(1), (Some(401), "denied_by_policy".into())));
}
