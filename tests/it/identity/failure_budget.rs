//! The failure budget, through the whole gate: the callers that it turns away, and those that it
//! never does.

use std::sync::Arc;
use std::time::Duration;

use moorgate::demo::Scripted;
use moorgate::demo::gitlab::sample_credentials;

use super::answer;
use crate::harness::{READ_WRITE, Setup, TestGate};

const PULL: &str = "/v2/demo/a/tags/list";

/// Starts a gate whose GitLab may be asked about this number of wrong credentials an hour.
async fn gate(budget: &str, timeout: &str) -> TestGate {
    let identity = format!(
        "- {{ name: gitlab, type: gitlab, url: \"{{gitlab}}\", failure_budget: {budget}, \
         timeout: {timeout} }}"
    );
    let cache = vec!["ttl: 1ms", "stale_if_error: 10m"];
    TestGate::start(Setup { identity: Some(identity.leak()), cache, ..Setup::default() }).await
}

async fn get(gate: &TestGate, credential: (&str, &str)) -> u16 {
    gate.get(PULL, Some(credential)).await.status
}

#[tokio::test]
async fn unknown_callers_get_429_and_known_callers_are_still_verified() {
    let gate = gate("2/h", "20s").await;
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    for secret in ["wrong-1", "wrong-2"] {
        assert_eq!(get(&gate, ("alice", secret)).await, 401);
    }
    let asked = gate.gitlab.ledger().count();
    let reply = gate.get(PULL, Some(("alice", "wrong-3"))).await;
    assert_eq!((reply.status, &*reply.code()), (429, "TOOMANYREQUESTS"));
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((3000..=3600).contains(&wait), "{wait}");
    assert_eq!(gate.gitlab.ledger().count(), asked, "a stranger was asked about");
    assert_eq!(
        get(&gate, ("alice", "wrong-1")).await,
        401,
        "what is known to be wrong needs no question"
    );
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    assert_eq!(gate.gitlab.ledger().count(), asked + 1, "its old answer was not used");
    let line = gate.log(4).await.remove(3);
    assert_eq!(
        (&line["decision"], &line["reason"]),
        (&"denied".into(), &"failure_budget_spent".into())
    );
}

/// A caller who logs in for the first time holds a place in the budget only while the question
/// runs.
#[tokio::test]
async fn a_hundred_valid_credentials_at_once_spend_no_failure_budget() {
    let gate = Arc::new(gate("2/h", "20s").await);
    let mut sample = sample_credentials().remove(0);
    for number in 0..100 {
        sample.password = format!("glpat-honest-{number}");
        gate.gitlab.add(sample.clone());
    }
    let callers = (0..100).map(|number| {
        let gate = gate.clone();
        tokio::spawn(async move { get(&gate, ("alice", &format!("glpat-honest-{number}"))).await })
    });
    for caller in callers.collect::<Vec<_>>() {
        assert_eq!(caller.await.unwrap(), 404);
    }
}

/// A caller turned away without a question is not evidence about the provider, which counts as down
/// until it answers.
#[tokio::test]
async fn a_caller_turned_away_by_the_budget_does_not_mark_the_provider_up() {
    let gate = Arc::new(gate("1/h", "400ms").await);
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    gate.gitlab.always(Some(answer(502, "")));
    assert_eq!(get(&gate, READ_WRITE).await, 404, "stale");
    let down = async || {
        let metrics = gate.admin("/metrics").await.body;
        assert!(metrics.contains("moorgate_provider_up{provider=\"gitlab\"} 0"), "{metrics}");
        let labels = "{provider=\"gitlab\",result=\"not_now\"}";
        let not_asked = format!("moorgate_introspection_duration_seconds_count{labels} 0\n");
        assert!(metrics.contains(&not_asked), "{metrics}");
    };
    down().await;

    // One unknown caller holds the only place, and another waits for it in vain.
    gate.gitlab.always(Some(Scripted::Hang));
    let asked = gate.gitlab.ledger().count();
    let first = tokio::spawn({
        let gate = gate.clone();
        async move { get(&gate, ("alice", "stranger-1")).await }
    });
    gate.gitlab.ledger().wait_until(|questions| questions.len() > asked).await;
    assert_eq!(get(&gate, ("alice", "stranger-2")).await, 503);
    down().await;
    assert_eq!(first.await.unwrap(), 503);

    gate.gitlab.always(None);
    while get(&gate, ("alice", "wrong")).await != 401 {
        tokio::task::yield_now().await;
    }
    gate.gitlab.always(Some(answer(502, "")));
    while gate.admin("/metrics").await.body.contains("moorgate_provider_up{provider=\"gitlab\"} 1")
    {
        assert_eq!(get(&gate, READ_WRITE).await, 404, "stale");
    }
    assert_eq!(get(&gate, ("alice", "stranger-3")).await, 429);
    down().await;
}

/// A credential that was good before is asked about even if the budget is spent, but not about many
/// repositories at once. Otherwise a caller who revokes its own credential would spend far more
/// than the budget and get the gate banned.
#[tokio::test]
async fn a_revoked_credential_spends_little_more_than_the_budget() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", failure_budget: 2/h }";
    let gate =
        Arc::new(TestGate::start(Setup { identity: Some(identity), ..Setup::default() }).await);
    assert_eq!(gate.get("/v2/", Some(READ_WRITE)).await.status, 200);
    gate.gitlab.revoke(READ_WRITE.1);
    // The delay makes all requests start before the first is answered.
    gate.gitlab.always(Some(Scripted::Delay(Duration::from_millis(200))));
    let callers = (0..60).map(|number| {
        let gate = gate.clone();
        tokio::spawn(async move {
            gate.get(&format!("/v2/demo/{number}/tags/list"), Some(READ_WRITE)).await.status
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        let status = caller.await.unwrap();
        assert!([401, 429, 503].contains(&status), "{status}");
    }
    let wrong = gate.gitlab.ledger().count() - 1;
    assert!(wrong <= 2 + 4, "{wrong} wrong credentials");
}
