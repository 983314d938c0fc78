//! Several gates that act as one, over a real Redis.

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
struct Replicas {
    gates: Vec<TestGate>,
    gitlab: GitLab,
    _redis: RedisServer,
}

impl Replicas {
    /// Starts gates with these lines of `limits`, and waits until they know each other.
    async fn start(count: usize, limits: &[&'static str]) -> Self {
        let redis = RedisServer::start(&[]);
        let gitlab = GitLab::start(listener()).unwrap();
        gitlab.ledger().keep();
        let mut gates = Vec::new();
        for _ in 0..count {
            let setup = Setup {
                shared: Some((redis.port, gitlab.address())),
                tokens: vec!["key_file: key"],
                admin: vec!["token_file: operator"],
                files: vec![("key", KEY), ("operator", OPERATOR)],
                limits: limits.to_vec(),
                ..Setup::default()
            };
            gates.push(TestGate::start(setup).await);
        }
        let replicas = Self { gates, gitlab, _redis: redis };
        let end = Instant::now() + PATIENCE;
        for gate in &replicas.gates {
            while known(gate).await != count {
                assert!(Instant::now() < end, "the gates do not find each other");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        replicas
    }

    fn questions(&self) -> usize {
        self.gitlab.ledger().count()
    }

    async fn login(&self, gate: usize) -> u16 {
        self.gates[gate].get("/v2/", Some(PERSON)).await.status
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_at_three_gates_are_one_question() {
    let replicas = Arc::new(Replicas::start(3, &[]).await);
    let mut callers = JoinSet::new();
    for caller in 0..1000 {
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

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_counted_for_all_gates() {
    let replicas = Replicas::start(3, &["failed_logins: { rate: 1/h, burst: 6 }"]).await;
    assert_eq!(replicas.login(0).await, 200);
    let mut statuses = Vec::new();
    for number in 0..9 {
        let wrong = format!("glpat-demo-wrong-{number}");
        let reply = replicas.gates[number % 3].get("/v2/", Some(("any", &wrong))).await;
        statuses.push(reply.status);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 401, 429, 429, 429]);
    assert_eq!(replicas.login(2).await, 200, "known to be good from there, at another gate");
}
