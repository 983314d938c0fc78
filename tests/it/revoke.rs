//! `POST /revoke`: cached data about a credential is not used from then on, and nothing else is
//! affected.

mod forms;
mod tokens;

use std::time::Duration;

use http::StatusCode;
use moorgate::demo::Scripted;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{READ_ONLY, READ_WRITE, Reply, Setup, TestGate, read_to_close};
use crate::scripted_upstream::soon;

const PULL: &str = "/v2/demo/a/tags/list";
/// The content of `admin.token_file`.
pub const TOKEN: &str = "0123456789abcdef-admin";

fn setup() -> Setup {
    Setup {
        admin: vec!["token_file: admin.token"],
        files: vec![("admin.token", "0123456789abcdef-admin\n")],
        tokens: vec!["challenge: bearer"],
        ..Setup::default()
    }
}

async fn post(gate: &TestGate, headers: &str, form: &str) -> Reply {
    let mut stream = TcpStream::connect(gate.admin).await.unwrap();
    let message = format!(
        "POST /revoke HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: {}\r\n\
         {headers}\r\n{form}",
        form.len()
    );
    stream.write_all(message.as_bytes()).await.unwrap();
    Reply::parse(&read_to_close(&mut stream).await)
}

/// Sends this form, as an operator.
pub async fn try_to_revoke(gate: &TestGate, form: &str) -> Reply {
    let headers = format!(
        "Authorization: Bearer {TOKEN}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    );
    post(gate, &headers, form).await
}

/// Revokes what the form names, as an operator.
pub async fn revoke(gate: &TestGate, form: &str) {
    let reply = try_to_revoke(gate, form).await;
    assert_eq!((reply.status, &*reply.body), (200, "{\"revoked\":true}"), "{reply:?}");
}

fn asked(gate: &TestGate) -> usize {
    gate.gitlab.ledger().count()
}

async fn get(gate: &TestGate, credential: (&str, &str)) -> u16 {
    gate.get(PULL, Some(credential)).await.status
}

#[tokio::test]
async fn the_provider_is_asked_again_about_a_revoked_credential_alone() {
    let gate = TestGate::start(setup()).await;
    for _ in 0..2 {
        assert_eq!(
            (get(&gate, READ_WRITE).await, get(&gate, READ_ONLY).await, asked(&gate)),
            (404, 404, 2)
        );
    }
    revoke(&gate, &format!("token={}", READ_WRITE.1)).await;
    assert_eq!(
        (get(&gate, READ_WRITE).await, asked(&gate)),
        (404, 3),
        "the provider says yes again"
    );
    assert_eq!(
        (get(&gate, READ_WRITE).await, get(&gate, READ_ONLY).await, asked(&gate)),
        (404, 404, 3),
        "once"
    );
    // The purpose of the endpoint: the provider has revoked the credential, and the operator need
    // not wait for `ttl`.
    gate.gitlab.revoke(READ_WRITE.1);
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    revoke(&gate, &format!("token={}", READ_WRITE.1)).await;
    assert_eq!(get(&gate, READ_WRITE).await, 401);
    assert_eq!(get(&gate, ("other", READ_WRITE.1)).await, 401, "whatever stands beside it");
}

#[tokio::test]
async fn a_revocation_accepts_a_logged_credential_name_or_a_gate_token() {
    let gate = TestGate::start(setup()).await;
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    let name = gate.log(1).await[0]["credential"].as_str().unwrap().to_owned();
    revoke(&gate, &format!("credential={name}")).await;
    assert_eq!((get(&gate, READ_WRITE).await, asked(&gate)), (404, 2));

    let reply = gate.get("/token?scope=repository:demo/a:pull", Some(READ_ONLY)).await;
    let token =
        serde_json::from_str::<Value>(&reply.body).unwrap()["token"].as_str().unwrap().to_owned();
    let before = asked(&gate);
    revoke(&gate, &format!("token={token}")).await;
    assert_eq!(
        (get(&gate, READ_ONLY).await, asked(&gate)),
        (404, before + 1),
        "the credential inside"
    );
}

/// A revocation also ends stale answers, and it discards answers to questions from before.
#[tokio::test]
async fn no_answer_from_before_a_revocation_is_used() {
    let gate =
        TestGate::start(Setup { cache: vec!["ttl: 1ms", "stale_if_error: 10m"], ..setup() }).await;
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    let headers = Vec::new();
    gate.gitlab.always(Some(Scripted::Answer {
        status: StatusCode::BAD_GATEWAY,
        headers,
        body: String::new(),
    }));
    assert_eq!(get(&gate, READ_WRITE).await, 404, "stale");
    revoke(&gate, &format!("token={}", READ_WRITE.1)).await;
    assert_eq!(get(&gate, READ_WRITE).await, 503);

    gate.gitlab.always(None);
    gate.gitlab.script([Scripted::Delay(Duration::from_secs(1))]);
    let (slow, ()) = tokio::join!(get(&gate, READ_ONLY), async {
        soon(async {
            let of_the_slow_one = |secret: &SecretString| secret.expose_secret() == READ_ONLY.1;
            while !gate
                .gitlab
                .ledger()
                .entries()
                .iter()
                .any(|it| it.secret.as_ref().is_some_and(of_the_slow_one))
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let before = asked(&gate);
        revoke(&gate, &format!("token={}", READ_ONLY.1)).await;
        assert_eq!(
            (get(&gate, READ_ONLY).await, asked(&gate)),
            (404, before + 1),
            "not the answer under way"
        );
    });
    assert_eq!(slow, 404);
}

/// A request that waits for its provider while its credential is revoked is not admitted by an
/// earlier answer either.
#[tokio::test]
async fn a_request_that_waits_during_a_revocation_is_asked_about_again() {
    let gate =
        TestGate::start(Setup { cache: vec!["ttl: 1ms", "stale_if_error: 10m"], ..setup() }).await;
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    gate.gitlab.script([Scripted::Delay(Duration::from_secs(60))]);
    let (waited, ()) = tokio::join!(get(&gate, READ_WRITE), async {
        gate.gitlab.ledger().wait_until(|questions| questions.len() == 2).await;
        gate.gitlab.revoke(READ_WRITE.1);
        revoke(&gate, &format!("token={}", READ_WRITE.1)).await;
    });
    assert_eq!((waited, asked(&gate)), (401, 3), "not what was true before");
}

/// A token that GitLab issued for the credential before is not sent to the registry any more.
#[tokio::test]
async fn grants_from_before_a_revocation_are_not_sent_to_the_registry() {
    let upstream = vec!["authorization: grant"];
    let gate = TestGate::start(Setup { upstream, ..setup() }).await;
    let shown =
        |gate: &TestGate| gate.ledger.entries().pop().unwrap().headers["authorization"].clone();
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    let before = shown(&gate);
    assert_eq!((get(&gate, READ_WRITE).await, shown(&gate)), (404, before.clone()));
    revoke(&gate, &format!("token={}", READ_WRITE.1)).await;
    assert_eq!((get(&gate, READ_WRITE).await, asked(&gate)), (404, 2));
    assert_ne!(shown(&gate), before);
    gate.gitlab.revoke(READ_WRITE.1);
    revoke(&gate, &format!("token={}", READ_WRITE.1)).await;
    let forwarded = gate.forwarded();
    assert_eq!((get(&gate, READ_WRITE).await, gate.forwarded()), (401, forwarded));
}

/// Replicas with the same key file give a credential the same name, so that one line in one log
/// serves for all of them.
#[tokio::test]
async fn replicas_with_one_key_file_log_the_same_credential_name() {
    let key = ("keys", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n");
    let mut names = Vec::new();
    for key_file in ["key_file: keys", "key_file: keys", "key_file: null"] {
        let gate =
            TestGate::start(Setup { tokens: vec![key_file], files: vec![key], ..Setup::default() })
                .await;
        get(&gate, READ_WRITE).await;
        names.push(gate.log(1).await[0]["credential"].clone());
    }
    assert_eq!(names[0], names[1]);
    assert_ne!(names[0], names[2]);
}
