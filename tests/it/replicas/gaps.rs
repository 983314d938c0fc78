//! What the gates do if Redis loses revocations, and what a gate learns that starts later.

use moorgate::demo::issuer::OidcIssuer;
use serde_json::json;

use super::relay::Relay;
use super::{PERSON, Replicas, revoke, soon};
use crate::harness::{Setup, TestGate, jobs, listener};

/// The stream of revocations.
const STREAM: &str = "moorgate:{gates}:revocations";

const REDIS_UP: &str = "\nmoorgate_redis_up 1\n";

async fn is_up(gate: &TestGate) -> bool {
    gate.admin("/metrics").await.body.contains(REDIS_UP)
}

/// Two gates, and one whose connection to Redis goes through a relay.
async fn with_relay() -> (Replicas, Relay) {
    let mut replicas = Replicas::start(2, &[]).await;
    let relay = Relay::to(replicas.redis.port).await;
    let link = format!("url: redis://127.0.0.1:{}", relay.port);
    let shared = Some((link, replicas.gitlab.address()));
    let third = TestGate::start(Setup { shared, ..replicas.with(Setup::default()) }).await;
    replicas.gates.push(third);
    replicas.until_known(3).await;
    for gate in 0..3 {
        assert_eq!(replicas.login(gate).await, 200);
    }
    assert_eq!(replicas.questions(), 1);
    (replicas, relay)
}

/// Revokes the credentials of others and of the person while the third gate hears nothing, and
/// deletes what `lost` picks of the entries of the stream.
async fn loses(replicas: &Replicas, relay: &Relay, lost: impl Fn(&[&str]) -> Vec<String>) {
    // Each gate has asked for the revocations that still matter.
    let length = || replicas.redis.ask(&["XLEN", STREAM]).parse::<usize>().unwrap();
    soon("all gates have started", async || length() == replicas.gates.len()).await;
    relay.cut();
    soon("the third gate is cut off", async || !is_up(&replicas.gates[2]).await).await;
    for token in ["another-token-1", PERSON.1, "another-token-2"] {
        revoke(&replicas.gates[0], token).await;
    }
    let entries = replicas.redis.ask(&["XRANGE", STREAM, "-", "+"]);
    let is_id = |line: &&str| {
        line.split_once('-').is_some_and(|(time, number)| {
            time.parse::<u64>().is_ok() && number.parse::<u64>().is_ok()
        })
    };
    let ids: Vec<_> = entries.lines().filter(is_id).collect();
    let ids = &ids[replicas.gates.len()..];
    // Some may have been published again by now.
    assert!(ids.len() >= 3, "{entries}");
    for id in lost(ids) {
        assert_eq!(replicas.redis.ask(&["XDEL", STREAM, &id]), "1");
    }
    assert_eq!(replicas.login(2).await, 200, "it knows nothing yet");
    relay.mend();
}

/// The entry of the person is missing between two others, or all are, and only the beats of the
/// other gates tell that there were any.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_misses_a_revocation_asks_every_provider_again() {
    for all in [false, true] {
        let (replicas, relay) = with_relay().await;
        assert!(replicas.gitlab.revoke(PERSON.1));
        let lost = |ids: &[&str]| {
            let of_others = if all { [].as_slice() } else { &[0, 2] };
            let is_lost = |(place, _): &(usize, &&str)| !of_others.contains(place);
            ids.iter().enumerate().filter(is_lost).map(|(_, id)| (*id).to_owned()).collect()
        };
        let written = replicas.gates.len() + if all { 0 } else { 2 };
        loses(&replicas, &relay, lost).await;
        soon("the verdict is dropped", async || replicas.login(2).await == 401).await;
        // The third gate asks for it, so that it and gates that start later know all of them.
        let again = async || {
            let length = replicas.redis.ask(&["XLEN", STREAM]).parse::<usize>().unwrap();
            length > written + 1
        };
        soon("what was lost is published again", again).await;
    }
}

/// No credential was revoked at its provider: only the gates refuse a workload token.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_revocation_of_a_workload_token_is_made_up_for() {
    let issuer = OidcIssuer::start(listener()).unwrap();
    let identity = Some(jobs(&issuer, "scopes: [read_registry]"));
    let setup = || Setup { identity, ..Setup::default() };
    let mut replicas = Replicas::start_as(2, setup).await;
    let relay = Relay::to(replicas.redis.port).await;
    let link = format!("url: redis://127.0.0.1:{}", relay.port);
    let shared = Some((link, replicas.gitlab.address()));
    replicas.gates.push(TestGate::start(Setup { shared, ..replicas.with(setup()) }).await);
    replicas.until_known(3).await;
    let token = issuer.id_token("a", &json!({})).unwrap();
    assert_eq!(bearer(&replicas.gates[2], &token).await, 404);
    relay.cut();
    soon("the third gate is cut off", async || !is_up(&replicas.gates[2]).await).await;
    revoke(&replicas.gates[0], &token).await;
    assert_ne!(replicas.redis.ask(&["XTRIM", STREAM, "MAXLEN", "0"]), "0");
    relay.mend();
    let refused = async || bearer(&replicas.gates[2], &token).await == 401;
    soon("the third gate refuses it", refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_data_makes_all_gates_ask_again_and_publish_again() {
    let replicas = Replicas::start(3, &[]).await;
    revoke(&replicas.gates[0], "another-token").await;
    for gate in 0..3 {
        assert_eq!(replicas.login(gate).await, 200);
    }
    assert_eq!(replicas.questions(), 1);
    assert_eq!(replicas.redis.ask(&["FLUSHALL"]), "OK");
    let is_back = async || replicas.redis.ask(&["XLEN", STREAM]) != "0";
    soon("the revocation is in the stream again", is_back).await;
    let asked = async || {
        for gate in 0..3 {
            assert_eq!(replicas.login(gate).await, 200);
        }
        replicas.questions() > 1
    };
    soon("the provider is asked again", asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_starts_later_learns_revocations() {
    let issuer = OidcIssuer::start(listener()).unwrap();
    let identity = Some(jobs(&issuer, "scopes: [read_registry]"));
    let setup = || Setup { identity, ..Setup::default() };
    let replicas = Replicas::start_as(2, setup).await;
    let [revoked, other] =
        ["one", "two"].map(|id| issuer.id_token("a", &json!({ "jti": id })).unwrap());
    for gate in &replicas.gates {
        assert_eq!(bearer(gate, &revoked).await, 404);
    }
    let answer = revoke(&replicas.gates[0], &revoked).await;
    assert_eq!(answer, json!({ "revoked": true, "replicas": 2 }));
    for has_lost_data in [false, true] {
        if has_lost_data {
            assert_eq!(replicas.redis.ask(&["FLUSHALL"]), "OK");
            let is_back = async || replicas.redis.ask(&["XLEN", STREAM]) != "0";
            soon("the revocation is in the stream again", is_back).await;
        }
        let late = TestGate::start(replicas.with(setup())).await;
        soon("it refuses the token", async || bearer(&late, &revoked).await == 401).await;
        assert_eq!(bearer(&late, &other).await, 404);
    }
}

/// Returns the answer to a caller with a workload token.
pub(super) async fn bearer(gate: &TestGate, token: &str) -> u16 {
    let header = format!("Authorization: Bearer {token}\r\n");
    gate.send("GET", "/v2/demo/a/tags/list", None, &header, "").await.status
}
