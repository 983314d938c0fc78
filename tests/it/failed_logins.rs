//! `limits.failed_logins`: the number of wrong credentials that an address may have asked about,
//! and the callers that the limit never stops. The oracle is the ledger of GitLab's questions.

mod counting;
mod known;

use std::sync::Arc;

use crate::harness::{READ_WRITE, Reply, Setup, TestGate};

const PULL: &str = "/v2/demo/a/tags/list";

/// Client addresses that a trusted proxy reports.
const ATTACKER: &str = "203.0.113.66";
const OFFICE: &str = "198.51.100.7";

const PROXY: &str = "trusted_proxies: [127.0.0.0/8]";

/// Starts a gate behind a trusted proxy.
async fn gate(setup: Setup) -> TestGate {
    TestGate::start(Setup { http: vec![PROXY], ..setup }).await
}

/// Starts a gate with the default burst of 20, at a rate so low that no place returns while a test
/// runs.
async fn gate_with_a_burst_of_20() -> TestGate {
    gate(Setup { limits: vec!["failed_logins: { rate: 1/h, burst: 20 }"], ..Setup::default() })
        .await
}

/// Returns a setup with a burst of 3.
fn few() -> Setup {
    Setup { limits: vec!["failed_logins: { rate: 1/h, burst: 3 }"], ..Setup::default() }
}

async fn get_from(
    gate: &TestGate,
    address: &str,
    target: &str,
    credential: Option<(&str, &str)>,
) -> Reply {
    gate.send("GET", target, credential, &format!("X-Forwarded-For: {address}\r\n"), "").await
}

async fn pull_from(gate: &TestGate, address: &str, credential: (&str, &str)) -> u16 {
    get_from(gate, address, PULL, Some(credential)).await.status
}

fn asked(gate: &TestGate) -> usize {
    gate.gitlab.ledger().count()
}

/// Spends the places that [`few`] gives this address.
async fn spend(gate: &TestGate, address: &str) {
    for number in 0..3 {
        assert_eq!(pull_from(gate, address, ("alice", &format!("spent-{number}"))).await, 401);
    }
    assert_eq!(pull_from(gate, address, ("alice", "one too many")).await, 429);
}

#[tokio::test]
async fn an_address_that_guesses_passwords_gets_429_and_learns_nothing() {
    let gate = gate_with_a_burst_of_20().await;
    assert_eq!(pull_from(&gate, OFFICE, READ_WRITE).await, 404);
    for number in 0..20 {
        assert_eq!(pull_from(&gate, ATTACKER, ("alice", &format!("wrong-{number}"))).await, 401);
    }
    assert_eq!(asked(&gate), 21);
    // In order: a right credential that is cached, a right one that would have to be asked about,
    // and two that are known to be wrong.
    let another = ("alice", "glpat-demo-personal-read-only");
    for credential in [READ_WRITE, another, ("alice", "wrong-0"), ("alice", "wrong-20")] {
        let reply = get_from(&gate, ATTACKER, PULL, Some(credential)).await;
        assert_eq!((reply.status, &*reply.code()), (429, "TOOMANYREQUESTS"), "{credential:?}");
        let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((3000..=3600).contains(&wait), "one comes back in an hour: {wait}");
        assert_eq!(reply.header("www-authenticate"), None);
    }
    assert_eq!(asked(&gate), 21, "GitLab was asked");
    let log = gate.log(25).await;
    let line = &log[24];
    assert_eq!(
        (&line["decision"], &line["reason"]),
        (&"denied".into(), &"over_failed_logins".into())
    );
    assert_eq!((&line["cache"], &line["subject"]), (&"none".into(), &().into()));
    let metrics = gate.admin("/metrics").await.body;
    assert!(metrics.contains("moorgate_limited_total{limit=\"failed_logins\"} 4"), "{metrics}");
    // Other addresses are not affected, and neither is the user whose password was guessed at.
    assert_eq!(pull_from(&gate, OFFICE, READ_WRITE).await, 404);
    assert_eq!(pull_from(&gate, "198.51.100.8", READ_WRITE).await, 404);
    assert_eq!(
        pull_from(&gate, "198.51.100.8", ("alice", "wrong-0")).await,
        401,
        "it is remembered as wrong"
    );
}

#[tokio::test]
async fn ipv6_addresses_of_one_network_share_a_limit() {
    let gate = gate(few()).await;
    for (number, address) in
        ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"].iter().enumerate()
    {
        assert_eq!(pull_from(&gate, address, ("alice", &format!("wrong-{number}"))).await, 401);
    }
    assert_eq!(pull_from(&gate, "2001:db8::4", ("alice", "wrong-3")).await, 429);
    assert_eq!(pull_from(&gate, "2001:db8:0:1::4", ("alice", "wrong-3")).await, 401);
    // An address reported by an untrusted peer is ignored: the attempts count for the peer's own
    // address.
    let spoofed = TestGate::start(few()).await;
    for number in 0..4 {
        let status = pull_from(
            &spoofed,
            &format!("192.0.2.{number}"),
            ("alice", &format!("wrong-{number}")),
        )
        .await;
        assert_eq!(status, if number < 3 { 401 } else { 429 });
    }
}

#[tokio::test]
async fn concurrent_wrong_credentials_do_not_exceed_the_limit() {
    for address in [ATTACKER, "2001:db8::1"] {
        let gate = Arc::new(gate_with_a_burst_of_20().await);
        let guesses = (0..100).map(|number| {
            let gate = gate.clone();
            tokio::spawn(async move {
                pull_from(&gate, address, ("alice", &format!("wrong-{number}"))).await
            })
        });
        let mut wrong = 0;
        for guess in guesses.collect::<Vec<_>>() {
            match guess.await.unwrap() {
                401 => wrong += 1,
                status => assert_eq!(status, 429),
            }
        }
        assert_eq!((wrong, asked(&gate)), (20, 20));
    }
}

#[tokio::test]
async fn failed_logins_are_limited_over_http2() {
    use crate::scripted_upstream::soon;
    let gate = TestGate::start(Setup { tls: true, ..few() }).await;
    let sender = gate.http2().await;
    for (number, status) in [401, 401, 401, 429].into_iter().enumerate() {
        let request = http::Request::get("https://registry.test/v2/demo/a/tags/list")
            .header("authorization", crate::harness::basic(("alice", &format!("wrong-{number}"))))
            .body(())
            .unwrap();
        let (answer, _) =
            soon(sender.clone().ready()).await.unwrap().send_request(request, true).unwrap();
        assert_eq!(soon(answer).await.unwrap().status(), status);
    }
    assert_eq!(asked(&gate), 3);
}

#[tokio::test]
async fn null_turns_the_limit_off_and_a_reload_keeps_the_counts() {
    let mut gate = gate(few()).await;
    spend(&gate, ATTACKER).await;
    gate.edit("burst: 3", "burst: 4");
    assert!(gate.reload().await);
    assert_eq!(pull_from(&gate, ATTACKER, ("alice", "after-1")).await, 401, "one more than before");
    assert_eq!(pull_from(&gate, ATTACKER, ("alice", "after-2")).await, 429);
    gate.edit("failed_logins: { rate: 1/h, burst: 4 }", "failed_logins: null");
    assert!(gate.reload().await);
    for number in 0..30 {
        assert_eq!(pull_from(&gate, ATTACKER, ("alice", &format!("off-{number}"))).await, 401);
    }
}
