//! `upstream.authorization: grant`: the registry is shown the very token that GitLab issued for the request.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{gate, token, with};
use crate::harness::{READ_ONLY, READ_WRITE, Setup, TestGate, some_digest};

const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";

async fn with_grants() -> TestGate {
    gate(Setup { upstream: vec!["authorization: grant"], ..Setup::default() }).await
}

/// What the registry was shown last: the access that the token lists, and who it is for.
fn shown(gate: &TestGate) -> (Value, Value) {
    let received = gate.ledger.entries().pop().unwrap();
    let header = received.headers.get("authorization").expect("nothing was shown").to_str().unwrap().to_owned();
    let jwt = header.strip_prefix("Bearer ").unwrap();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let access = claims["access"].as_array().unwrap().iter();
    let access = access.map(|entry| json!([entry["name"], entry["actions"]])).collect::<Vec<_>>();
    (access.into(), claims["sub"].clone())
}

#[tokio::test]
async fn each_request_shows_the_token_that_was_issued_for_it() {
    let gate = with_grants().await;
    for (method, target, credential, access) in [
        ("GET", "/v2/demo/a/tags/list", READ_ONLY, json!([["demo/a", ["pull"]]])),
        ("POST", UPLOADS, READ_WRITE, json!([["demo/a", ["pull", "push"]]])),
        ("GET", "/v2/demo/b/tags/list", READ_WRITE, json!([["demo/b", ["pull"]]])),
    ] {
        gate.send(method, target, Some(credential), "", "").await;
        assert_eq!(shown(&gate), (access.clone(), json!("alice")), "{method} {target}");
        let made = token(&gate, credential, "repository:demo/a:pull,push+repository:demo/b:pull").await;
        with(&gate, &made, method, target).await;
        assert_eq!(shown(&gate).0, access, "a gate token is the same request");
    }
}

/// The registry judges both ends of a mount by one token.
#[tokio::test]
async fn a_mount_shows_one_token_for_both() {
    let gate = with_grants().await;
    let digest = some_digest();
    for (from, access) in [
        ("demo/b", json!([["demo/a", ["pull", "push"]], ["demo/b", ["pull"]]])),
        ("elsewhere/c", json!([["demo/a", ["pull", "push"]]])),
    ] {
        let target = format!("{UPLOADS}?mount={digest}&from={from}");
        assert_eq!(gate.send("POST", &target, Some(READ_WRITE), "", "").await.status, 202);
        assert_eq!(shown(&gate).0, access, "{from}");
        let mounts = gate.ledger.entries().pop().unwrap().target.contains("from=");
        assert_eq!(mounts, from == "demo/b");
    }
}

#[tokio::test]
async fn nothing_is_shown_where_the_config_does_not_say_so() {
    let gate = gate(Setup::default()).await;
    gate.send("GET", "/v2/demo/a/tags/list", Some(READ_WRITE), "", "").await;
    assert!(gate.ledger.entries().pop().unwrap().headers.get("authorization").is_none());
}
