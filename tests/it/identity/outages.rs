//! A provider that is down: callers that the gate knows go on pulling, others are told to come
//! back, no caller gets a 401, and the provider is rarely asked.

use std::time::Duration;

use http::StatusCode;
use moorgate::demo::Scripted;
use moorgate::demo::gitlab::sample_credentials;

use crate::harness::{PATIENCE, READ_ONLY, READ_WRITE, Setup, TestGate};

const PULL: &str = "/v2/demo/a/tags/list";
const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";

fn broken() -> Scripted {
    Scripted::Answer { status: StatusCode::BAD_GATEWAY, headers: Vec::new(), body: String::new() }
}

/// Starts a gate whose verdicts become stale at once, so that an outage shows at once.
async fn gate() -> TestGate {
    TestGate::start(Setup { cache: vec!["ttl: 1ms", "stale_if_error: 10m"], ..Setup::default() })
        .await
}

async fn get(gate: &TestGate, target: &str, credential: (&str, &str)) -> u16 {
    gate.get(target, Some(credential)).await.status
}

/// Sends the request until the answer has this status.
async fn until(gate: &TestGate, target: &str, credential: (&str, &str), status: u16) {
    let begun = std::time::Instant::now();
    while get(gate, target, credential).await != status {
        assert!(begun.elapsed() < PATIENCE, "it is never {status}");
        tokio::task::yield_now().await;
    }
}

/// Opens the breaker, which takes three unknown credentials without an answer and a failure of the
/// gate's own question.
async fn open_the_breaker(gate: &TestGate) {
    for number in 0..3 {
        assert_eq!(get(gate, PULL, ("alice", &format!("glpat-unknown-{number}"))).await, 503);
    }
    gate.breaker_opens().await;
}

#[tokio::test]
async fn known_callers_keep_pulling_and_others_get_503_with_retry_after() {
    let gate = gate().await;
    assert_eq!(get(&gate, PULL, READ_WRITE).await, 404);
    assert_eq!(get(&gate, "/v2/", READ_WRITE).await, 200);
    assert_eq!(gate.send("POST", UPLOADS, Some(READ_WRITE), "", "").await.status, 202);
    let forwarded = gate.forwarded();
    for fault in [broken(), Scripted::Close, Scripted::Redirect("http://127.0.0.1:9/".into())] {
        gate.gitlab.always(Some(fault));
        for _ in 0..3 {
            assert_eq!(get(&gate, PULL, READ_WRITE).await, 404, "a pull that was allowed before");
            assert_eq!(get(&gate, "/v2/", READ_WRITE).await, 200);
        }
    }
    assert_eq!(gate.forwarded(), forwarded + 9);
    for (method, target, credential) in [
        ("POST", UPLOADS, READ_WRITE),
        ("GET", "/v2/demo/other/tags/list", READ_WRITE),
        ("GET", PULL, READ_ONLY),
        ("GET", PULL, ("alice", "glpat-wrong")),
    ] {
        let reply = gate.send(method, target, Some(credential), "", "").await;
        assert_eq!((reply.status, &*reply.code()), (503, "UNAVAILABLE"), "{method} {target}");
        assert!(
            reply.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().unwrap() >= 1)
        );
        assert_eq!(reply.header("www-authenticate"), None);
    }
    assert_eq!(gate.forwarded(), forwarded + 9, "a caller whom nobody knows got through");
    let log = gate.log(25).await;
    assert_eq!(log.iter().filter(|line| line["cache"] == "stale").count(), 18);
    assert!(log.iter().all(|line| line["status"] != 401));
    let metrics = gate.admin("/metrics").await.body;
    assert!(metrics.contains("moorgate_provider_up{provider=\"gitlab\"} 0"), "{metrics}");
    assert!(metrics.contains("moorgate_cache_requests_total{result=\"stale\"} 18"), "{metrics}");
}

/// After a rejection, a stale answer is not used in an outage.
#[tokio::test]
async fn no_stale_answer_is_used_after_a_rejection() {
    let gate = gate().await;
    assert_eq!(get(&gate, PULL, READ_WRITE).await, 404);
    assert_eq!(get(&gate, "/v2/demo/b/tags/list", READ_WRITE).await, 404);
    gate.gitlab.revoke(READ_WRITE.1);
    assert_eq!(get(&gate, PULL, READ_WRITE).await, 401);
    gate.gitlab.always(Some(broken()));
    // This also holds for another repository with the same credential.
    for target in [PULL, "/v2/demo/b/tags/list"] {
        assert_eq!(get(&gate, target, READ_WRITE).await, 401, "remembered");
    }
}

/// If the cached answer is stale, the provider is asked first, and its answer counts if it gives
/// one.
#[tokio::test]
async fn a_revocation_counts_as_soon_as_the_provider_is_back() {
    let gate = gate().await;
    assert_eq!(get(&gate, PULL, READ_WRITE).await, 404);
    gate.gitlab.always(Some(broken()));
    gate.gitlab.revoke(READ_WRITE.1);
    assert_eq!(get(&gate, PULL, READ_WRITE).await, 404, "nobody knows yet");
    gate.gitlab.always(None);
    until(&gate, PULL, READ_WRITE, 401).await;
    for _ in 0..10 {
        assert_eq!(get(&gate, PULL, READ_WRITE).await, 401);
    }
}

/// A 429, any 403 but `DENIED`, or another refusal of the question concerns this caller's question
/// alone. The gate then uses no stale answer.
#[tokio::test]
async fn a_provider_that_refuses_only_one_callers_question_counts_as_up() {
    let gate = gate().await;
    assert_eq!(get(&gate, PULL, READ_WRITE).await, 404);
    for (status, body) in [(429, ""), (403, "banned"), (404, ""), (400, ""), (413, ""), (431, "")] {
        let status = StatusCode::from_u16(status).unwrap();
        let headers = vec![(http::header::RETRY_AFTER, "77".to_owned())];
        gate.gitlab.always(Some(Scripted::Answer { status, headers, body: body.into() }));
        until(&gate, PULL, READ_WRITE, 503).await;
        for number in 0..5 {
            let reply = gate.get(PULL, Some(("alice", &format!("glpat-{status}-{number}")))).await;
            assert_eq!(reply.status, 503, "{status}");
            if status != StatusCode::NOT_FOUND {
                assert_eq!(reply.header("retry-after"), Some("77"), "{status}");
            }
        }
        // The breaker stays closed: the next question is asked.
        gate.gitlab.always(None);
        until(&gate, PULL, READ_ONLY, 404).await;
        until(&gate, PULL, READ_WRITE, 404).await;
    }
}

/// While the breaker is open, one question every two seconds finds out whether the provider answers
/// again.
#[tokio::test]
async fn an_open_breaker_limits_the_questions_to_the_provider() {
    let gate = gate().await;
    assert_eq!(get(&gate, PULL, READ_WRITE).await, 404);
    gate.gitlab.always(Some(broken()));
    open_the_breaker(&gate).await;
    let asked = gate.gitlab.ledger().count();
    let begun = std::time::Instant::now();
    for number in 0..50 {
        assert_eq!(get(&gate, PULL, ("alice", &format!("glpat-late-{number}"))).await, 503);
        assert_eq!(get(&gate, PULL, READ_WRITE).await, 404, "stale");
    }
    // Each probe is a caller's question, followed by the gate's own question if the caller's gets
    // no answer either.
    let probes = 2 * (1 + begun.elapsed().as_secs() / 2);
    assert!(gate.gitlab.ledger().count() - asked <= usize::try_from(probes).unwrap());
    gate.gitlab.always(None);
    until(&gate, PULL, READ_ONLY, 404).await;
    assert_eq!(get(&gate, PULL, ("alice", "glpat-wrong")).await, 401);
    assert!(
        gate.admin("/metrics").await.body.contains("moorgate_provider_up{provider=\"gitlab\"} 1")
    );
}

/// A caller whose own questions fail does not open the breaker for others, even with a new user
/// name each time.
#[tokio::test]
async fn one_caller_opens_no_breaker() {
    let gate = gate().await;
    for number in 0..20 {
        gate.gitlab.script([broken()]);
        assert_eq!(get(&gate, PULL, (&format!("user-{number}"), READ_WRITE.1)).await, 503);
    }
    assert_eq!(get(&gate, PULL, READ_ONLY).await, 404);
}

/// A caller who makes up any number of secrets does not open the breaker either, if the provider
/// answers the gate's own question.
#[tokio::test]
async fn made_up_secrets_open_no_breaker() {
    let gate = gate().await;
    assert_eq!(get(&gate, PULL, READ_WRITE).await, 404);
    for number in 0..12 {
        // One answer in four is for the gate's own question, unless that question was asked a
        // moment before.
        gate.gitlab.script([broken()]);
        assert_eq!(get(&gate, PULL, ("alice", &format!("glpat-made-up-{number}"))).await, 503);
        gate.gitlab.ledger().wait_until(|questions| questions.len() >= 2 + number).await;
        let status = gate.admin("/status.json").await.body;
        assert!(status.contains("\"breaker\": \"closed\""), "{status}");
    }
    assert_eq!(get(&gate, PULL, READ_ONLY).await, 404, "others are asked about");
    let own = gate.gitlab.ledger().entries().into_iter().filter(|question| question.user.is_none());
    let own: Vec<_> = own.collect();
    assert!((1..=4).contains(&own.len()), "{own:?}");
    assert!(
        own.iter().all(|question| question.scopes.is_empty() && question.forwarded_for.is_empty()),
        "{own:?}"
    );
}

/// A question that the server refuses, for example because of its size, is not an outage, whichever
/// secret it is about.
#[tokio::test]
async fn questions_that_the_provider_refuses_open_no_breaker() {
    let gate = gate().await;
    for (number, status) in [400, 405, 413, 414, 431, 400, 413].into_iter().enumerate() {
        gate.gitlab.script([super::answer(status, "")]);
        assert_eq!(
            get(&gate, PULL, ("alice", &format!("glpat-odd-{number}"))).await,
            503,
            "{status}"
        );
    }
    assert_eq!(get(&gate, PULL, READ_ONLY).await, 404);
    let asked = gate.gitlab.ledger().count();
    // The credential is so long that the server might close the connection instead of answering, so
    // the gate refuses it without a question.
    let long = "x".repeat(6 * 1024);
    for credential in [(&*long, READ_WRITE.1), ("alice", &*long)] {
        assert_eq!(get(&gate, PULL, credential).await, 401);
    }
    assert_eq!(gate.gitlab.ledger().count(), asked);
}

/// After the provider is back, all callers come at once, and each question is asked once.
#[tokio::test]
async fn recovery_takes_no_more_questions_than_usual() {
    let setup = Setup { cache: vec!["ttl: 200ms", "stale_if_error: 10m"], ..Setup::default() };
    let gate = std::sync::Arc::new(TestGate::start(setup).await);
    let callers: Vec<(String, String)> =
        (0..30).map(|number| (format!("user-{number}"), READ_WRITE.1.into())).collect();
    for (user, secret) in &callers {
        assert_eq!(get(&gate, PULL, (user, secret)).await, 404);
    }
    gate.gitlab.always(Some(broken()));
    until(&gate, PULL, ("alice", "glpat-unknown"), 503).await;
    open_the_breaker(&gate).await;
    gate.gitlab.always(None);
    let before = gate.gitlab.ledger().count();
    let begun = std::time::Instant::now();
    until(&gate, PULL, READ_ONLY, 404).await;
    for _ in 0..5 {
        let all = callers.iter().cloned().map(|(user, secret)| {
            let gate = gate.clone();
            tokio::spawn(async move { get(&gate, PULL, (&user, &secret)).await })
        });
        for caller in all.collect::<Vec<_>>() {
            assert_eq!(caller.await.unwrap(), 404);
        }
    }
    let rounds = 1 + usize::try_from(begun.elapsed().as_millis()).unwrap() / 200;
    let asked = gate.gitlab.ledger().count() - before;
    assert!(asked <= rounds * (callers.len() + 2), "{asked} questions in {rounds} times ttl");
}

/// A provider that hangs costs a caller its `timeout` and no more, including the wait for a turn.
#[tokio::test]
async fn a_silent_provider_delays_a_caller_by_its_timeout_at_most() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", timeout: 300ms }";
    let gate = TestGate::start(Setup { identity: Some(identity), ..Setup::default() }).await;
    let gate = std::sync::Arc::new(gate);
    gate.gitlab.always(Some(Scripted::Hang));
    let callers = (0..300).map(|number| {
        let gate = gate.clone();
        tokio::spawn(async move {
            gate.get(PULL, Some((&format!("user-{number}"), READ_WRITE.1))).await.status
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        assert_eq!(caller.await.unwrap(), 503);
    }
    let took = gate
        .log(300)
        .await
        .iter()
        .map(|line| line["duration_ms"].as_f64().unwrap())
        .fold(0.0, f64::max);
    // Each caller waits its timeout, for the turn and for the answer together. The rest is the
    // slack for a busy machine.
    assert!(took < Duration::from_secs(5).as_secs_f64() * 1000.0, "{took}");
}

/// A caller in the gate's own queue is turned away while there is still time for a question to be
/// answered. A question asked too late would count as one without an answer, so a caller who fills
/// the queue could open the breaker.
#[tokio::test]
async fn a_caller_that_queues_too_long_is_turned_away_without_a_question() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", timeout: 2s }";
    let limits = vec!["failed_logins: null"];
    let gate =
        TestGate::start(Setup { identity: Some(identity), limits, ..Setup::default() }).await;
    let gate = std::sync::Arc::new(gate);
    gate.gitlab.always(Some(Scripted::Hang));
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..129 {
        let gate = gate.clone();
        callers.spawn(async move {
            let reply = gate.get(PULL, Some((&format!("user-{number}"), READ_WRITE.1))).await;
            (reply.status, reply.header("retry-after").map(str::to_owned))
        });
    }
    let first = callers.join_next().await.unwrap();
    // It is not the 5 seconds of a provider that gave no answer.
    assert_eq!(first.unwrap(), (503, Some("1".to_owned())));
    assert_eq!(gate.gitlab.ledger().count(), 128);
}

/// Callers with any kind of credential go on pulling in an outage.
#[tokio::test]
async fn callers_with_any_kind_of_credential_keep_pulling_in_an_outage() {
    let gate = gate().await;
    let active =
        sample_credentials().into_iter().filter(|sample| sample.password.ends_with("read-write"));
    let active: Vec<_> = active.collect();
    for sample in &active {
        assert_eq!(get(&gate, PULL, (&sample.user, &sample.password)).await, 404);
    }
    gate.gitlab.always(Some(broken()));
    for _ in 0..3 {
        for sample in &active {
            assert_eq!(
                get(&gate, PULL, (&sample.user, &sample.password)).await,
                404,
                "{}",
                sample.password
            );
        }
    }
}

/// With `stale_if_error: 0s` the gate uses no stale answer. Operators set it if they prefer the
/// outage to the use of a revoked credential.
#[tokio::test]
async fn no_stale_answer_is_used_with_stale_if_error_0s() {
    let gate = TestGate::start(Setup {
        cache: vec!["ttl: 1ms", "stale_if_error: 0s"],
        ..Setup::default()
    })
    .await;
    assert_eq!(get(&gate, PULL, READ_WRITE).await, 404);
    gate.gitlab.always(Some(broken()));
    until(&gate, PULL, READ_WRITE, 503).await;
}
