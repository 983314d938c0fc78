//! What somebody who can write to Redis leaves behind, and what a careless caller costs it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moorgate::demo::Scripted;
use moorgate::demo::issuer::OidcIssuer;
use serde_json::json;
use tokio::task::JoinSet;

use super::gaps::bearer;
use super::relay::slow;
use super::{PERSON, Replicas, known, revoke, soon};
use crate::harness::{Setup, TestGate, jobs, listener};
use crate::redis_servers::RedisServer;

const TAGS: &str = "/v2/demo/a/tags/list";
const STREAM: &str = "moorgate:{gates}:revocations";
/// The `redis.timeout` of the gates under test.
const TIMEOUT: Duration = Duration::from_secs(1);
const CLOCK: &str = "moorgate:{gates}:clock";

async fn status(gate: &TestGate) -> u16 {
    gate.get(TAGS, Some(PERSON)).await.status
}

/// Returns the number of scripts that Redis has run.
fn scripts(redis: &RedisServer) -> u64 {
    let stats = redis.ask(&["INFO", "commandstats"]);
    let of = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":calls="));
        line.and_then(|line| line.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    of("cmdstat_evalsha") + of("cmdstat_eval")
}

/// Later entries have earlier ids, or come after entries that are too long to read many at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_arrives_behind_foreign_entries() {
    let issuer = OidcIssuer::start(listener()).unwrap();
    let identity = Some(jobs(&issuer, "scopes: [read_registry]"));
    let replicas = Replicas::start_as(2, || Setup { identity, ..Setup::default() }).await;
    for (jti, entries) in [("late id", 1), ("long", 6)] {
        let token = issuer.id_token("a", &json!({ "jti": jti })).unwrap();
        assert_eq!(bearer(&replicas.gates[1], &token).await, 404, "{jti}");
        let (id, length) = if entries == 1 { ("9999999999999-0", "1") } else { ("*", "4000000") };
        let script = "local text = string.rep('x', ARGV[2]) \
            for i = 1, ARGV[3] do redis.call('XADD', KEYS[1], ARGV[1], 'e', text) end return 1";
        let count = entries.to_string();
        assert_eq!(replicas.redis.ask(&["EVAL", script, "1", STREAM, id, length, &count]), "1");
        if entries == 1 {
            // All gates have read it before it is deleted.
            let probe = format!("probe-{jti}");
            soon("it is read", async || revoke(&replicas.gates[0], &probe).await["replicas"] == 2)
                .await;
            assert_eq!(replicas.redis.ask(&["DEL", STREAM]), "1");
        }
        revoke(&replicas.gates[0], &token).await;
        soon(jti, async || bearer(&replicas.gates[1], &token).await == 401).await;
    }
}

/// Another gate was told a refusal. Somebody deletes it, and puts the verdict from before back.
#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_from_before_a_refusal_that_another_gate_was_told_is_not_used() {
    let setup = || Setup { cache: vec!["ttl: 1h", "negative_ttl: 100ms"], ..Setup::default() };
    let replicas = Replicas::start_as(2, setup).await;
    assert_eq!(replicas.login(0).await, 200);
    let name = || replicas.redis.ask(&["KEYS", "moorgate:*:v:*"]);
    soon("the verdict is shared", async || !name().is_empty()).await;
    let (name, value) = (name(), replicas.redis.ask(&["GET", &name()]));
    assert_eq!(replicas.login(1).await, 200);
    assert!(replicas.gitlab.revoke(PERSON.1));
    let questions = replicas.questions();
    assert_eq!(status(&replicas.gates[0]).await, 401);
    soon("the other gate hears of it", async || {
        let is_cached = replicas.login(1).await == 200;
        !is_cached
    })
    .await;
    for key in replicas.redis.ask(&["KEYS", "moorgate:*:[np]:*"]).lines() {
        replicas.redis.ask(&["DEL", key]);
    }
    assert_eq!(replicas.redis.ask(&["SET", &name, &value]), "OK");
    soon("the refusal is asked for again", async || {
        assert_eq!(replicas.login(1).await, 401);
        replicas.questions() > questions + 1
    })
    .await;
}

/// A gate that has looked up no verdict yet does not know the time of Redis.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_uses_no_verdict_from_before_redis_has_lost_its_data() {
    let replicas = Replicas::start(2, &[]).await;
    assert_eq!(replicas.login(0).await, 200);
    let names = || replicas.redis.ask(&["KEYS", "moorgate:*:v:*"]);
    soon("the verdict is shared", async || !names().is_empty()).await;
    assert!(replicas.gitlab.revoke(PERSON.1));
    replicas.redis.ask(&["SET", "moorgate:{gates}:epoch", "another"]);
    soon("a gate notices", async || replicas.login(0).await == 401).await;
    let name = names().replace(":v:", ":n:");
    replicas.redis.ask(&["DEL", &name]);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(replicas.login(1).await, 401);
}

/// The clock of limits and of beats, and a bucket: no number, or another type.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_values_spoil_no_limit_for_good() {
    let replicas = Replicas::start(3, &["per_identity: { rate: 1/h, burst: 30 }"]).await;
    for value in ["nan", "1e300", "-1e300", "x"] {
        assert_ne!(replicas.redis.ask(&["HSET", CLOCK, "v", value]), "");
        soon("the clock goes on", async || {
            let v = replicas.redis.ask(&["HGET", CLOCK, "v"]);
            v.parse().is_ok_and(|v: f64| (1.0..1e15).contains(&v))
        })
        .await;
    }
    for name in ["clock", "replicas", "epoch", "bells", "revocations", "refusals"] {
        let key = format!("moorgate:{{gates}}:{name}");
        replicas.redis.ask(&["DEL", &key]);
        replicas.redis.ask(&["ZADD", &key, "1", "x"]);
    }
    replicas.until_known(3).await;
    for _ in 0..36 {
        status(&replicas.gates[0]).await;
    }
    let bucket = replicas.redis.ask(&["KEYS", "moorgate:{gates}:i*"]);
    replicas.redis.ask(&["HSET", &bucket, "m", "1e12", "l", "nan", "v", "x"]);
    // Limits may have been wrong meanwhile. Those of another caller are not.
    let mut admitted = 0;
    for gate in &replicas.gates {
        for _ in 0..40 {
            let another = ("any", "glpat-demo-project-read-only");
            let reply = gate.get(TAGS, Some(another)).await;
            admitted += u32::from(reply.status != 429);
        }
    }
    assert!((28..=30).contains(&admitted), "{admitted}");
    soon("a revocation is confirmed", async || {
        revoke(&replicas.gates[0], "any").await["replicas"] == 3
    })
    .await;
    assert_eq!(known(&replicas.gates[1]).await, 3);
}

/// The revocations are read before the first connection is accepted.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_starts_knows_the_revocations() {
    let issuer = OidcIssuer::start(listener()).unwrap();
    let identity = Some(jobs(&issuer, "scopes: [read_registry]"));
    let setup = || Setup { identity, ..Setup::default() };
    let replicas = Replicas::start_as(1, setup).await;
    let token = issuer.id_token("a", &json!({})).unwrap();
    revoke(&replicas.gates[0], &token).await;
    for _ in 0..3 {
        let late = TestGate::start(replicas.with(setup())).await;
        assert_eq!(bearer(&late, &token).await, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_credential_that_is_sent_again_costs_redis_nothing() {
    let replicas = Replicas::start(1, &["failed_logins: { rate: 1/h, burst: 20 }"]).await;
    let wrong = Some(("any", "glpat-demo-wrong"));
    assert_eq!(replicas.gates[0].get("/v2/", wrong).await.status, 401);
    let before = scripts(&replicas.redis);
    for _ in 0..200 {
        assert_eq!(replicas.gates[0].get("/v2/", wrong).await.status, 401);
    }
    // Beats go on meanwhile.
    let asked = scripts(&replicas.redis) - before;
    assert!(asked < 20, "{asked} scripts");
}

/// The questions under way hold all places, and the others look for one in turn.
#[tokio::test(flavor = "multi_thread")]
async fn many_wrong_credentials_of_one_address_cost_redis_little() {
    let replicas = Replicas::start(1, &["failed_logins: { rate: 1/h, burst: 20 }"]).await;
    let replicas = Arc::new(replicas);
    replicas.gitlab.always(Some(Scripted::Delay(Duration::from_secs(1))));
    let before = scripts(&replicas.redis);
    let mut requests = JoinSet::new();
    for number in 0..200 {
        let replicas = replicas.clone();
        requests.spawn(async move {
            let wrong = format!("glpat-demo-wrong-{number}");
            replicas.gates[0].get("/v2/", Some(("any", &wrong))).await.status
        });
    }
    let statuses = requests.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 180);
    let asked = scripts(&replicas.redis) - before;
    assert!(asked < 800, "{asked} scripts for 200 requests");
}

/// Each answer comes in time, and all of them together would not. The gate goes on alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_a_slow_redis_once() {
    let redis = RedisServer::start(&[]);
    let port = slow(redis.port, TIMEOUT.mul_f64(0.4)).await;
    let identity = Some(
        "- { name: other, type: gitlab, url: \"{gitlab}\", failure_budget: 100/h }\n\
         - { name: gitlab, type: gitlab, url: \"{gitlab}\", failure_budget: 100/h }",
    );
    let setup = || Setup { identity, ..Setup::default() };
    let url = format!("url: redis://127.0.0.1:{port}");
    let replicas = Replicas::start_over(redis, url, 1, setup).await;
    // The gate serves as soon as it knows the revocations.
    assert_eq!(replicas.gates[0].get("/v2/", None).await.status, 401);
    for (credential, status) in [(("any", "glpat-demo-wrong"), 401), (PERSON, 404)] {
        let begun = Instant::now();
        let reply = replicas.gates[0].get(TAGS, Some(credential)).await;
        assert_eq!(reply.status, status, "{}", reply.body);
        assert!(begun.elapsed() < TIMEOUT.mul_f64(1.5), "{:?}", begun.elapsed());
    }
    let metrics = replicas.gates[0].admin("/metrics").await.body;
    assert!(metrics.contains("\nmoorgate_redis_up 1\n"), "it is slow, and not away");
}
