//! The callers that are not stopped when wrong credentials have used up all places of their
//! address.

use std::sync::Arc;

use moorgate::demo::gitlab::sample_credentials;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{ATTACKER, OFFICE, PROXY, PULL, asked, few, gate, get_from, pull_from, spend};
use crate::harness::{READ_ONLY, READ_WRITE, Reply, Setup, TestGate, read_to_close};

#[tokio::test]
async fn a_credential_known_good_from_the_address_is_not_limited() {
    let gate = gate(Setup { cache: vec!["ttl: 1ms"], ..few() }).await;
    assert_eq!(pull_from(&gate, ATTACKER, READ_WRITE).await, 404);
    assert_eq!(pull_from(&gate, OFFICE, READ_ONLY).await, 404);
    spend(&gate, ATTACKER).await;
    let before = asked(&gate);
    for number in 0..30 {
        let target = format!("/v2/demo/r{number}/tags/list");
        assert_eq!(get_from(&gate, ATTACKER, &target, Some(READ_WRITE)).await.status, 404);
    }
    assert_eq!(asked(&gate), before + 30, "asked anew each time");
    assert_eq!(pull_from(&gate, ATTACKER, READ_ONLY).await, 429, "good from elsewhere only");
    // The same secret presented as Bearer is a different credential, which is not known as good.
    let bearer =
        format!("X-Forwarded-For: {ATTACKER}\r\nAuthorization: Bearer {}\r\n", READ_WRITE.1);
    assert_eq!(gate.send("GET", PULL, None, &bearer, "").await.status, 429);
}

/// A credential that is verified from the cache becomes known as good for the caller's address too.
#[tokio::test]
async fn a_cached_verdict_makes_a_credential_known_good_at_another_address() {
    let gate =
        gate(Setup { identity: Some(HTPASSWD), htpasswd_users: vec![("alice", "right")], ..few() })
            .await;
    for address in [OFFICE, ATTACKER] {
        assert_eq!(pull_from(&gate, address, ("alice", "right")).await, 404);
    }
    let metrics = gate.admin("/metrics").await.body;
    assert!(metrics.contains("result=\"verified\"} 1\n"), "checked once: {metrics}");
    spend(&gate, ATTACKER).await;
    assert_eq!(pull_from(&gate, ATTACKER, ("alice", "right")).await, 404);
}

const HTPASSWD: &str = "- { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }";

#[tokio::test]
async fn a_revoked_credential_is_no_longer_known_good() {
    let gate = gate(Setup { cache: vec!["ttl: 1ms", "negative_ttl: 1ms"], ..few() }).await;
    assert_eq!(pull_from(&gate, ATTACKER, READ_WRITE).await, 404);
    gate.gitlab.revoke(READ_WRITE.1);
    // The revoked credential counts like any other wrong one, from the first rejection on, except
    // while the rejection is still cached.
    while pull_from(&gate, ATTACKER, READ_WRITE).await != 429 {
        assert!(asked(&gate) <= 4);
    }
    assert_eq!(asked(&gate), 4);
}

#[tokio::test]
async fn a_revocation_by_the_operator_makes_a_credential_unknown() {
    for form in [format!("token={}", READ_WRITE.1), "credential".to_owned()] {
        let admin = vec!["token_file: admin.token"];
        let gate = gate(Setup {
            admin,
            files: vec![("admin.token", "0123456789abcdef-admin\n")],
            ..few()
        })
        .await;
        assert_eq!(pull_from(&gate, ATTACKER, READ_WRITE).await, 404);
        assert_eq!(pull_from(&gate, ATTACKER, READ_ONLY).await, 404);
        spend(&gate, ATTACKER).await;
        assert_eq!(pull_from(&gate, ATTACKER, READ_WRITE).await, 404);
        let fingerprint = gate.log(1).await[0]["credential"].as_str().unwrap().to_owned();
        revoke(&gate, &form.replace("credential", &format!("credential={fingerprint}"))).await;
        assert_eq!(pull_from(&gate, ATTACKER, READ_WRITE).await, 429);
        assert_eq!(pull_from(&gate, ATTACKER, READ_ONLY).await, 404, "another one");
        assert_eq!(pull_from(&gate, OFFICE, READ_WRITE).await, 404, "GitLab says yes again");
    }
}

async fn revoke(gate: &TestGate, form: &str) {
    let message = format!(
        "POST /revoke HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\
         Authorization: Bearer 0123456789abcdef-admin\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let mut stream = TcpStream::connect(gate.admin).await.unwrap();
    stream.write_all(message.as_bytes()).await.unwrap();
    assert_eq!(Reply::parse(&read_to_close(&mut stream).await).status, 200);
}

/// A hundred CI jobs behind one address, each with a new token, all get in: they hold places while
/// GitLab is asked about them, and wait for each other.
#[tokio::test]
async fn a_hundred_new_valid_credentials_at_once_are_all_admitted() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", timeout: 20s }";
    let gate = Arc::new(gate(Setup { identity: Some(identity), ..few() }).await);
    let mut sample = sample_credentials().remove(0);
    for number in 0..100 {
        sample.password = format!("glpat-honest-{number}");
        gate.gitlab.add(sample.clone());
    }
    let callers = (0..100).map(|number| {
        let gate = gate.clone();
        tokio::spawn(async move {
            pull_from(&gate, OFFICE, ("alice", &format!("glpat-honest-{number}"))).await
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        assert_eq!(caller.await.unwrap(), 404);
    }
    assert_eq!(asked(&gate), 100);
}

#[tokio::test]
async fn anonymous_requests_are_not_limited_as_logins() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", anonymous: true }";
    let gate =
        gate(Setup { identity: Some(identity), tokens: vec!["challenge: bearer"], ..few() }).await;
    gate.gitlab.set_public("open");
    spend(&gate, ATTACKER).await;
    for number in 0..5 {
        assert_eq!(
            get_from(&gate, ATTACKER, &format!("/v2/open/{number}/tags/list"), None).await.status,
            404
        );
        assert_eq!(get_from(&gate, ATTACKER, PULL, None).await.status, 401);
    }
    assert_eq!(
        get_from(&gate, ATTACKER, "/token?scope=repository:open/a:pull", None).await.status,
        200
    );
}

/// A gate token counts as the credential that is sealed in it.
#[tokio::test]
async fn a_gate_token_counts_as_the_credential_sealed_in_it() {
    let setup =
        Setup { tokens: vec!["challenge: bearer"], cache: vec!["negative_ttl: 1ms"], ..few() };
    let gate = TestGate::start(Setup { http: vec![PROXY], ..setup }).await;
    let reply =
        get_from(&gate, OFFICE, "/token?scope=repository:demo/a:pull", Some(READ_WRITE)).await;
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let token = body["token"].as_str().unwrap();
    let with = async |address: &str, token: &str| {
        let headers = format!("X-Forwarded-For: {address}\r\nAuthorization: Bearer {token}\r\n");
        gate.send("GET", PULL, None, &headers, "").await.status
    };
    // A provider is not asked about forged gate tokens, and they reveal nothing, so they do not
    // count.
    for number in 0..30 {
        assert_eq!(with(OFFICE, &format!("mg1.forged{number}")).await, 401);
    }
    for address in [OFFICE, ATTACKER] {
        spend(&gate, address).await;
    }
    assert_eq!((with(OFFICE, token).await, with(ATTACKER, token).await), (404, 429));
    assert_eq!(with(ATTACKER, "mg1.forged").await, 401);
    gate.gitlab.revoke(READ_WRITE.1);
}
