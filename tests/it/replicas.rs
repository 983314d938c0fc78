//! Several gates that act as one, over a real Redis.

mod alone;
#[path = "../simulation/beat_model.rs"]
mod beat_model;
mod flood;
mod gaps;
mod guards;
mod hostile;
mod idle;
#[path = "../simulation/lease_model.rs"]
mod lease_model;
mod lease_script;
mod logins;
mod memory;
mod put_back;
mod relay;
mod rotation;
mod script_models;
mod shapes;
#[path = "../simulation/stream.rs"]
mod stream;
mod uploads;
#[path = "../simulation/verdict_model.rs"]
mod verdict_model;
mod verdicts;

use std::sync::Arc;
use std::time::{Duration, Instant};

use moorgate::demo::gitlab::GitLab;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{PATIENCE, Setup, TestGate, exchange, listener, request};
use crate::redis_servers::RedisServer;

/// A person who may pull and push.
const PERSON: (&str, &str) = ("any", "glpat-demo-personal-read-write");

/// The key file of all gates.
const KEY: &str = "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=";

/// The token of operators.
const OPERATOR: &str = "operator-token-of-the-replicas";

/// Gates that share a Redis and a GitLab.
struct Replicas<R = RedisServer> {
    gates: Vec<TestGate>,
    gitlab: GitLab,
    redis: R,
    /// The lines of `redis` in the config of each gate.
    link: String,
}

impl Replicas {
    /// Starts gates with these lines of `limits`, and waits until they know each other.
    async fn start(count: usize, limits: &[&'static str]) -> Self {
        Self::start_as(count, || Setup { limits: limits.to_vec(), ..Setup::default() }).await
    }

    /// Starts gates with this setup beside what replicas need, and waits until they know each
    /// other.
    async fn start_as(count: usize, setup: impl Fn() -> Setup) -> Self {
        let redis = RedisServer::start(&[]);
        let link = url(&redis);
        Self::start_over(redis, link, count, setup).await
    }
}

impl<R> Replicas<R> {
    /// Starts gates over a Redis of any arrangement, which `link` describes in the config.
    async fn start_over(redis: R, link: String, count: usize, setup: impl Fn() -> Setup) -> Self {
        let gitlab = GitLab::start(listener()).unwrap();
        gitlab.ledger().keep();
        let mut replicas = Self { gates: Vec::new(), gitlab, redis, link };
        for _ in 0..count {
            let gate = TestGate::start(replicas.with(setup())).await;
            replicas.gates.push(gate);
        }
        replicas.until_known(count).await;
        replicas
    }

    /// Returns the setup of a gate among these.
    fn with(&self, setup: Setup) -> Setup {
        Setup {
            shared: Some((self.link.clone(), self.gitlab.address())),
            tokens: setup.tokens.into_iter().chain(["key_file: key"]).collect(),
            admin: vec!["token_file: operator"],
            files: [("key", KEY), ("operator", OPERATOR)].into_iter().chain(setup.files).collect(),
            ..setup
        }
    }

    /// Waits until every gate knows this number of replicas.
    async fn until_known(&self, count: usize) {
        for (number, gate) in self.gates.iter().enumerate() {
            let what = format!("gate {number} knows {count} replicas");
            soon(&what, async || known(gate).await == count).await;
        }
    }

    /// Waits until every gate says that Redis is up, or away.
    async fn until_redis_is(&self, up: bool) {
        let wanted = format!("\nmoorgate_redis_up {}\n", u8::from(up));
        for gate in &self.gates {
            let is_so = async || gate.admin("/metrics").await.body.contains(&wanted);
            soon(&format!("redis_up is {}", u8::from(up)), is_so).await;
        }
    }

    fn questions(&self) -> usize {
        self.gitlab.ledger().count()
    }

    async fn login(&self, gate: usize) -> u16 {
        self.gates[gate].get("/v2/", Some(PERSON)).await.status
    }
}

/// Returns the line of `redis` for one server.
fn url(redis: &RedisServer) -> String {
    format!("url: redis://127.0.0.1:{}", redis.port)
}

/// Waits until a condition holds.
async fn soon(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the number of replicas that a gate knows.
async fn known(gate: &TestGate) -> usize {
    let status: Value = serde_json::from_str(&gate.admin("/status.json").await.body).unwrap();
    status["replicas"].as_array().map_or(0, Vec::len)
}

async fn revoke(gate: &TestGate, token: &str) -> Value {
    let headers = format!(
        "Authorization: Bearer {OPERATOR}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n"
    );
    let request = request("POST", "/revoke", None, &headers, &format!("token={token}"));
    let mut stream = TcpStream::connect(gate.admin).await.unwrap();
    let reply = exchange(&mut stream, request).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    serde_json::from_str(&reply.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_one_gate_asked_is_not_asked_by_the_others() {
    let replicas = Replicas::start(3, &[]).await;
    for gate in 0..3 {
        assert_eq!(replicas.login(gate).await, 200);
    }
    assert_eq!(replicas.questions(), 1);
    let uses = [replicas.gates[0].log(1).await, replicas.gates[1].log(1).await];
    assert_eq!(uses.map(|lines| lines[0]["cache"].clone()), ["miss", "shared"]);
    let metrics = replicas.gates[1].admin("/metrics").await.body;
    assert!(metrics.contains("moorgate_shared_verdicts_total{result=\"hit\"} 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_at_three_gates_are_one_question() {
    let replicas = Arc::new(Replicas::start(3, &[]).await);
    let mut callers = JoinSet::new();
    for caller in 0..300 {
        let replicas = replicas.clone();
        callers.spawn(async move { replicas.login(caller % 3).await });
    }
    while let Some(status) = callers.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(replicas.questions(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_credential_is_asked_once() {
    let replicas = Replicas::start(3, &[]).await;
    for gate in &replicas.gates {
        let wrong = Some(("any", "glpat-demo-revoked"));
        assert_eq!(gate.get("/v2/", wrong).await.status, 401);
    }
    assert_eq!(replicas.questions(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_at_one_gate_holds_at_all() {
    let replicas = Replicas::start(3, &[]).await;
    for gate in 0..3 {
        assert_eq!(replicas.login(gate).await, 200);
    }
    assert!(replicas.gitlab.revoke(PERSON.1));
    let answer = revoke(&replicas.gates[0], PERSON.1).await;
    assert_eq!(answer, serde_json::json!({ "revoked": true, "replicas": 3 }));
    for gate in 0..3 {
        assert_eq!(replicas.login(gate).await, 401, "gate {gate}");
    }
}

/// The rate is so low that it does not matter.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_that_of_one_gate() {
    for burst in [4, 60] {
        let limit = if burst == 4 {
            "per_identity: { rate: 1/h, burst: 4 }"
        } else {
            "per_identity: { rate: 1/h, burst: 60 }"
        };
        let replicas = Replicas::start(3, &[limit]).await;
        let mut admitted = 0;
        // Nearly all at one gate, and more than there may be.
        for number in 0..2 * burst {
            let gate = if number % 10 == 0 { 1 } else { 0 };
            let reply = replicas.gates[gate].get("/v2/demo/a/tags/list", Some(PERSON)).await;
            admitted += i32::from(reply.status != 429);
        }
        assert!((burst - 2..=burst).contains(&admitted), "{admitted} of {burst}");
    }
}

/// Each way in which Redis can be away, and how it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_redis_is_away() {
    let mut replicas = Replicas::start(2, &["per_identity: { rate: 1000/s, burst: 2000 }"]).await;
    for fault in ["paused", "killed", "full", "read-only"] {
        match fault {
            "paused" => replicas.redis.pause(),
            "killed" => replicas.redis.kill(),
            "full" => drop(replicas.redis.ask(&["CONFIG", "SET", "maxmemory", "1"])),
            _ => drop(replicas.redis.ask(&["REPLICAOF", "127.0.0.1", "1"])),
        }
        for number in 0..100 {
            let gate = &replicas.gates[number % 2];
            let reply = gate.get("/v2/demo/a/tags/list", Some(PERSON)).await;
            assert_eq!(reply.status, 404, "{fault}: {}", reply.body);
        }
        replicas.until_redis_is(false).await;
        assert_eq!(replicas.gates[0].admin("/readyz").await.status, 200, "{fault}");
        let status = replicas.gates[0].admin("/status.json").await.body;
        let status: Value = serde_json::from_str(&status).unwrap();
        let (redis, problem) = (&status["redis"], &status["problems"][0]);
        assert!(problem["what"].as_str().unwrap().starts_with("Redis cannot be used"), "{problem}");
        assert!(redis["up"] == false && problem["since"] == redis["since"], "{fault}: {status}");
        let error = redis["last_error"]["message"].as_str().unwrap();
        assert_eq!(problem["error"], error);
        let expected = match fault {
            "paused" => "in ",
            "killed" => "127.0.0.1",
            "full" => "the server is full",
            _ => "read-only",
        };
        assert!(error.contains(expected), "{fault}: {error}");
        match fault {
            "paused" => replicas.redis.resume(),
            "killed" => replicas.redis.restart(),
            "full" => drop(replicas.redis.ask(&["CONFIG", "SET", "maxmemory", "0"])),
            _ => drop(replicas.redis.ask(&["REPLICAOF", "NO", "ONE"])),
        }
        replicas.until_redis_is(true).await;
    }
    let answer = revoke(&replicas.gates[1], PERSON.1).await;
    assert_eq!(answer["replicas"], 2, "they have joined up");
}

/// The revocation waits, and then reaches the gate that could not be told.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_while_redis_is_away_is_sent_later() {
    let mut replicas = Replicas::start(2, &[]).await;
    assert_eq!((replicas.login(0).await, replicas.login(1).await), (200, 200));
    replicas.redis.kill();
    replicas.until_redis_is(false).await;
    assert!(replicas.gitlab.revoke(PERSON.1));
    let answer = revoke(&replicas.gates[0], PERSON.1).await;
    assert_eq!(answer, serde_json::json!({ "revoked": true, "replicas": 1 }));
    assert_eq!((replicas.login(0).await, replicas.login(1).await), (401, 200));
    replicas.redis.restart();
    soon("the revocation arrives", async || replicas.login(1).await == 401).await;
}

/// What an attacker does to the verdicts in Redis lets no caller in.
#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_that_was_moved_to_another_question_is_not_used() {
    let replicas = Replicas::start(2, &[]).await;
    let other = ("any", "glpat-demo-revoked");
    assert_eq!(replicas.login(0).await, 200);
    assert_eq!(replicas.gates[0].get("/v2/", Some(other)).await.status, 401);
    // The answers go to Redis after they have gone to the callers.
    let end = Instant::now() + PATIENCE;
    let names = loop {
        let names = replicas.redis.ask(&["KEYS", "moorgate:*:[nv]:*"]);
        let names: Vec<_> = names.lines().map(str::to_owned).collect();
        if names.len() == 2 {
            break names;
        }
        assert!(Instant::now() < end, "{names:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let [good] = names.iter().filter(|name| name.contains(":v:")).collect::<Vec<_>>()[..] else {
        panic!("{names:?}")
    };
    let value = replicas.redis.ask(&["GET", good]);
    assert!(value.contains("mv1."), "{value}");
    for name in &names {
        assert_eq!(replicas.redis.ask(&["SET", name, &value]), "OK");
    }
    assert_eq!(replicas.gates[1].get("/v2/", Some(other)).await.status, 401);
    for flipped in [value.replace("mv1.", "mv2."), format!("{value}A"), String::new()] {
        for name in &names {
            assert_eq!(replicas.redis.ask(&["SET", name, &flipped]), "OK");
        }
        assert_eq!(replicas.gates[1].get("/v2/", Some(other)).await.status, 401);
    }
}
