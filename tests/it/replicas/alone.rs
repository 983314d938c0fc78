//! What callers are told of limits, with Redis and without.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{PERSON, Replicas};
use crate::harness::{EMPTY_INDEX, INDEX_TYPE, Reply, TestGate};

const TAGS: &str = "/v2/demo/a/tags/list";
const MANIFEST: &str = "/v2/demo/a/manifests/1";

async fn get(gate: &TestGate, target: &str) -> Reply {
    gate.get(target, Some(PERSON)).await
}

fn retry_after(reply: &Reply) -> u64 {
    assert_eq!(reply.status, 429, "{}", reply.body);
    reply.header("retry-after").unwrap().parse().unwrap()
}

/// The number of replicas is the one from before the outage.
#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_gate_has_its_part_of_rate_and_burst() {
    let mut replicas = Replicas::start(3, &["per_identity: { rate: 1/h, burst: 30 }"]).await;
    replicas.redis.kill();
    replicas.until_redis_is(false).await;
    for gate in &replicas.gates {
        for number in 0..10 {
            assert_eq!(get(gate, TAGS).await.status, 404, "{number}");
        }
        let wait = retry_after(&get(gate, TAGS).await);
        assert!((3 * 3600 - 60..=3 * 3600).contains(&wait), "{wait} s until the next of 1/h / 3");
    }
    // They know each other again, and the budget is spent for all of them together.
    replicas.redis.restart();
    replicas.until_redis_is(true).await;
    replicas.until_known(3).await;
    for gate in &replicas.gates {
        retry_after(&get(gate, TAGS).await);
    }
}

/// Its own share is spent before the others have handed theirs over.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_at_one_gate_is_admitted_at_once() {
    let replicas = Replicas::start(3, &["per_identity: { rate: 1/h, burst: 60 }"]).await;
    let replicas = Arc::new(replicas);
    assert_eq!(get(&replicas.gates[0], TAGS).await.status, 404);
    let mut requests = JoinSet::new();
    for _ in 0..59 {
        let replicas = replicas.clone();
        requests.spawn(async move { get(&replicas.gates[0], TAGS).await.status });
    }
    assert_eq!(requests.join_all().await, [404; 59]);
    retry_after(&get(&replicas.gates[0], TAGS).await);
}

/// The gates exchange what is left each tenth of a second. A gate that pulls fast may have leased
/// some pulls that it has not used.
#[tokio::test(flavor = "multi_thread")]
async fn the_remaining_pulls_are_those_of_all_gates() {
    const BURST: i64 = 90;
    const LEASED: i64 = 5;
    let replicas = Replicas::start(3, &["pulls_per_identity: { rate: 1/h, burst: 90 }"]).await;
    for gate in &replicas.gates {
        let pushed = gate.send("PUT", MANIFEST, Some(PERSON), INDEX_TYPE, EMPTY_INDEX).await;
        assert_eq!(pushed.status, 201);
    }
    let mut admitted = 0;
    let mut pull = async |gate: usize| {
        let reply = get(&replicas.gates[gate], MANIFEST).await;
        admitted += i64::from(reply.status != 429);
        let told = reply.header("ratelimit-remaining").unwrap();
        (told.split(';').next().unwrap().parse::<i64>().unwrap(), BURST - admitted)
    };
    for round in 0..10 {
        for number in 0..10 {
            pull([0, 0, 0, 1, 0][number % 5]).await;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        for gate in 0..3 {
            let (told, left) = pull(gate).await;
            assert!(
                (told - left).abs() <= LEASED,
                "{told} of {left} in round {round}, gate {gate}"
            );
        }
    }
    assert!((BURST - 2..=BURST).contains(&admitted), "{admitted}");
}

/// Whoever waits for as long as the answer says is admitted, at the gate that refused and at
/// another one.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_as_long_as_a_refusal_says_helps() {
    let mut replicas = Replicas::start(3, &["per_identity: { rate: 1/s, burst: 12 }"]).await;
    for away in [false, true] {
        if away {
            replicas.redis.kill();
            replicas.until_redis_is(false).await;
        }
        for next in [0, 1] {
            let mut reply = get(&replicas.gates[0], TAGS).await;
            for _ in 0..40 {
                if reply.status == 429 {
                    break;
                }
                reply = get(&replicas.gates[0], TAGS).await;
            }
            let wait = retry_after(&reply);
            assert!((1..=3).contains(&wait), "{wait}");
            tokio::time::sleep(Duration::from_secs(wait)).await;
            assert_eq!(get(&replicas.gates[next], TAGS).await.status, 404, "{away}, gate {next}");
        }
    }
}
