//! Rules, through the whole gate.

mod addresses;
mod immutable;
mod matrix;
mod read_only;

use serde_json::{Value, json};

use crate::harness::{READ_ONLY, READ_WRITE, Setup, TestGate};

const TAGS: &str = "/v2/demo/a/tags/list";
const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";

/// All callers read public repositories, and alice reads those of the group.
const RULES: [&str; 3] = [
    "rules:",
    "  - { name: public, repositories: [\"public/**\"], who: [anonymous, authenticated], \
     allow: [pull] }",
    "  - { name: reads, repositories: [\"demo/**\"], who: [\"user:alice\"], allow: [pull] }",
];

async fn gate(more: &[&'static str], setup: Setup) -> TestGate {
    TestGate::start(Setup { policy: [&RULES[..], more].concat(), ..setup }).await
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn a_refusal_by_the_rules_says_so_and_reveals_no_rule() {
    let gate = gate(&[], Setup::default()).await;
    assert_eq!(gate.get(TAGS, Some(READ_WRITE)).await.status, 404, "the registry's own");
    let forwarded = gate.forwarded();
    let refused = gate.send("POST", UPLOADS, Some(READ_WRITE), "", "").await;
    assert_eq!((refused.status, refused.header("cache-control")), (403, Some("no-store")));
    let error = &json_of(&refused.body)["errors"][0];
    assert_eq!(error["code"], "DENIED");
    let message = error["message"].as_str().unwrap();
    assert!(message.ends_with("no rule of this registry lets you push in this repository"));
    assert_eq!(error["detail"], Value::Null, "it would repeat the message");
    assert!(!refused.body.contains("reads"), "{refused:?}");
    // A token does not list the refused action, and a request with the token is told to ask for
    // another one.
    let scope = "repository:demo/a:pull,push";
    let token = json_of(&gate.get(&format!("/token?scope={scope}"), Some(READ_WRITE)).await.body);
    let bearer = format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap());
    assert_eq!(gate.send("GET", TAGS, None, &bearer, "").await.status, 404);
    let refused = gate.send("POST", UPLOADS, None, &bearer, "").await;
    assert_eq!(refused.status, 401);
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(
        challenge.contains("error=\"insufficient_scope\"") && challenge.contains(scope),
        "{challenge}"
    );
    // An access that the credential itself lacks is reported first.
    let lacks = gate.send("POST", UPLOADS, Some(READ_ONLY), "", "").await;
    assert!(lacks.body.contains("GitLab granted no push"), "{lacks:?}");
    assert_eq!(gate.forwarded(), forwarded + 1);
    let reasons: Vec<_> = gate.log(6).await.iter().map(|line| line["reason"].clone()).collect();
    assert_eq!(
        reasons,
        [
            "allowed",
            "denied_by_policy",
            "allowed",
            "allowed",
            "denied_by_policy",
            "insufficient_rights"
        ]
    );
}

/// The gate asks no provider about anonymous access, even with `anonymous: true`: the rule alone
/// decides what is public.
#[tokio::test]
async fn callers_without_a_credential_pull_what_a_rule_gives_them() {
    for anonymous in ["", ", anonymous: true"] {
        let identity =
            format!("- {{ name: gitlab, type: gitlab, url: \"{{gitlab}}\"{anonymous} }}");
        let gate = gate(&[], Setup { identity: Some(identity.leak()), ..Setup::default() }).await;
        gate.gitlab.set_public("demo");
        let opening = gate.get("/v2/public/a/manifests/v1", None).await;
        assert_eq!(opening.status, 404, "the registry's own");
        let query = "/token?scope=repository:public/a:pull,push&scope=repository:demo/a:pull";
        let token = json_of(&gate.get(query, None).await.body);
        let bearer = format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap());
        for (method, target, status) in [
            ("GET", "/v2/", 200),
            ("GET", "/v2/public/a/tags/list", 404),
            ("GET", TAGS, 401),
            ("POST", "/v2/public/a/blobs/uploads/", 401),
            ("GET", "/v2/_catalog", 401),
        ] {
            assert_eq!(
                gate.send(method, target, None, &bearer, "").await.status,
                status,
                "{method} {target}"
            );
            let unasked = gate.get("/v2/", None).await;
            assert_eq!(unasked.status, 401, "clients must hear that there is a login");
        }
        assert_eq!(gate.forwarded(), 2);
        assert_eq!(gate.gitlab.ledger().count(), 0);
        let line = &gate.log(1).await[0];
        assert_eq!(
            (&line["subject"], &line["provider"], &line["reason"]),
            (&Value::Null, &Value::Null, &json!("allowed"))
        );
    }
}

/// The registry accepts only GitLab's tokens, so GitLab must also grant the access that the rule
/// gives.
#[tokio::test]
async fn under_grant_public_access_needs_a_rule_and_a_grant_of_gitlab() {
    let identity = Some("- { name: gitlab, type: gitlab, url: \"{gitlab}\", anonymous: true }");
    let gate =
        gate(&[], Setup { identity, upstream: vec!["authorization: grant"], ..Setup::default() })
            .await;
    assert_eq!(
        gate.get("/v2/public/a/tags/list", None).await.status,
        401,
        "GitLab does not grant it"
    );
    gate.gitlab.set_public("demo");
    assert_eq!(gate.get("/v2/demo/b/tags/list", None).await.status, 401, "no rule allows it");
    assert_eq!(gate.forwarded(), 0);
    gate.gitlab.set_public("public");
    assert_ne!(gate.get("/v2/public/c/tags/list", None).await.status, 401);
    assert_eq!(gate.forwarded(), 1);
}

#[tokio::test]
async fn shadow_mode_forwards_and_logs_what_the_rules_deny() {
    let gate = gate(&["mode: shadow"], Setup::default()).await;
    assert_eq!(gate.get(TAGS, Some(READ_WRITE)).await.status, 404);
    assert_eq!(gate.send("POST", UPLOADS, Some(READ_WRITE), "", "").await.status, 202);
    assert_eq!(gate.send("POST", UPLOADS, Some(READ_ONLY), "", "").await.status, 403);
    assert_eq!(gate.get("/v2/_catalog", Some(READ_WRITE)).await.status, 403, "GitLab grants none");
    assert_eq!(gate.get(TAGS, None).await.status, 401);
    let lines = gate.log(5).await;
    let reasons: Vec<_> =
        lines.iter().map(|line| (line["decision"].clone(), line["reason"].clone())).collect();
    assert_eq!(reasons[1], (json!("allowed"), json!("shadow_denied")));
    assert_eq!(reasons[2], (json!("denied"), json!("insufficient_rights")));
    let metrics = gate.running.metrics();
    assert!(metrics.contains("moorgate_shadow_denied_total 1\n"), "{metrics}");
    assert!(metrics.contains("result=\"allowed\",reason=\"shadow_denied\"} 1\n"), "{metrics}");
}
