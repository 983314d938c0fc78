//! The rotation of the key file, in the three steps of `docs/tokens.md`, each at one gate after the
//! other: what was said before, meanwhile and afterwards holds at all gates.

use moorgate::demo::issuer::OidcIssuer;
use serde_json::json;

use super::gaps::bearer;
use super::{KEY, PERSON, Replicas, revoke, soon};
use crate::harness::{READ_ONLY, Setup, TestGate, jobs, listener};

const NEW_KEY: &str = "/+7dzLuqmYh3ZlVEMyIRAP/u3cy7qpmId2ZVRDMiEQA=";

/// Does each step at each gate, and then calls `check` with the number of steps so far.
async fn rotate(replicas: &mut Replicas, mut check: impl AsyncFnMut(&Replicas, usize)) {
    let mut steps = 0;
    for lines in [[KEY, NEW_KEY].as_slice(), &[NEW_KEY, KEY], &[NEW_KEY]] {
        for gate in 0..replicas.gates.len() {
            replicas.gates[gate].write("key", lines.join("\n"));
            assert!(replicas.gates[gate].reload().await);
            steps += 1;
            check(replicas, steps).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_hold_through_a_rotation() {
    let issuer = OidcIssuer::start(listener()).unwrap();
    let identity = Some(jobs(&issuer, "scopes: [read_registry]"));
    let setup = || Setup { identity, ..Setup::default() };
    let mut replicas = Replicas::start_as(3, setup).await;
    let token = |id: usize| issuer.id_token("a", &json!({ "jti": id.to_string() })).unwrap();
    let mut revoked = vec![token(0)];
    revoke(&replicas.gates[0], &revoked[0]).await;
    rotate(&mut replicas, async |replicas, step| {
        let next = token(step);
        for gate in &replicas.gates {
            assert_eq!(bearer(gate, &next).await, 404, "step {step}");
        }
        let answer = revoke(&replicas.gates[step % 3], &next).await;
        assert_eq!(answer["replicas"], 3, "step {step}");
        revoked.push(next);
        for (number, gate) in replicas.gates.iter().enumerate() {
            for (from, token) in revoked.iter().enumerate() {
                assert_eq!(bearer(gate, token).await, 401, "{from}, gate {number}, step {step}");
            }
        }
    })
    .await;
}

/// Most of what the others have written is sealed with the old key, which it does not have.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_starts_with_the_new_key_alone_learns_revocations() {
    let issuer = OidcIssuer::start(listener()).unwrap();
    let identity = Some(jobs(&issuer, "scopes: [read_registry]"));
    let setup = || Setup { identity, ..Setup::default() };
    let mut replicas = Replicas::start_as(2, setup).await;
    let token = issuer.id_token("a", &json!({})).unwrap();
    rotate(&mut replicas, async |replicas, step| {
        // All gates have both keys, and use the old one.
        if step == 3 {
            revoke(&replicas.gates[0], &token).await;
        }
    })
    .await;
    let with_new_key = Setup { files: vec![("key", NEW_KEY)], ..setup() };
    let late = TestGate::start(replicas.with(with_new_key)).await;
    soon("it refuses the token", async || bearer(&late, &token).await == 401).await;
}

/// The questions are answered from the cache of each gate, or by another gate with the same first
/// key.
#[tokio::test(flavor = "multi_thread")]
async fn verdicts_hold_through_a_rotation() {
    let mut replicas = Replicas::start(3, &[]).await;
    for gate in 0..3 {
        assert_eq!(replicas.login(gate).await, 200);
    }
    rotate(&mut replicas, async |replicas, step| {
        for gate in 0..3 {
            assert_eq!(replicas.login(gate).await, 200, "step {step}");
        }
        assert_eq!(replicas.questions(), 1, "step {step}");
    })
    .await;
    for gate in &replicas.gates {
        assert_eq!(gate.get("/v2/", Some(READ_ONLY)).await.status, 200);
    }
    assert_eq!(replicas.questions(), 2);
}

/// Callers have another key in Redis from the second step on. So what they owe is forgotten once,
/// not at each gate or each step.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_gives_no_caller_more_than_one_budget() {
    let mut replicas = Replicas::start(3, &["per_identity: { rate: 1/h, burst: 30 }"]).await;
    let admitted = async |replicas: &Replicas| {
        let mut admitted = 0;
        for number in 0..36 {
            let gate = &replicas.gates[number % 3];
            let status = gate.get("/v2/demo/a/tags/list", Some(PERSON)).await.status;
            admitted += usize::from(status != 429);
        }
        admitted
    };
    assert_eq!(admitted(&replicas).await, 30);
    let mut more = 0;
    rotate(&mut replicas, async |replicas, step| {
        more += admitted(replicas).await;
        assert!(more <= 30, "{more} after step {step}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_gives_no_address_more_than_one_budget_of_failed_logins() {
    let mut replicas = Replicas::start(3, &["failed_logins: { rate: 1/h, burst: 6 }"]).await;
    assert_eq!(replicas.login(0).await, 200);
    let mut number = 0;
    let mut wrong = async |replicas: &Replicas| {
        number += 1;
        let wrong = format!("glpat-demo-wrong-{number}");
        replicas.gates[number % 3].get("/v2/", Some(("any", &wrong))).await.status
    };
    for _ in 0..6 {
        assert_eq!(wrong(&replicas).await, 401);
    }
    let mut more = 0;
    rotate(&mut replicas, async |replicas, step| {
        for _ in 0..6 {
            more += usize::from(wrong(replicas).await == 401);
        }
        assert!(more <= 6, "{more} after step {step}");
        for gate in 0..3 {
            assert_eq!(replicas.login(gate).await, 200, "known to be good, step {step}");
        }
    })
    .await;
    assert_eq!(wrong(&replicas).await, 429);
}
