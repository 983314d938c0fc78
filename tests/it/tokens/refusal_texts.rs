//! The texts that a user reads after a refusal. Docker shows the message or the description of the
//! challenge, and nothing else, so each of them has to name the cause.

use moorgate::demo::gitlab::{Kind, SampleCredential, sample_credentials};
use serde_json::Value;

use super::{challenge, gate, token, with};
use crate::harness::{READ_ONLY, READ_WRITE, Reply, Setup, TestGate};

const PUSH: (&str, &str) = ("POST", "/v2/demo/a/blobs/uploads/");
const PULL: (&str, &str) = ("GET", "/v2/demo/a/tags/list");
const SCOPE: &str = "repository:demo/a:pull,push";

/// Returns the message of the body, after checking that the challenge describes the same.
fn message(reply: &Reply) -> String {
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    let message = body["errors"][0]["message"].as_str().unwrap().to_owned();
    let detail = body["errors"][0]["detail"].as_str();
    assert!(detail.is_none_or(|detail| !message.contains(detail)), "{body}");
    if challenge(reply).contains("error=") {
        let described = format!("error_description=\"{message}\"");
        assert!(challenge(reply).contains(&described), "{reply:?}");
    }
    message
}

/// Sends a request with a token for this scope, as docker does.
async fn as_docker(
    gate: &TestGate,
    caller: (&str, &str),
    scope: &str,
    (method, target): (&str, &str),
) -> String {
    let made = token(gate, caller, scope).await;
    let reply = with(gate, &made, method, target).await;
    assert_eq!(reply.status, 401, "{reply:?}");
    let asked = gate.gitlab.ledger().count();
    let again = with(gate, &made, method, target).await;
    assert_eq!(message(&reply), message(&again));
    assert_eq!(gate.gitlab.ledger().count(), asked, "GitLab records each question about a push");
    message(&reply)
}

#[tokio::test]
async fn a_gate_token_without_the_right_says_what_is_missing() {
    let gate = gate(Setup::default()).await;
    let push = "GitLab granted no push: it takes the scopes read_registry and write_registry, the \
                role and the project";
    let read_only = as_docker(&gate, READ_ONLY, SCOPE, PUSH).await;
    assert!(read_only.ends_with(push), "{read_only}");
    // The name is mistyped, so nothing is granted at all.
    let scope = "repository:typo/a:pull,push";
    let target = ("POST", "/v2/typo/a/blobs/uploads/");
    let typo = as_docker(&gate, READ_WRITE, scope, target).await;
    assert!(typo.ends_with(push), "{typo}");
    let delete = ("DELETE", "/v2/demo/a/manifests/v1");
    let scope = "repository:demo/a:pull,push,delete";
    let deleting = as_docker(&gate, READ_WRITE, scope, delete).await;
    assert!(
        deleting.ends_with(
            "GitLab granted no delete: it takes the scope api, the role and the project"
        ),
        "{deleting}"
    );
    let catalog = as_docker(&gate, READ_WRITE, "registry:catalog:*", ("GET", "/v2/_catalog")).await;
    assert!(catalog.contains("registry:catalog:* was not granted"), "{catalog}");
}

#[tokio::test]
async fn a_gate_token_that_the_rules_narrow_says_that_no_rule_allows_it() {
    let rule =
        "rules: [{ name: reads, repositories: [\"**\"], who: [authenticated], allow: [pull] }]";
    let gate = gate(Setup { policy: vec![rule], ..Setup::default() }).await;
    let refused = as_docker(&gate, READ_WRITE, SCOPE, PUSH).await;
    assert!(
        refused.ends_with("no rule of this registry lets you push in this repository"),
        "{refused}"
    );
}

#[tokio::test]
async fn scopes_that_a_credential_lacks_are_named() {
    let htpasswd = "- { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }";
    let gate = gate(Setup {
        identity: Some(htpasswd),
        htpasswd_users: vec![("alice", "secret")],
        ..Setup::default()
    })
    .await;
    let refused = as_docker(&gate, ("alice", "secret"), SCOPE, PUSH).await;
    assert!(refused.ends_with("token lacks write_registry"), "{refused}");
}

/// A gate token of a caller without a credential says that a login is needed, for whatever it was
/// fetched.
#[tokio::test]
async fn a_caller_without_a_credential_is_told_to_log_in() {
    let gate = gate(Setup::default()).await;
    let login = "authentication required; run docker login registry.test";
    let reply = gate.send(PUSH.0, PUSH.1, None, "", "").await;
    assert_eq!((reply.status, message(&reply).as_str()), (401, login));
    for scope in ["", SCOPE, "repository:demo/b:pull"] {
        let text = gate.get(&format!("/token?scope={scope}"), None).await.body;
        let text: Value = serde_json::from_str(&text).unwrap();
        let made = text["token"].as_str().unwrap();
        for (method, target) in [PUSH, PULL, ("GET", "/v2/_catalog")] {
            let reply = with(&gate, made, method, target).await;
            assert_eq!((reply.status, message(&reply).as_str()), (401, login), "{scope} {target}");
        }
    }
}

/// A client that has a token for another repository must fetch another one, and not its user.
#[tokio::test]
async fn a_gate_token_for_something_else_sends_the_client_for_another_one() {
    let gate = gate(Setup::default()).await;
    let made = token(&gate, READ_WRITE, "repository:demo/b:pull").await;
    let reply = with(&gate, &made, PULL.0, PULL.1).await;
    assert!(message(&reply).starts_with("the client fetched its token"), "{reply:?}");
    assert!(challenge(&reply).contains("scope=\"repository:demo/a:pull\""), "{reply:?}");
}

#[tokio::test]
async fn an_account_password_is_told_that_tokens_are_needed() {
    let gate = gate(Setup::default()).await;
    let account = SampleCredential {
        kind: Kind::AccountPassword,
        user: "carol".into(),
        password: "correct horse".into(),
        ..sample_credentials().remove(0)
    };
    gate.gitlab.add(account);
    let carol = Some(("carol", "correct horse"));
    // The second answer comes from the cache.
    for target in ["/v2/", "/token", PULL.1, "/v2/"] {
        let reply = gate.get(target, carol).await;
        assert_eq!(reply.status, 401);
        assert!(message(&reply).contains("accepts only tokens"), "{target} {reply:?}");
    }
    let wrong = gate.get("/v2/", Some(("carol", "wrong"))).await;
    assert!(message(&wrong).starts_with("wrong user name or password"), "{wrong:?}");
    assert!(gate.log(5).await.iter().all(|line| line["reason"] == "wrong_credential"));
}
