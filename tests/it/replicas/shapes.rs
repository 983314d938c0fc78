//! Gates over Redis behind Sentinel and over a cluster: what they share, also after a failover.

use super::{PERSON, Replicas, known, revoke, soon};
use crate::harness::Setup;
use crate::redis_servers::{RedisServer, wait_until};

const TAGS: &str = "/v2/demo/a/tags/list";
/// A credential of another caller than the person.
const PROJECT: (&str, &str) = ("any", "glpat-demo-project-read-only");

fn setup() -> Setup {
    Setup { limits: vec!["per_identity: { rate: 1/h, burst: 60 }"], ..Setup::default() }
}

async fn started<R>(redis: R, link: String) -> Replicas<R> {
    Replicas::start_over(redis, link, 3, setup).await
}

/// The gates share verdicts, limits and revocations.
async fn act_as_one<R>(replicas: &Replicas<R>) {
    let before = replicas.questions();
    for gate in &replicas.gates {
        assert_eq!(gate.get("/v2/", Some(PROJECT)).await.status, 200);
    }
    assert_eq!(replicas.questions(), before + 1);
    let mut admitted = 0;
    for number in 0..100 {
        let gate = if number % 10 == 0 { 1 } else { 0 };
        let reply = replicas.gates[gate].get(TAGS, Some(PROJECT)).await;
        admitted += i32::from(reply.status != 429);
    }
    // The logins count too.
    assert!((55..=57).contains(&admitted), "{admitted}");
    assert_eq!(revoke(&replicas.gates[0], "another-token").await["replicas"], 3);
}

/// No request fails before the failover. After it, the gates know each other, ask the provider once
/// for all, and tell each other of a revocation.
async fn act_as_one_again<R>(replicas: &Replicas<R>) {
    for gate in &replicas.gates {
        let meanwhile = gate.get(TAGS, Some(PERSON)).await;
        assert_eq!(meanwhile.status, 404, "{}", meanwhile.body);
    }
    replicas.until_redis_is(true).await;
    soon("the gates know each other", async || {
        known(&replicas.gates[0]).await == 3 && known(&replicas.gates[2]).await == 3
    })
    .await;
    let before = replicas.questions();
    for gate in 0..3 {
        let reply = replicas.gates[gate].get("/v2/demo/new/tags/list", Some(PERSON)).await;
        assert_eq!(reply.status, 404);
    }
    assert_eq!(replicas.questions(), before + 1);
    assert!(replicas.gitlab.revoke(PERSON.1));
    assert_eq!(revoke(&replicas.gates[2], PERSON.1).await["replicas"], 3);
    for gate in 0..3 {
        assert_eq!(replicas.login(gate).await, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gates_behind_a_sentinel_act_as_one_before_and_after_a_failover() {
    let master = RedisServer::start(&[]);
    let replica = RedisServer::replica_of(&master);
    let sentinel = RedisServer::sentinel_of(&master);
    let link = format!("url: [\"redis://127.0.0.1:{}\"]\nsentinel: main", sentinel.port);
    let mut replicas = started((master, replica, sentinel), link).await;
    act_as_one(&replicas).await;
    let (master, replica, _) = &mut replicas.redis;
    let offset = |server: &RedisServer| {
        let info = server.ask(&["INFO", "replication"]);
        info.lines().find(|line| line.starts_with("master_repl_offset")).unwrap().to_owned()
    };
    wait_until("the replica has it all", || offset(master) == offset(replica));
    master.kill();
    replicas.until_redis_is(false).await;
    act_as_one_again(&replicas).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gates_over_a_cluster_act_as_one_before_and_after_a_failover() {
    let nodes = RedisServer::cluster();
    let key = |name: &str| format!("moorgate:{{gates}}:{name}");
    let is_owner = |node: &RedisServer| node.ask(&["EXISTS", &key("clock")]) == "0";
    let owner = nodes.iter().position(is_owner).unwrap();
    let replica = RedisServer::cluster_replica_of(&nodes, owner);
    let urls = [0, 1, 2].map(|node| format!("\"redis://127.0.0.1:{}\"", nodes[node].port));
    let mut replicas = started((nodes, replica), format!("url: [{}]", urls.join(", "))).await;
    act_as_one(&replicas).await;
    let (nodes, _) = &mut replicas.redis;
    for node in &*nodes {
        assert_ne!(node.ask(&["DBSIZE"]), "0", "every node is used");
    }
    nodes[owner].kill();
    replicas.until_redis_is(false).await;
    let (_, replica) = &replicas.redis;
    assert_eq!(replica.ask(&["CLUSTER", "FAILOVER", "TAKEOVER"]), "OK");
    act_as_one_again(&replicas).await;
}
