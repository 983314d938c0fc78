//! The memory that credentials take in Redis. docs/operations.md has the figures; the command there
//! prints them.

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;

use moorgate::demo::gitlab::{SampleCredential, sample_credentials};
use moorgate::demo::introspection::{CLIENT_SECRET, Introspection, SampleToken};
use serde_json::json;

use super::{Replicas, revoke, soon};
use crate::harness::{Setup, listener};

const CREDENTIALS: usize = 300;

/// What the keys of credentials are for, by the part of their name after the hash.
const KINDS: [(&str, &str); 3] =
    [("v", "verdict"), ("p", "mark of a secret with verdicts"), ("g", "known-good pair")];

/// Returns the bytes of all keys of each kind, and checks that each key expires.
fn bytes(replicas: &Replicas) -> BTreeMap<String, usize> {
    let mut bytes = BTreeMap::new();
    for key in replicas.redis.ask(&["KEYS", "moorgate:*"]).lines() {
        let life: i64 = replicas.redis.ask(&["PTTL", key]).parse().unwrap();
        assert_ne!(life, -1, "{key} never expires");
        let used = replicas.redis.ask(&["MEMORY", "USAGE", key]);
        let (Some(kind), Ok(used)) = (key.split("}:").nth(1), used.parse::<usize>()) else {
            continue;
        };
        *bytes.entry(kind.split(':').next().unwrap().to_owned()).or_default() += used;
    }
    bytes
}

async fn print(replicas: &Replicas, what: &str, most: usize) {
    let put = format!("shared_verdicts_total{{result=\"put\"}} {CREDENTIALS}\n");
    let are_put = async || replicas.gates[0].admin("/metrics").await.body.contains(&put);
    soon("the verdicts are in Redis", are_put).await;
    let pairs = async || {
        let pairs = replicas.redis.ask(&["KEYS", "moorgate:*:g:*"]);
        pairs.lines().count() == CREDENTIALS
    };
    soon("the known-good pairs are in Redis", pairs).await;
    let bytes = bytes(replicas);
    let mut all = 0;
    for (kind, meaning) in KINDS {
        let each = bytes.get(kind).copied().unwrap_or_default() / CREDENTIALS;
        println!("{what}: {meaning}: {each} bytes a credential");
        all += each;
    }
    println!("{what}: {all} bytes a credential");
    assert!(all < most, "{all} bytes a credential");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_a_verdict_with_scopes() {
    let introspection = Introspection::start(listener()).unwrap();
    let identity = format!(
        "- {{ name: sso, type: introspection, url: \"{}\", client_id: moorgate, \
         client_secret_file: secret }}",
        introspection.url()
    );
    let identity: &'static str = identity.leak();
    let replicas = Replicas::start_as(1, || Setup {
        identity: Some(identity),
        files: vec![("secret", CLIENT_SECRET)],
        ..Setup::default()
    })
    .await;
    for number in 0..CREDENTIALS {
        let token = format!("sso-token-{number}");
        let claims =
            json!({ "scope": "read_registry write_registry", "sub": format!("u{number}") });
        introspection.add(SampleToken { token: token.clone(), claims, revoked: false, note: "" });
        let header = format!("Authorization: Bearer {token}\r\n");
        let reply = replicas.gates[0].send("GET", "/v2/demo/a/tags/list", None, &header, "").await;
        assert_eq!(reply.status, 404, "{}", reply.body);
    }
    print(&replicas, "scopes", 1280).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_a_grant() {
    let replicas = Replicas::start_as(1, || Setup {
        upstream: vec!["authorization: grant"],
        ..Setup::default()
    })
    .await;
    let sample = sample_credentials().remove(0);
    for number in 0..CREDENTIALS {
        let password = format!("glpat-memory-{number:04}");
        replicas.gitlab.add(SampleCredential { password: password.clone(), ..sample.clone() });
        let gate = &replicas.gates[0];
        let reply = gate.get("/v2/demo/a/tags/list", Some(("any", &password))).await;
        assert_eq!(reply.status, 404, "{}", reply.body);
    }
    print(&replicas, "grant", 4096).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_a_wrong_credential() {
    let limits = ["failed_logins: { rate: 1000/s, burst: 10000 }"];
    let replicas = Replicas::start(1, &limits).await;
    for number in 0..CREDENTIALS {
        let wrong = format!("glpat-memory-{number:04}");
        assert_eq!(replicas.gates[0].get("/v2/", Some(("any", &wrong))).await.status, 401);
    }
    let refusals = async || {
        let refusals = replicas.redis.ask(&["KEYS", "moorgate:*:n:*"]);
        refusals.lines().count() == CREDENTIALS
    };
    soon("the refusals are in Redis", refusals).await;
    let each = bytes(&replicas)["n"] / CREDENTIALS;
    println!("wrong credential: {each} bytes");
    assert!(each < 1024, "{each} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_a_revocation() {
    const REVOCATIONS: usize = 100;
    let replicas = Replicas::start(1, &[]).await;
    for number in 0..REVOCATIONS {
        revoke(&replicas.gates[0], &format!("a-revoked-token-{number}")).await;
    }
    let stream = "moorgate:{gates}:revocations";
    let length = || replicas.redis.ask(&["XLEN", stream]).parse::<usize>().unwrap();
    soon("the revocations are in the stream", async || length() >= REVOCATIONS).await;
    let used: usize =
        replicas.redis.ask(&["MEMORY", "USAGE", stream, "SAMPLES", "0"]).parse().unwrap();
    println!("revocation: {} bytes", used / REVOCATIONS);
    assert!(used / REVOCATIONS < 1024, "{used} bytes");
    assert_ne!(replicas.redis.ask(&["PTTL", stream]), "-1");
}
