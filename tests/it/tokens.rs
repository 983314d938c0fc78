//! The token service, and requests with the tokens that it issues.

mod asking;
mod grant;
mod refusal_texts;
mod requests;
mod sessions;
mod wire;
mod workload_sessions;

use serde_json::Value;

use crate::harness::{Reply, Setup, TestGate, basic};

/// Starts a gate that challenges for gate tokens.
async fn gate(setup: Setup) -> TestGate {
    TestGate::start(Setup { tokens: [vec!["challenge: bearer"], setup.tokens].concat(), ..setup })
        .await
}

/// Asks for a token by GET.
async fn ask(gate: &TestGate, credential: Option<(&str, &str)>, query: &str) -> Reply {
    gate.send("GET", &format!("/token?{query}"), credential, "", "").await
}

/// Asks for a token by POST.
async fn post(gate: &TestGate, form: &str) -> Reply {
    gate.send("POST", "/token", None, "Content-Type: application/x-www-form-urlencoded\r\n", form)
        .await
}

/// Returns a token for this credential and scope.
async fn token(gate: &TestGate, credential: (&str, &str), scope: &str) -> String {
    let reply = ask(gate, Some(credential), &format!("service=registry.test&scope={scope}")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    json(&reply)["token"].as_str().unwrap().to_owned()
}

fn json(reply: &Reply) -> Value {
    serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{error}: {reply:?}"))
}

/// Sends a request with a token.
async fn with(gate: &TestGate, token: &str, method: &str, target: &str) -> Reply {
    gate.send(method, target, None, &format!("Authorization: Bearer {token}\r\n"), "").await
}

/// Returns the `WWW-Authenticate` header.
fn challenge(reply: &Reply) -> &str {
    reply.header("www-authenticate").unwrap_or_else(|| panic!("no challenge: {reply:?}"))
}

const START: &str = "Bearer realm=\"http://registry.test/token\",service=\"registry.test\"";

/// Returns the `Authorization` header line of a user and password.
fn authorization(credential: (&str, &str)) -> String {
    format!("Authorization: {}\r\n", basic(credential))
}
