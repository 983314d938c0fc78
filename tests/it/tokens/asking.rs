//! The requests to the token service, and its answers.

use serde_json::json;

use super::{START, ask, authorization, challenge, gate, json as read, post, token};
use crate::harness::{READ_ONLY, READ_WRITE, Setup};

#[tokio::test]
async fn get_and_post_answers_have_the_same_members_except_scope() {
    let gate = gate(Setup::default()).await;
    let scope = "repository:demo/a:pull,push";
    let by_get =
        ask(&gate, Some(READ_WRITE), &format!("service=registry.test&scope={scope}&account=alice"))
            .await;
    let form = format!(
        "grant_type=password&username={}&password={}&scope={scope}",
        READ_WRITE.0, READ_WRITE.1
    );
    let by_post = post(&gate, &form).await;
    for reply in [&by_get, &by_post] {
        assert_eq!(
            (reply.status, reply.header("cache-control")),
            (200, Some("no-store")),
            "{reply:?}"
        );
        assert_eq!(reply.header("docker-distribution-api-version"), Some("registry/2.0"));
        let answer = read(reply);
        assert!(answer["token"].as_str().unwrap().starts_with("mg1."));
        assert_eq!(answer["token"], answer["access_token"]);
        assert_eq!(answer["expires_in"], 3600);
        assert!(answer["issued_at"].as_str().unwrap().ends_with('Z'));
        assert!(answer.get("refresh_token").is_none());
    }
    assert_eq!(read(&by_get).get("scope"), None);
    assert_eq!(read(&by_post)["scope"], scope);
}

/// The answer lists the scopes that were granted, which may be fewer than asked for, or none.
#[tokio::test]
async fn a_token_with_fewer_scopes_than_asked_for_is_not_an_error() {
    let gate = gate(Setup::default()).await;
    for (credential, scope, granted) in [
        (READ_WRITE, "repository:demo/a:pull,push", "repository:demo/a:pull,push"),
        (READ_WRITE, "repository:demo/a:pull", "repository:demo/a:pull"),
        (READ_ONLY, "repository:demo/a:pull,push", "repository:demo/a:pull"),
        (READ_ONLY, "repository:elsewhere/a:pull", ""),
        (
            READ_ONLY,
            "repository:demo/a:pull,push repository:demo/b:pull",
            "repository:demo/a:pull repository:demo/b:pull",
        ),
        (READ_WRITE, "registry:catalog:*", ""),
        (READ_WRITE, "nonsense repository:UPPER:pull", ""),
        (READ_WRITE, "", ""),
    ] {
        let form = format!(
            "grant_type=password&username={}&password={}&scope={scope}",
            credential.0, credential.1
        );
        let reply = post(&gate, &form).await;
        assert_eq!((reply.status, &read(&reply)["scope"]), (200, &json!(granted)), "{scope}");
    }
}

/// All scopes are one question to GitLab, and the gate never asks for push in order to decide a
/// pull.
#[tokio::test]
async fn all_scopes_of_a_token_take_one_question() {
    let gate = gate(Setup::default()).await;
    token(&gate, READ_WRITE, "repository:demo/a:pull,push&scope=repository:demo/b:pull").await;
    let asked = gate.gitlab.ledger().entries();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].scopes, ["repository:demo/a:pull,push", "repository:demo/b:pull"]);
    token(&gate, READ_WRITE, "repository:demo/c:pull").await;
    let asked = gate.gitlab.ledger().entries();
    assert_eq!(asked[1].scopes, ["repository:demo/c:pull"]);
}

#[tokio::test]
async fn a_wrong_credential_is_401_and_never_403() {
    let gate = gate(Setup::default()).await;
    for password in ["glpat-wrong", "glpat-demo-revoked"] {
        let reply = ask(&gate, Some(("alice", password)), "service=registry.test").await;
        assert_eq!((reply.status, &*reply.code()), (401, "UNAUTHORIZED"));
        assert_eq!(challenge(&reply), "Basic realm=\"registry.test\"");
        let reply =
            post(&gate, &format!("grant_type=password&username=alice&password={password}")).await;
        assert_eq!((reply.status, &read(&reply)["error"]), (401, &json!("invalid_grant")));
    }
}

#[tokio::test]
async fn an_invalid_token_request_is_4xx() {
    let gate = gate(Setup::default()).await;
    let password = format!("username={}&password={}", READ_WRITE.0, READ_WRITE.1);
    for (query, status) in [
        ("service=another.test".to_owned(), 400),
        ("service=registry.test&service=registry.test".to_owned(), 400),
        ("scope=repository:a:pull&".repeat(257), 400),
        (format!("scope={}", "repository:a:pull+".repeat(400)), 400),
    ] {
        let reply = ask(&gate, Some(READ_WRITE), &query).await;
        assert_eq!(reply.status, status, "{query:.80}");
        reply.code();
    }
    for (form, status, error) in [
        ("grant_type=refresh_token&refresh_token=x".to_owned(), 400, "unsupported_grant_type"),
        (password.clone(), 400, "unsupported_grant_type"),
        (format!("grant_type=password&{password}&password=again"), 400, "invalid_request"),
        ("grant_type=password&username=alice".to_owned(), 400, "invalid_request"),
        (format!("grant_type=password&{password}&service=another.test"), 400, "invalid_request"),
        (
            format!("grant_type=password&{password}&{}", "scope=repository:a:pull&".repeat(1000)),
            400,
            "invalid_scope",
        ),
        (
            format!("grant_type=password&{password}&scope={}", "x".repeat(1 << 20)),
            413,
            "invalid_request",
        ),
    ] {
        let reply = post(&gate, &form).await;
        assert_eq!((reply.status, &read(&reply)["error"]), (status, &json!(error)), "{form:.80}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    let both =
        format!("{}Content-Type: application/x-www-form-urlencoded\r\n", authorization(READ_WRITE));
    let form = format!("grant_type=password&{password}");
    assert_eq!(gate.send("POST", "/token", None, &both, &form).await.status, 400);
    assert_eq!(
        gate.send("POST", "/token", None, "Content-Type: application/json\r\n", "{}").await.status,
        415
    );
    for method in ["PUT", "DELETE", "HEAD", "OPTIONS"] {
        let reply = gate.send(method, "/token", Some(READ_WRITE), "", "").await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, POST")), "{method}");
    }
    assert_eq!((gate.gitlab.ledger().count(), gate.forwarded()), (0, 0));
}

/// A gate token is not accepted as a credential for another one, which would outlive the first, and
/// it is not shown to a provider.
#[tokio::test]
async fn a_gate_token_is_not_accepted_as_a_credential_for_another() {
    let gate = gate(Setup::default()).await;
    let made = token(&gate, READ_WRITE, "repository:demo/a:pull").await;
    let asked = gate.gitlab.ledger().count();
    assert_eq!(ask(&gate, Some(("alice", &made)), "").await.status, 401);
    let bearer = format!("Authorization: Bearer {made}\r\n");
    assert_eq!(gate.send("GET", "/token", None, &bearer, "").await.status, 401);
    assert_eq!(
        post(&gate, &format!("grant_type=password&username=alice&password={made}")).await.status,
        401
    );
    // It is not accepted as a password of a request either.
    let reply = gate.get("/v2/demo/a/tags/list", Some(("alice", &made))).await;
    assert_eq!(reply.status, 401);
    assert!(
        challenge(&reply).starts_with(&format!(
            "{START},scope=\"repository:demo/a:pull\",error=\"invalid_token\""
        ))
    );
    assert_eq!(gate.gitlab.ledger().count(), asked);
}

#[tokio::test]
async fn token_requests_are_logged_by_kind_and_without_the_token() {
    let gate = gate(Setup::default()).await;
    let made = token(&gate, READ_WRITE, "repository:demo/a:pull").await;
    super::with(&gate, &made, "GET", "/v2/demo/a/tags/list").await;
    let log = gate.log(2).await;
    assert_eq!(
        (&log[0]["operation"], &log[0]["credential_kind"]),
        (&json!("token"), &json!("basic"))
    );
    assert_eq!(
        (&log[1]["operation"], &log[1]["credential_kind"]),
        (&json!("tags"), &json!("gate_token"))
    );
    assert_eq!(log[0]["credential"], log[1]["credential"], "it is the same credential");
    assert_eq!(log[1]["subject"], "alice");
    assert!(!format!("{log:?}").contains(&made[..20]));
}
