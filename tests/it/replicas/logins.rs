//! Wrong credentials, and those that were known to be good, as all gates count them.

use super::{PERSON, Replicas, soon};

const TAGS: &str = "/v2/demo/a/tags/list";

async fn wrong(replicas: &Replicas, number: usize) -> u16 {
    let wrong = format!("glpat-demo-wrong-{number}");
    replicas.gates[number % 2].get("/v2/", Some(("any", &wrong))).await.status
}

/// Each gate knew the credential to be good, so that each has its own memory of the refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_a_cache_remembers_counts_once_for_all_gates() {
    let replicas = Replicas::start(2, &["failed_logins: { rate: 1/h, burst: 4 }"]).await;
    assert_eq!((replicas.login(0).await, replicas.login(1).await), (200, 200));
    assert!(replicas.gitlab.revoke(PERSON.1));
    for number in 0..10 {
        let reply = replicas.gates[number % 2].get(TAGS, Some(PERSON)).await;
        assert_eq!(reply.status, 401, "{number}: {}", reply.body);
    }
    let mut statuses = Vec::new();
    for number in 0..5 {
        statuses.push(wrong(&replicas, number).await);
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
}

/// The other gate has no verdict about it, neither in its cache nor in Redis, and asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_was_good_at_one_gate_is_let_through_at_another() {
    let replicas = Replicas::start(2, &["failed_logins: { rate: 1/h, burst: 4 }"]).await;
    assert_eq!(replicas.login(0).await, 200);
    soon("the others are told", async || replicas.redis.ask(&["KEYS", "moorgate:*:g:*"]) != "")
        .await;
    let mut number = 0;
    soon("the address is locked", async || {
        number += 1;
        wrong(&replicas, number).await == 429
    })
    .await;
    let other = Some(("any", "glpat-demo-project-read-write"));
    assert_eq!(replicas.gates[1].get(TAGS, other).await.status, 429, "not known from there");
    let questions = replicas.questions();
    assert_eq!(replicas.gates[1].get(TAGS, Some(PERSON)).await.status, 404);
    assert_eq!(replicas.questions(), questions + 1);
}
