//! htpasswd users, alone and in front of GitLab.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{READ_WRITE, Setup, TestGate, some_digest};

const ALONE: &str = "- { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }";
const CHAIN: &str =
    "- { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry, write_registry] }
- { name: gitlab, type: gitlab, url: \"{gitlab}\" }";

fn long(length: usize) -> &'static str {
    Box::leak("x".repeat(length).into_boxed_str())
}

#[tokio::test]
async fn the_configured_scopes_decide_what_htpasswd_users_may_do() {
    let users = vec![("alice", "secret"), ("long", long(72))];
    let gate =
        TestGate::start(Setup { identity: Some(ALONE), htpasswd_users: users, ..Setup::default() })
            .await;
    for (method, target, who, status) in [
        ("GET", "/v2/".to_owned(), ("alice", "secret"), 200),
        ("GET", "/v2/".into(), ("alice", "Secret"), 401),
        ("GET", "/v2/".into(), ("bob", "secret"), 401),
        ("GET", "/v2/".into(), ("long", long(72)), 200),
        // bcrypt reads 72 bytes, so one more is refused rather than ignored.
        ("GET", "/v2/".into(), ("long", long(73)), 401),
        ("GET", "/v2/any/name/tags/list".into(), ("alice", "secret"), 404),
        ("POST", "/v2/any/name/blobs/uploads/".into(), ("alice", "secret"), 403),
        ("DELETE", format!("/v2/any/name/blobs/{}", some_digest()), ("alice", "secret"), 403),
    ] {
        assert_eq!(
            gate.send(method, &target, Some(who), "", "").await.status,
            status,
            "{method} {target} {who:?}"
        );
    }
    let reply =
        gate.send("POST", "/v2/any/name/blobs/uploads/", Some(("alice", "secret")), "", "").await;
    assert!(reply.body.contains("token lacks write_registry"), "{}", reply.body);
    let bearer = "Authorization: Bearer secret\r\n";
    assert_eq!(gate.send("GET", "/v2/", None, bearer, "").await.status, 401);
}

/// A password is checked once within the ttl, for any number of repositories.
#[tokio::test]
async fn a_password_is_checked_once_for_all_repositories() {
    let users = vec![("alice", "secret")];
    let gate =
        TestGate::start(Setup { identity: Some(ALONE), htpasswd_users: users, ..Setup::default() })
            .await;
    for repository in ["a", "b", "c"] {
        gate.get(&format!("/v2/{repository}/tags/list"), Some(("alice", "secret"))).await;
    }
    let metrics = gate.admin("/metrics").await.body;
    let count =
        "moorgate_introspection_duration_seconds_count{provider=\"local\",result=\"verified\"} 1";
    assert!(metrics.contains(count), "{metrics}");
}

/// GitLab is not asked about a user of the htpasswd file: it sees neither the right password nor a
/// wrong one.
#[tokio::test]
async fn gitlab_is_asked_only_about_users_who_are_not_in_the_file() {
    let users = vec![("alice", "secret")];
    let gate =
        TestGate::start(Setup { identity: Some(CHAIN), htpasswd_users: users, ..Setup::default() })
            .await;
    assert_eq!(gate.get("/v2/", Some(("alice", "secret"))).await.status, 200);
    assert_eq!(gate.get("/v2/", Some(("alice", READ_WRITE.1))).await.status, 401);
    assert_eq!(gate.gitlab.ledger().count(), 0);
    assert_eq!(gate.get("/v2/", Some(("carol", READ_WRITE.1))).await.status, 200);
    assert_eq!(gate.gitlab.ledger().count(), 1);
    let log = gate.log(3).await;
    let who: Vec<_> =
        log.iter().map(|line| (line["provider"].clone(), line["subject"].clone())).collect();
    assert_eq!(who[0], ("local".into(), "alice".into()));
    assert_eq!(who[2], ("gitlab".into(), "alice".into()));
}

/// Each wrong password takes CPU time. Callers at other addresses wait for one of them at most,
/// however many come from one address.
#[tokio::test]
async fn a_flood_of_wrong_passwords_delays_its_own_address_only() {
    const WRONG: usize = 40;
    let hash = bcrypt::hash("right", 8).unwrap();
    let users: &'static str = format!("alice:{hash}\n").leak();
    let setup = Setup {
        http: vec!["trusted_proxies: [127.0.0.0/8]"],
        limits: vec!["failed_logins: null"],
        files: vec![("htpasswd", users)],
        identity: Some(ALONE),
        ..Setup::default()
    };
    let (gate, answered) = (Arc::new(TestGate::start(setup).await), Arc::new(AtomicUsize::new(0)));
    let (first, mut is_there) = tokio::sync::mpsc::channel(WRONG);
    let flood = (0..WRONG).map(|number| {
        let (gate, answered, first) = (gate.clone(), answered.clone(), first.clone());
        tokio::spawn(async move {
            let from = "X-Forwarded-For: 203.0.113.66\r\n";
            gate.send("GET", "/v2/", Some(("alice", &format!("wrong-{number}"))), from, "").await;
            answered.fetch_add(1, Ordering::Relaxed);
            let _ = first.send(()).await;
        })
    });
    let flood: Vec<_> = flood.collect();
    is_there.recv().await.unwrap();
    assert_eq!(gate.get("/v2/", Some(("alice", "right"))).await.status, 200);
    let before = answered.load(Ordering::Relaxed);
    assert!(before < WRONG / 2, "it came after {before} of {WRONG}");
    for one in flood {
        one.await.unwrap();
    }
}
