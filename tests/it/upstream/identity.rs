//! What the registry learns of the caller: `upstream.identity_headers`.

use crate::harness::{EMPTY_INDEX, INDEX_TYPE, READ_WRITE, Setup, TestGate};

const BOB: (&str, &str) = ("bob+ci@example.com", "password-of-bob");
const TAGS: &str = "/v2/demo/a/tags/list";
const JOB: (&str, &str) = ("gitlab-ci-token", "glcbt-demo-job-read-write");

/// A client that says that it is somebody else.
const FORGED: &str = "X-Forwarded-User: root\r\nX-Forwarded-User: admin\r\n\
                      X-Forwarded-Provider: evil\r\n";

async fn gate(upstream: &[&'static str]) -> TestGate {
    TestGate::start(Setup {
        identity: Some(
            "- { name: local, type: htpasswd, file: htpasswd, \
             scopes: [read_registry, write_registry] }\n\
             - { name: gitlab, type: gitlab, url: \"{gitlab}\" }",
        ),
        htpasswd_users: vec![BOB],
        upstream: upstream.to_vec(),
        policy: vec![
            "rules:",
            "  - { name: all, repositories: [\"demo/**\"], who: [anonymous, authenticated], \
             allow: [pull, push], immutable: true }",
        ],
        ..Setup::default()
    })
    .await
}

/// What the registry was told of the caller of each request since the last look: the method, and
/// the provider and user if they were told.
fn told(gate: &TestGate, from: usize) -> Vec<String> {
    let entries = gate.ledger.entries().split_off(from);
    let told = entries.iter().map(|entry| {
        let values = |name: &str| {
            let values: Vec<_> = entry.headers.get_all(name).iter().collect();
            let [value] = &values[..] else {
                assert!(values.is_empty(), "{values:?}");
                return "-".to_owned();
            };
            value.to_str().unwrap().to_owned()
        };
        let [provider, user] = ["x-forwarded-provider", "x-forwarded-user"].map(values);
        format!("{} {provider} {user}", entry.method)
    });
    told.collect()
}

#[tokio::test]
async fn the_registry_learns_the_caller_of_every_request() {
    let gate = gate(&["identity_headers: true"]).await;
    let put = |who| gate.send("PUT", "/v2/demo/a/manifests/v1", Some(who), INDEX_TYPE, EMPTY_INDEX);
    assert_eq!(put(BOB).await.status, 201);
    // The look-up of an immutable tag is the gate's own request, on behalf of the caller.
    let bob = "local bob%2Bci%40example.com";
    assert_eq!(told(&gate, 0), [format!("HEAD {bob}"), format!("PUT {bob}")]);
    for (caller, target, expected) in [
        (Some(BOB), TAGS, format!("GET {bob}")),
        // The pages of a filtered catalog.
        (Some(BOB), "/v2/_catalog", format!("GET {bob}")),
        (Some(READ_WRITE), TAGS, "GET gitlab alice".to_owned()),
        (Some(JOB), TAGS, "GET gitlab -".to_owned()),
        (None, TAGS, "GET - -".to_owned()),
    ] {
        let before = gate.forwarded();
        assert_eq!(gate.send("GET", target, caller, FORGED, "").await.status, 200, "{target}");
        assert_eq!(told(&gate, before), [expected], "{caller:?} {target}");
    }
}

#[tokio::test]
async fn without_the_key_the_registry_learns_nothing_and_believes_no_client() {
    let gate = gate(&[]).await;
    for caller in [Some(BOB), Some(READ_WRITE), Some(JOB), None] {
        gate.send("GET", TAGS, caller, FORGED, "").await;
    }
    assert_eq!(told(&gate, 0), ["GET - -"; 4]);
}
