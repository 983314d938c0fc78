//! Revoked workload tokens, and the gate tokens from before a revocation.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use moorgate::demo::issuer::OidcIssuer;
use serde_json::{Value, json};

use super::{PULL, TOKEN, asked, get, post, revoke, setup};
use crate::harness::{READ_ONLY, READ_WRITE, Setup, TestGate, jobs, listener};

/// No provider can be asked about a workload token, so the gate itself refuses a revoked one until
/// it expires.
#[tokio::test]
async fn a_revoked_workload_token_is_refused() {
    let issuer = OidcIssuer::start(listener()).unwrap();
    let mut gate = TestGate::start(Setup {
        identity: Some(jobs(&issuer, "scopes: [read_registry]")),
        ..setup()
    })
    .await;
    let [one, two] = ["one", "two"].map(|id| issuer.id_token("a", &json!({ "jti": id })).unwrap());
    let bearer = async |gate: &TestGate, token: &str| {
        gate.send("GET", PULL, None, &format!("Authorization: Bearer {token}\r\n"), "").await.status
    };
    assert_eq!((bearer(&gate, &one).await, bearer(&gate, &two).await), (404, 404));
    revoke(&gate, &format!("token={one}")).await;
    for _ in 0..2 {
        assert_eq!((bearer(&gate, &one).await, bearer(&gate, &two).await), (401, 404));
        assert_eq!(get(&gate, ("oidc", &one)).await, 401);
        // The refusal survives a reload too, even one that changes the provider.
        gate.edit("scopes: [read_registry]", "scopes: [read_registry, other]");
        assert!(gate.reload().await);
        gate.edit("scopes: [read_registry, other]", "scopes: [read_registry]");
        assert!(gate.reload().await);
    }
}

/// A revoked token stays refused under another user name, and with the other signature that anyone
/// with an ECDSA signature (r, s) can write without the key: (r, n - s).
#[tokio::test]
async fn a_revoked_workload_token_is_refused_in_every_spelling() {
    let issuer = OidcIssuer::start(listener()).unwrap();
    issuer.rotate_to_es256().unwrap();
    let token = issuer.id_token("a", &json!({})).unwrap();
    let twin = other_signature(&token);
    for by_name in [false, true] {
        let gate = TestGate::start(Setup {
            identity: Some(jobs(&issuer, "scopes: [read_registry]")),
            ..setup()
        })
        .await;
        let all = [("oidc", &*token), ("other", &token), ("oidc", &twin)];
        for credential in all {
            assert_eq!(get(&gate, credential).await, 404);
        }
        let log = gate.log(3).await;
        assert!(
            log.iter().all(|line| line["credential"] == log[0]["credential"]),
            "one name: {log:?}"
        );
        let name = log[0]["credential"].as_str().unwrap();
        revoke(
            &gate,
            &if by_name { format!("credential={name}") } else { format!("token={token}") },
        )
        .await;
        for credential in all {
            assert_eq!(get(&gate, credential).await, 401);
        }
        let other = issuer.id_token("a", &json!({})).unwrap();
        assert_eq!(get(&gate, ("oidc", &other)).await, 404, "another token of the same job");
    }
}

/// Returns an ES256 token with s replaced by n - s (SEC 1, 4.1.4: both verify).
fn other_signature(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let mut borrow = 0;
    for at in (0..32).rev() {
        let order = i16::from_str_radix(&order[at * 2..at * 2 + 2], 16).unwrap();
        let left = order - i16::from(signature[32 + at]) - borrow;
        borrow = i16::from(left < 0);
        signature[32 + at] = u8::try_from(left.rem_euclid(256)).unwrap();
    }
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// A revocation is aimed at callers who hold an older gate token, so such tokens are refused until
/// they expire, even if the provider accepts the credential.
#[tokio::test]
async fn gate_tokens_from_before_a_revocation_are_refused() {
    let gate = TestGate::start(setup()).await;
    let made = async |credential| {
        let reply = gate.get("/token?scope=repository:demo/a:pull", Some(credential)).await;
        serde_json::from_str::<Value>(&reply.body).unwrap()["token"].as_str().unwrap().to_owned()
    };
    let with = async |token: &str, target: &str| {
        gate.send("GET", target, None, &format!("Authorization: Bearer {token}\r\n"), "").await
    };
    let mut old = made(READ_WRITE).await;
    let others = made(READ_ONLY).await;
    let fingerprint = {
        assert_eq!(get(&gate, READ_WRITE).await, 404);
        let log = gate.log(3).await;
        log[2]["credential"].as_str().unwrap().to_owned()
    };
    for form in [
        format!("token={}", READ_WRITE.1),
        format!("credential={fingerprint}"),
        format!("token={old}"),
    ] {
        assert_eq!(with(&old, PULL).await.status, 404);
        revoke(&gate, &form).await;
        let before = asked(&gate);
        for target in [PULL, "/v2/"] {
            let reply = with(&old, target).await;
            assert_eq!(reply.status, 401, "{form:.10} {target}");
            assert!(
                reply.header("www-authenticate").unwrap().contains("error=\"invalid_token\""),
                "{reply:?}"
            );
        }
        assert_eq!(asked(&gate), before, "nobody is asked about it");
        assert_eq!(
            get(&gate, READ_WRITE).await,
            404,
            "the credential is good still, says its provider"
        );
        let new = made(READ_WRITE).await;
        assert_eq!((with(&new, PULL).await.status, with(&others, PULL).await.status), (404, 404));
        assert_eq!(with(&old, PULL).await.status, 401, "to its end");
        old = new;
    }
}

/// A token for callers without a credential does not revoke anything. Otherwise it would revoke
/// access for all callers without a credential.
#[tokio::test]
async fn a_token_of_an_anonymous_caller_revokes_nothing() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", anonymous: true }";
    let gate = TestGate::start(Setup { identity: Some(identity), ..setup() }).await;
    gate.gitlab.set_public("demo");
    let reply = gate.get("/token?scope=repository:demo/a:pull", None).await;
    let token =
        serde_json::from_str::<Value>(&reply.body).unwrap()["token"].as_str().unwrap().to_owned();
    let headers = format!(
        "Authorization: Bearer {TOKEN}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    );
    let reply = post(&gate, &headers, &format!("token={token}")).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(gate.send("GET", PULL, None, &bearer, "").await.status, 404);
}
