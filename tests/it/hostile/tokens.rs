//! Class 28: the token service takes no credential that `Authorization` would not, and a gate token is shown to nobody.

use serde_json::Value;

use crate::harness::{Reply, TestGate};

async fn post(gate: &TestGate, form: &str) -> Reply {
    gate.send("POST", "/token", None, "Content-Type: application/x-www-form-urlencoded\r\n", form).await
}

/// What is refused in a header is no better in a form: it would be sealed, and asked about as another user's.
#[tokio::test]
async fn a_form_holds_what_basic_may_hold() {
    let gate = TestGate::plain().await;
    for (user, password) in [
        ("alice", ""),
        ("alice", "a%00b"),
        ("alice", "a%0D%0Ab"),
        ("a%00", "b"),
        ("alice", "%C2%85x"),
        // A header would say: alice, and the rest is the password.
        ("alice%3Aglpat-demo-personal", "read-write"),
    ] {
        let form = format!("grant_type=password&username={user}&password={password}");
        let reply = post(&gate, &form).await;
        assert_eq!(reply.status, 401, "{form}: {reply:?}");
        let answer: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(answer["error"], "invalid_grant", "{form}");
    }
    assert_eq!(gate.gitlab.ledger().count(), 0, "a provider was asked");
}
