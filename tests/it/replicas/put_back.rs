//! An attacker at Redis who keeps verdicts and puts them back when they are not true any more.

use std::time::Duration;

use super::{PERSON, Replicas, revoke, soon};
use crate::harness::{Setup, TestGate};
use crate::redis_servers::RedisServer;

const TAGS: &str = "/v2/demo/a/tags/list";

/// The verdicts in Redis, as an attacker keeps them: names and values.
struct Kept(Vec<(String, String)>);

impl Kept {
    /// Waits until there are this many verdicts, and keeps all.
    async fn of(redis: &RedisServer, count: usize) -> Self {
        let names = || redis.ask(&["KEYS", "moorgate:*:v:*"]);
        soon("the verdicts are in Redis", async || names().lines().count() == count).await;
        let kept = |name: &str| (name.to_owned(), redis.ask(&["GET", name]));
        Self(names().lines().map(kept).collect())
    }

    /// Puts all back as they were, and deletes what was said since.
    fn put_back(&self, redis: &RedisServer) {
        for name in redis.ask(&["KEYS", "moorgate:*:[nvp]*"]).lines() {
            redis.ask(&["DEL", name]);
        }
        for (name, value) in &self.0 {
            assert_eq!(redis.ask(&["SET", name, value]), "OK");
        }
    }
}

async fn get(gate: &TestGate, target: &str) -> u16 {
    gate.get(target, Some(PERSON)).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_from_before_a_revocation_is_not_used() {
    let replicas = Replicas::start(3, &[]).await;
    assert_eq!(replicas.login(0).await, 200);
    let kept = Kept::of(&replicas.redis, 1).await;
    assert!(replicas.gitlab.revoke(PERSON.1));
    assert_eq!(revoke(&replicas.gates[0], PERSON.1).await["replicas"], 3);
    kept.put_back(&replicas.redis);
    for gate in 0..3 {
        assert_eq!(replicas.login(gate).await, 401, "gate {gate}");
        kept.put_back(&replicas.redis);
    }
    let late = TestGate::start(replicas.with(Setup::default())).await;
    soon("a gate that starts later refuses it", async || get(&late, "/v2/").await == 401).await;
}

/// The refusal is kept for a moment only, and the verdict would be fresh for an hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_from_before_a_refusal_is_not_used() {
    let setup = || Setup { cache: vec!["ttl: 1h", "negative_ttl: 100ms"], ..Setup::default() };
    let replicas = Replicas::start_as(2, setup).await;
    for gate in &replicas.gates {
        assert_eq!(get(gate, "/v2/").await, 200);
    }
    let kept = Kept::of(&replicas.redis, 1).await;
    assert!(replicas.gitlab.revoke(PERSON.1));
    // Another question about the same credential, which the provider refuses.
    for gate in &replicas.gates {
        assert_eq!(get(gate, TAGS).await, 401);
    }
    kept.put_back(&replicas.redis);
    tokio::time::sleep(Duration::from_millis(200)).await;
    for (number, gate) in replicas.gates.iter().enumerate() {
        assert_eq!(get(gate, "/v2/").await, 401, "gate {number}");
    }
}

/// The provider takes a right away, and no gate uses the older answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_from_before_another_answer_is_not_used() {
    let setup = || Setup { cache: vec!["ttl: 1s", "stale_if_error: 1h"], ..Setup::default() };
    let replicas = Replicas::start_as(2, setup).await;
    assert_eq!(get(&replicas.gates[0], TAGS).await, 404);
    let kept = Kept::of(&replicas.redis, 1).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(replicas.gitlab.revoke(PERSON.1));
    kept.put_back(&replicas.redis);
    for (number, gate) in replicas.gates.iter().enumerate() {
        assert_eq!(get(gate, TAGS).await, 401, "gate {number}");
        kept.put_back(&replicas.redis);
    }
}
