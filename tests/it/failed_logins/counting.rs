//! The attempts that count as wrong credentials, and how often each counts.

use std::sync::Arc;

use http::StatusCode;
use moorgate::demo::Scripted;
use moorgate::demo::gitlab::sample_credentials;
use moorgate::demo::issuer::OidcIssuer;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::{ATTACKER, OFFICE, PULL, asked, few, gate, get_from, pull_from};
use crate::harness::{READ_WRITE, Setup, listener, request};

/// One wrong credential counts once, however often it is sent, because Docker repeats a wrong
/// password for each layer and podman for each image.
#[tokio::test]
async fn a_repeated_wrong_credential_counts_once() {
    let gate = Arc::new(gate(few()).await);
    let pulls = (0..30).map(|number| {
        let gate = gate.clone();
        // Each repository is a separate question.
        let target = format!("/v2/demo/r{number}/tags/list");
        tokio::spawn(async move {
            get_from(&gate, OFFICE, &target, Some(("alice", "expired"))).await.status
        })
    });
    for pull in pulls.collect::<Vec<_>>() {
        assert_eq!(pull.await.unwrap(), 401);
    }
    for _ in 0..30 {
        assert_eq!(pull_from(&gate, OFFICE, ("alice", "expired")).await, 401, "it is remembered");
    }
    for status in [401, 401, 429] {
        let credential = format!("wrong-{}", asked(&gate));
        assert_eq!(pull_from(&gate, OFFICE, ("alice", &credential)).await, status);
    }
}

#[tokio::test]
async fn a_credential_that_three_providers_reject_counts_once() {
    let identity = "- { name: first, type: gitlab, url: \"{gitlab}\" }
- { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }
- { name: third, type: gitlab, url: \"{gitlab}\" }";
    let users = vec![("bob", "right")];
    let gate = gate(Setup { identity: Some(identity), htpasswd_users: users, ..few() }).await;
    for (number, status) in [401, 401, 401, 429].into_iter().enumerate() {
        assert_eq!(pull_from(&gate, ATTACKER, ("alice", &format!("wrong-{number}"))).await, status);
    }
    assert_eq!(asked(&gate), 6);
    // A credential that a later provider in the chain verifies is not a wrong one, whichever
    // providers rejected it before.
    for number in 0..5 {
        let target = format!("/v2/demo/r{number}/tags/list");
        assert_eq!(get_from(&gate, OFFICE, &target, Some(READ_WRITE)).await.status, 404);
    }
}

/// A rejection counts even if the failure budget of the next provider is spent. Otherwise a caller
/// could spend that budget and then guess at the first provider for free.
#[tokio::test]
async fn a_rejection_counts_if_the_budget_of_the_next_provider_is_spent() {
    let identity = "- { name: first, type: gitlab, url: \"{gitlab}\" }
- { name: second, type: gitlab, url: \"{gitlab}\", failure_budget: 1/h }";
    let gate = gate(Setup { identity: Some(identity), ..few() }).await;
    for (number, status) in [401, 429, 429, 429].into_iter().enumerate() {
        assert_eq!(pull_from(&gate, ATTACKER, ("alice", &format!("wrong-{number}"))).await, status);
    }
    let reasons: Vec<_> = gate.log(4).await.iter().map(|line| line["reason"].clone()).collect();
    assert_eq!(
        reasons,
        ["wrong_credential", "failure_budget_spent", "failure_budget_spent", "over_failed_logins"]
    );
    assert_eq!(asked(&gate), 4, "the last one was asked of nobody");
    assert_eq!(pull_from(&gate, OFFICE, READ_WRITE).await, 404);
}

#[tokio::test]
async fn wrong_htpasswd_passwords_and_wrong_workload_tokens_count() {
    let issuer = OidcIssuer::start(listener()).unwrap();
    let identity = format!(
        "- {{ name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }}\n\
         - {{ name: workloads, type: jwt, issuer: \"{}\", jwks_url: \"{}\", \
         audience: registry.example.com, \
         required_claims: {{ namespace_id: [\"42\"] }}, scopes: [read_registry] }}",
        issuer.url(),
        issuer.jwks_url()
    );
    let users = vec![("alice", "right")];
    let gate =
        gate(Setup { identity: Some(identity.leak()), htpasswd_users: users, ..few() }).await;
    for (number, status) in [401, 401, 401, 429].into_iter().enumerate() {
        assert_eq!(pull_from(&gate, ATTACKER, ("alice", &format!("wrong-{number}"))).await, status);
        let stranger = json!({ "namespace_id": "43", "jti": number.to_string() });
        let stranger = issuer.id_token("registry.example.com", &stranger).unwrap();
        assert_eq!(pull_from(&gate, "203.0.113.67", ("oidc", &stranger)).await, status);
    }
    assert_eq!(pull_from(&gate, OFFICE, ("alice", "right")).await, 404);
}

#[tokio::test]
async fn a_question_without_an_answer_is_not_a_wrong_credential() {
    let gate = gate(few()).await;
    for answer in
        [Scripted::Close, status(StatusCode::BAD_GATEWAY), status(StatusCode::TOO_MANY_REQUESTS)]
    {
        gate.gitlab.always(Some(answer));
        for number in 0..5 {
            assert_eq!(pull_from(&gate, OFFICE, ("alice", &format!("any-{number}"))).await, 503);
        }
    }
    gate.gitlab.always(None);
    while pull_from(&gate, OFFICE, READ_WRITE).await != 404 {
        tokio::task::yield_now().await;
    }
    for (number, status) in [401, 401, 401, 429].into_iter().enumerate() {
        assert_eq!(pull_from(&gate, OFFICE, ("alice", &format!("wrong-{number}"))).await, status);
    }
}

fn status(status: StatusCode) -> Scripted {
    Scripted::Answer { status, headers: Vec::new(), body: String::new() }
}

/// The attempt counts even if the caller disconnects before the answer.
#[tokio::test]
async fn guesses_of_callers_who_hang_up_count() {
    let gate = gate(few()).await;
    gate.gitlab.script((0..3).map(|_| Scripted::Delay(std::time::Duration::from_millis(20))));
    for number in 0..3 {
        let credential = format!("wrong-{number}");
        let headers = format!("X-Forwarded-For: {ATTACKER}\r\n");
        let mut stream = gate.connect().await;
        let message = request("GET", PULL, Some(("alice", &credential)), &headers, "");
        stream.write_all(message.as_bytes()).await.unwrap();
        gate.gitlab.ledger().wait_until(|questions| questions.len() > number).await;
        drop(stream);
    }
    // The last place is free, or the caller waits for it until the answers arrive. In both cases no
    // more credentials are asked about than the limit allows.
    assert_eq!(pull_from(&gate, ATTACKER, ("alice", "wrong-3")).await, 429);
    assert_eq!(asked(&gate), 3);
}

#[tokio::test]
async fn wrong_credentials_at_the_token_endpoint_count() {
    const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
    let gate = gate(few()).await;
    let headers = format!("X-Forwarded-For: {ATTACKER}\r\n{FORM}");
    let by_form =
        |password: &str| format!("grant_type=password&username=alice&password={password}");
    assert_eq!(get_from(&gate, ATTACKER, "/token", Some(("alice", "wrong-0"))).await.status, 401);
    for (number, status) in [(1, 401), (2, 401), (3, 429)] {
        let reply =
            gate.send("POST", "/token", None, &headers, &by_form(&format!("wrong-{number}"))).await;
        assert_eq!(reply.status, status);
        if status == 429 {
            let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
            assert_eq!(body["error"], "temporarily_unavailable");
            assert!(
                reply.header("retry-after").is_some()
                    && reply.header("cache-control") == Some("no-store")
            );
        }
    }
    let reply = get_from(&gate, ATTACKER, "/token", Some(READ_WRITE)).await;
    assert_eq!((reply.status, &*reply.code()), (429, "TOOMANYREQUESTS"));
    assert_eq!(
        (pull_from(&gate, ATTACKER, READ_WRITE).await, asked(&gate)),
        (429, 3),
        "one bound for both doors"
    );
}

/// While questions hold all places, the next caller waits for their outcome and takes a place that
/// is given back.
#[tokio::test]
async fn a_waiting_caller_gets_the_place_of_a_credential_that_proved_right() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", timeout: 20s }";
    let limits = vec!["failed_logins: { rate: 1/h, burst: 1 }"];
    let gate = Arc::new(gate(Setup { identity: Some(identity), limits, ..Setup::default() }).await);
    let mut sample = sample_credentials().remove(0);
    sample.password = "glpat-second".into();
    gate.gitlab.add(sample);
    let begin = |secret: &'static str| {
        let gate = gate.clone();
        tokio::spawn(async move { pull_from(&gate, OFFICE, ("alice", secret)).await })
    };
    gate.gitlab.script([Scripted::Delay(std::time::Duration::from_millis(100))]);
    let first = begin(READ_WRITE.1);
    gate.gitlab.ledger().wait_until(|questions| questions.len() == 1).await;
    let second = begin("glpat-second");
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (404, 404));
    let questions = gate.gitlab.ledger().entries();
    assert_eq!(questions.len(), 2);
}
