//! The cached verdicts: which ones are kept, for how long, and how often a provider is asked.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use moorgate::demo::Scripted;
use moorgate::demo::gitlab::GitLab;
use moorgate::denial::Denial;
use moorgate::http_client::HttpClient;
use moorgate::identity::authenticator::{Authenticator, CacheUse, ManagedProvider};
use moorgate::identity::cache::CacheLimits;
use moorgate::identity::model::credential::Credential;
use moorgate::identity::model::keyed_hash::HashKey;
use moorgate::identity::provider::AnyProvider;
use moorgate::identity::provider::registry_token::TokenServer;
use moorgate::metrics::Metrics;
use moorgate::net::client_tls;
use moorgate::registry::Access;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use crate::harness::{
    PATIENCE, READ_ONLY, READ_WRITE, Setup, TestGate, listener, read_head, read_reply, request,
};

#[tokio::test]
async fn ten_thousand_requests_need_one_question_per_repository_and_access() {
    // The ttl is longer than the requests take, even on a busy machine.
    let gate = TestGate::start(Setup { cache: vec!["ttl: 1h"], ..Setup::default() }).await;
    let requests = [
        ("GET", "/v2/demo/a/tags/list"),
        ("HEAD", "/v2/demo/b/manifests/v1"),
        ("POST", "/v2/demo/a/blobs/uploads/"),
    ]
    .map(|(method, target)| {
        request(method, target, Some(READ_WRITE), "", "").replace("Connection: close\r\n", "")
    });
    let mut stream = gate.connect().await;
    for number in 0..10_000 {
        // Mostly reads, because each upload leaves a file in the registry.
        let request = if number % 100 == 0 { &requests[2] } else { &requests[number % 2] };
        stream.write_all(request.as_bytes()).await.unwrap();
        if request.starts_with("HEAD") {
            read_head(&mut stream).await;
        } else {
            read_reply(&mut stream).await;
        }
    }
    assert_eq!((gate.gitlab.ledger().count(), gate.forwarded()), (3, 10_000));
}

#[tokio::test]
async fn a_thousand_concurrent_callers_share_one_question() {
    let gate = std::sync::Arc::new(TestGate::plain().await);
    gate.gitlab.script([Scripted::Delay(Duration::from_millis(300))]);
    let callers = (0..1000).map(|_| {
        let gate = gate.clone();
        tokio::spawn(async move { gate.get("/v2/demo/a/tags/list", Some(READ_WRITE)).await.status })
    });
    for caller in callers.collect::<Vec<_>>() {
        assert_eq!(caller.await.unwrap(), 404);
    }
    assert_eq!(gate.gitlab.ledger().count(), 1);
    let log = gate.log(1000).await;
    let used = |word: &str| log.iter().filter(|line| line["cache"] == word).count();
    assert_eq!((used("miss"), used("coalesced") + used("hit")), (1, 999));
    assert!(used("coalesced") > 0);
}

/// The question continues after its first caller has disconnected, and the next caller gets its
/// answer.
#[tokio::test]
async fn a_caller_who_hangs_up_neither_cancels_nor_repeats_the_question() {
    let gate = TestGate::plain().await;
    gate.gitlab.script([Scripted::Delay(Duration::from_millis(300))]);
    let mut stream = gate.connect().await;
    stream
        .write_all(request("GET", "/v2/demo/a/tags/list", Some(READ_WRITE), "", "").as_bytes())
        .await
        .unwrap();
    gate.gitlab.ledger().wait_until(|questions| questions.len() == 1).await;
    drop(stream);
    let line = gate.log(1).await.remove(0);
    assert_eq!((&line["status"], &line["reason"]), (&499.into(), &"client_aborted".into()));
    assert_eq!(gate.get("/v2/demo/a/tags/list", Some(READ_WRITE)).await.status, 404);
    assert_eq!(gate.gitlab.ledger().count(), 1);
}

#[tokio::test]
async fn a_revoked_credential_lives_no_longer_than_the_ttl() {
    let gate = TestGate::start(Setup { cache: vec!["ttl: 300ms"], ..Setup::default() }).await;
    assert_eq!(gate.get("/v2/", Some(READ_WRITE)).await.status, 200);
    assert!(gate.gitlab.revoke(READ_WRITE.1));
    let begun = std::time::Instant::now();
    while gate.get("/v2/", Some(READ_WRITE)).await.status == 200 {
        assert!(begun.elapsed() < PATIENCE, "it lives on");
    }
    assert_eq!(gate.gitlab.ledger().count(), 2);
}

#[tokio::test]
async fn a_rejection_is_cached_per_credential_for_all_repositories() {
    let gate =
        TestGate::start(Setup { http: vec!["trusted_proxies: [127.0.0.0/8]"], ..Setup::default() })
            .await;
    let wrong = Some(("alice", "glpat-wrong"));
    for (target, address) in [
        ("/v2/", "203.0.113.1"),
        ("/v2/demo/a/tags/list", "203.0.113.2"),
        ("/v2/demo/b/tags/list", "203.0.113.3"),
    ] {
        let reply =
            gate.send("GET", target, wrong, &format!("X-Forwarded-For: {address}\r\n"), "").await;
        assert_eq!(reply.status, 401);
    }
    assert_eq!(gate.gitlab.ledger().count(), 1);
    // Another password of the same user is another credential.
    assert_eq!(gate.get("/v2/", Some(READ_WRITE)).await.status, 200);
    let cache: Vec<_> = gate.log(4).await.iter().map(|line| line["cache"].clone()).collect();
    assert_eq!(cache, ["miss", "negative", "negative", "miss"]);
}

#[tokio::test]
async fn rejections_are_forgotten_after_negative_ttl() {
    let gate =
        TestGate::start(Setup { cache: vec!["negative_ttl: 200ms"], ..Setup::default() }).await;
    let late = ("bob", "glpat-made-later");
    assert_eq!(gate.get("/v2/", Some(late)).await.status, 401);
    let mut credential = moorgate::demo::gitlab::sample_credentials().remove(0);
    credential.password = late.1.into();
    gate.gitlab.add(credential);
    let begun = std::time::Instant::now();
    while gate.get("/v2/", Some(late)).await.status != 200 {
        assert!(begun.elapsed() < PATIENCE, "it is never asked again");
    }
}

/// A flood of random tokens does not evict a good verdict.
#[tokio::test]
async fn wrong_credentials_evict_no_good_verdict() {
    let (cache, limits) =
        (vec!["capacity: 100", "negative_capacity: 10"], vec!["failed_logins: null"]);
    let gate = TestGate::start(Setup { cache, limits, ..Setup::default() }).await;
    assert_eq!(gate.get("/v2/", Some(READ_ONLY)).await.status, 200);
    for number in 0..200 {
        assert_eq!(
            gate.get("/v2/", Some(("alice", &format!("glpat-random-{number}")))).await.status,
            401
        );
    }
    let before = gate.gitlab.ledger().count();
    assert_eq!(gate.get("/v2/", Some(READ_ONLY)).await.status, 200);
    assert_eq!(gate.gitlab.ledger().count(), before);
}

/// One text is two different credentials as Basic and as Bearer.
#[tokio::test]
async fn basic_and_bearer_share_no_verdict() {
    let gate = TestGate::plain().await;
    assert_eq!(gate.get("/v2/", Some(("gitlab-ci-token", READ_WRITE.1))).await.status, 200);
    let bearer = format!("Authorization: Bearer {}\r\n", READ_WRITE.1);
    assert_eq!(gate.send("GET", "/v2/", None, &bearer, "").await.status, 200);
    assert_eq!(gate.gitlab.ledger().count(), 2);
}

/// Callers who disconnect leave their questions behind. The number of those that reach GitLab at
/// once is bounded, and none is asked if no caller waits for it any more.
#[tokio::test]
async fn questions_of_callers_who_left_are_bounded() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", timeout: 60s }";
    let limits = vec!["failed_logins: null"];
    let gate =
        TestGate::start(Setup { identity: Some(identity), limits, ..Setup::default() }).await;
    let released = Arc::new(Semaphore::new(0));
    gate.gitlab.always(Some(Scripted::Once(released.clone())));
    let mut callers = Vec::new();
    for number in 0..300 {
        let mut stream = gate.connect().await;
        let who = ("alice", &*format!("glpat-random-{number}"));
        stream.write_all(request("GET", "/v2/", Some(who), "", "").as_bytes()).await.unwrap();
        callers.push(stream);
    }
    gate.gitlab.ledger().wait_until(|questions| questions.len() >= 128).await;
    drop(callers);
    gate.log(300).await;
    // All callers have left, so the questions that waited for a turn are not asked.
    released.add_permits(1);
    assert_eq!(gate.get("/v2/", Some(READ_WRITE)).await.status, 200);
    let asked = gate.gitlab.ledger().count();
    assert!(asked <= 128 + 1, "{asked} questions");
}

/// The number of questions that wait for a turn is bounded too, because each holds a copy of its
/// credential.
#[tokio::test]
async fn questions_that_wait_for_a_turn_are_bounded() {
    let gitlab = GitLab::start(listener()).unwrap();
    gitlab.always(Some(Scripted::Hang));
    let tls = client_tls::config(Arc::new(rustls::RootCertStore::empty())).unwrap();
    let (long, name) = (Duration::from_secs(3600), Arc::<str>::from("gitlab"));
    let realm = format!("http://{}/jwt/auth", gitlab.address());
    let server =
        TokenServer::new(name.clone(), &realm, "service".into(), HttpClient::new(tls, long), None);
    let provider =
        ManagedProvider::new(name, AnyProvider::TokenServer(Arc::new(server)), long, None);
    let limits = CacheLimits {
        ttl: long,
        negative_ttl: long,
        stale_if_error: Duration::ZERO,
        capacity: 100,
        negative_capacity: 100,
    };
    let (key, metrics, runtime) =
        (HashKey::random().unwrap(), Arc::new(Metrics::new()), tokio::runtime::Handle::current());
    let identity =
        Arc::new(Authenticator::new(vec![Arc::new(provider)], limits, key, metrics, runtime));
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..=4096 {
        let identity = identity.clone();
        asking.spawn(async move {
            let credential =
                Credential::Basic { user: "alice".into(), password: format!("{number}").into() };
            let (access, client) = (Access::Login, Ipv4Addr::LOCALHOST.into());
            let question = identity.question(credential, access, client, "request".into());
            identity.verify(&question, &mut CacheUse::None).await.unwrap_err()
        });
    }
    let first = tokio::time::timeout(PATIENCE, asking.join_next()).await.expect("all of them wait");
    assert_eq!(
        first.unwrap().unwrap(),
        Denial::ProviderUnavailable {
            provider: "gitlab".into(),
            retry_after: Duration::from_secs(1)
        }
    );
}
