//! Stale answers are for outages alone: no action of a caller keeps a revoked credential alive.

use std::sync::Arc;
use std::time::Duration;

use moorgate::demo::Scripted;
use moorgate::demo::gitlab::sample_credentials;
use moorgate::demo::introspection::{CLIENT_SECRET, Introspection};
use tokio::sync::Semaphore;

use super::answer;
use crate::harness::{PATIENCE, READ_ONLY, READ_WRITE, Setup, TestGate, listener};

const PULL: &str = "/v2/demo/a/tags/list";

/// Sends a request with a secret as Basic with this user name, or as Bearer.
async fn get(gate: &TestGate, target: &str, user: Option<&str>, secret: &str) -> u16 {
    match user {
        Some(user) => gate.get(target, Some((user, secret))).await.status,
        None => {
            let bearer = format!("Authorization: Bearer {secret}\r\n");
            gate.send("GET", target, None, &bearer, "").await.status
        }
    }
}

/// Sends the request until the answer has this status.
async fn until(gate: &TestGate, target: &str, user: Option<&str>, secret: &str, status: u16) {
    let asking = async { while get(gate, target, user, secret).await != status {} };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("{target} is never {status}"));
}

const CACHE: [&str; 3] = ["ttl: 1ms", "negative_ttl: 1ms", "stale_if_error: 10m"];

/// After a rejection of one spelling of a secret, no spelling gets a stale answer in an outage,
/// until the provider verifies the secret again.
#[tokio::test]
async fn no_spelling_of_a_rejected_secret_gets_a_stale_answer() {
    let gate = TestGate::start(Setup { cache: CACHE.to_vec(), ..Setup::default() }).await;
    let secret = READ_WRITE.1;
    let spellings = [Some("a"), Some("b"), None];
    for refused in spellings {
        let known =
            sample_credentials().into_iter().find(|sample| sample.password == secret).unwrap();
        gate.gitlab.add(known);
        for user in spellings {
            // A question without an answer in the outage before rests for a second.
            until(&gate, PULL, user, secret, 404).await;
            until(&gate, "/v2/", user, secret, 200).await;
        }
        assert!(gate.gitlab.revoke(secret));
        assert_eq!(get(&gate, PULL, refused, secret).await, 401);
        gate.gitlab.always(Some(answer(502, "")));
        for user in spellings {
            for target in [PULL, "/v2/", "/token?scope=repository:demo/a:pull"] {
                let status = get(&gate, target, user, secret).await;
                assert!(matches!(status, 401 | 503), "{refused:?} {user:?} {target}: {status}");
            }
        }
        gate.gitlab.always(None);
        tokio::time::timeout(PATIENCE, async {
            while get(&gate, PULL, Some("alice"), READ_ONLY.1).await != 404 {}
        })
        .await
        .expect("it is back");
    }
    let log = gate.log(1).await;
    assert!(log.iter().all(|line| line["cache"] != "stale"), "{log:?}");
    // A rejection under a wrong name does not make the secret invalid under its right name, and a
    // stale answer is used once that was asked about again.
    let deploy = ("gitlab+deploy-token-1", "gldt-demo-deploy-read-write");
    assert_eq!(get(&gate, PULL, Some(deploy.0), deploy.1).await, 404);
    assert_eq!(get(&gate, PULL, Some("x"), deploy.1).await, 401);
    assert_eq!(get(&gate, PULL, Some(deploy.0), deploy.1).await, 404);
    gate.gitlab.always(Some(answer(502, "")));
    assert_eq!(get(&gate, PULL, Some(deploy.0), deploy.1).await, 404, "stale");
}

/// A server that is asked about the secret alone gets the same treatment: a rejection ends stale
/// answers for every spelling.
#[tokio::test]
async fn no_spelling_of_an_inactive_token_gets_a_stale_answer() {
    let sso = Introspection::start(listener()).unwrap();
    let identity = format!(
        "- {{ name: sso, type: introspection, url: \"{}\", client_secret_file: sso.secret }}",
        sso.url()
    );
    let files = vec![("sso.secret", CLIENT_SECRET)];
    let setup =
        Setup { identity: Some(identity.leak()), files, cache: CACHE.to_vec(), ..Setup::default() };
    let gate = TestGate::start(setup).await;
    let secret = "sso-demo-read-write";
    for user in [Some("a"), Some("b"), None] {
        assert_eq!(get(&gate, PULL, user, secret).await, 404);
    }
    assert!(sso.revoke(secret));
    assert_eq!(get(&gate, PULL, Some("c"), secret).await, 401, "one that nobody has used before");
    sso.always(Some(answer(502, "")));
    for user in [Some("a"), Some("b"), None] {
        assert_eq!(get(&gate, PULL, user, secret).await, 503, "{user:?}");
    }
}

/// The status of a refusal counts on its own: a refusal whose body cannot be read is not an outage.
#[tokio::test]
async fn a_refusal_without_a_readable_body_is_a_refusal() {
    let large = "<html>".repeat(20_000);
    for (refusal, expected) in [(401, 401), (403, 503), (404, 503), (429, 503), (400, 503)] {
        let gate = TestGate::start(Setup { cache: CACHE.to_vec(), ..Setup::default() }).await;
        assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 404);
        gate.gitlab.always(Some(answer(refusal, &large)));
        for _ in 0..2 {
            assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, expected, "{refusal}");
        }
        let log = gate.log(3).await;
        assert!(log.iter().all(|line| line["cache"] != "stale"), "{refusal}");
    }
}

/// The gate's own limits are not an outage: a caller who fills them must not be served a stale
/// answer.
#[tokio::test]
async fn a_question_without_a_turn_gets_503_and_no_stale_answer() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", timeout: 4s }";
    let limits = vec!["failed_logins: null"];
    let setup =
        Setup { identity: Some(identity), limits, cache: CACHE.to_vec(), ..Setup::default() };
    let gate = Arc::new(TestGate::start(setup).await);
    assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 404);
    gate.gitlab.always(Some(Scripted::Hang));
    let before = gate.gitlab.ledger().count();
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..128 {
        let gate = gate.clone();
        // All questions are about one secret, which does not open the breaker.
        callers.spawn(async move {
            gate.get(PULL, Some((&format!("user-{number}"), READ_ONLY.1))).await.status
        });
    }
    gate.gitlab.ledger().wait_until(|questions| questions.len() >= before + 128).await;
    let reply = gate.get(PULL, Some(READ_WRITE)).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{reply:?}");
    callers.abort_all();
    let log = gate.log(2).await;
    assert!(log.iter().all(|line| line["cache"] != "stale"), "{log:?}");
}

/// An answer that comes late because its question waited for a turn is not an outage either.
#[tokio::test]
async fn the_wait_for_a_turn_takes_nothing_from_the_time_to_answer() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", timeout: 10s }";
    let limits = vec!["failed_logins: null"];
    let setup =
        Setup { identity: Some(identity), limits, cache: CACHE.to_vec(), ..Setup::default() };
    let gate = Arc::new(TestGate::start(setup).await);
    // All turns are held for 1.5 s, and the next answer takes 9 s. That is within its timeout, but
    // not within 10 s of the request.
    let released = Arc::new(Semaphore::new(0));
    let held = std::iter::repeat_n(Scripted::Once(released.clone()), 128);
    gate.gitlab.script(held.chain([Scripted::Delay(Duration::from_secs(9))]));
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..128 {
        let gate = gate.clone();
        callers.spawn(async move {
            gate.get(PULL, Some((&format!("user-{number}"), READ_ONLY.1))).await.status
        });
    }
    gate.gitlab.ledger().wait_until(|questions| questions.len() >= 128).await;
    let late = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        released.add_permits(128);
    };
    let (reply, ()) = tokio::join!(gate.get(PULL, Some(READ_WRITE)), late);
    assert_eq!(reply.status, 404, "{reply:?}");
}
