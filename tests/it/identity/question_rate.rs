//! The rate of questions about one secret, through the whole gate. The oracle is the ledger of
//! GitLab's questions.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use crate::harness::{PATIENCE, READ_ONLY, READ_WRITE, Reply, Setup, TestGate};
use crate::scripted_upstream::{ScriptedUpstream, soon};

/// The number of questions allowed at once, and in each second after that.
const BURST: usize = 500;
const A_SECOND: usize = 20;

/// Pulls from `count` repositories, up to 100 at a time.
async fn pull(
    gate: &Arc<TestGate>,
    first: usize,
    count: usize,
    credential: Option<(&'static str, &'static str)>,
) -> Vec<Reply> {
    let (mut tasks, mut replies) = (JoinSet::new(), Vec::new());
    for number in first..first + count {
        if tasks.len() >= 100 {
            replies.push(tasks.join_next().await.unwrap().unwrap());
        }
        let gate = gate.clone();
        tasks.spawn(
            async move { gate.get(&format!("/v2/demo/r{number}/tags/list"), credential).await },
        );
    }
    replies.extend(tasks.join_all().await);
    replies
}

fn count(replies: &[Reply], status: u16) -> usize {
    replies.iter().filter(|reply| reply.status == status).count()
}

/// A cluster that restarts gets the whole burst at once. A caller who continues beyond it is slowed
/// down and then turned away, and other secrets are not affected.
#[tokio::test]
async fn the_question_rate_limits_each_secret_separately() {
    let gate = Arc::new(TestGate::start(Setup::default()).await);
    let begun = Instant::now();
    let replies = pull(&gate, 0, BURST, Some(READ_WRITE)).await;
    assert_eq!(count(&replies, 404), BURST);
    let replies = pull(&gate, BURST, 3 * BURST, Some(READ_WRITE)).await;
    let may = BURST + A_SECOND * (begun.elapsed().as_secs() as usize + 3);
    assert!(gate.gitlab.ledger().count() <= may, "{} of {may}", gate.gitlab.ledger().count());
    assert!(count(&replies, 429) > 0 && count(&replies, 429) + count(&replies, 404) == 3 * BURST);
    let refused = replies.iter().find(|reply| reply.status == 429).unwrap();
    assert_eq!((&*refused.code(), refused.header("retry-after")), ("TOOMANYREQUESTS", Some("2")));
    let reply = gate.get("/v2/demo/another/tags/list", Some(READ_ONLY)).await;
    assert_eq!(reply.status, 404, "another secret");
    let reply = gate.get("/v2/demo/r0/tags/list", Some(READ_WRITE)).await;
    assert_eq!(reply.status, 404, "what is remembered takes no question");
    let metrics = gate.admin("/metrics").await.body;
    assert!(
        metrics.contains(&format!("limited_total{{limit=\"questions\"}} {}", count(&replies, 429))),
        "{metrics}"
    );
}

/// Callers without a credential are limited by address. A caller over the rate gets 401 and not an
/// earlier answer that a repository is public, and other addresses are not affected.
#[tokio::test]
async fn the_question_rate_limits_anonymous_callers_by_address() {
    let identity = "- { name: gitlab, type: gitlab, url: \"{gitlab}\", anonymous: true }";
    let (http, cache) = (vec!["trusted_proxies: [127.0.0.0/8]"], vec!["ttl: 1ms"]);
    let gate = Arc::new(
        TestGate::start(Setup { identity: Some(identity), http, cache, ..Setup::default() }).await,
    );
    gate.gitlab.set_public("demo");
    let begun = Instant::now();
    assert_eq!(gate.get("/v2/demo/known/tags/list", None).await.status, 404);
    let replies = pull(&gate, 0, 3 * BURST, None).await;
    let may = BURST + A_SECOND * (begun.elapsed().as_secs() as usize + 3);
    assert!(gate.gitlab.ledger().count() <= may, "{} of {may}", gate.gitlab.ledger().count());
    assert!(count(&replies, 401) > 0, "whoever has shown nothing is told nothing else");
    let from_elsewhere = "X-Forwarded-For: 203.0.113.9\r\n";
    assert_eq!(
        gate.send("GET", "/v2/demo/other/tags/list", None, from_elsewhere, "").await.status,
        404
    );
}

/// A caller cannot keep a revoked token alive by asking so often that the provider is not asked any
/// more.
#[tokio::test]
async fn a_caller_over_the_question_rate_gets_no_stale_answer() {
    let cache = vec!["ttl: 1ms", "stale_if_error: 10m"];
    let gate = Arc::new(TestGate::start(Setup { cache, ..Setup::default() }).await);
    let own = async || gate.get("/v2/demo/known/tags/list", Some(READ_WRITE)).await.status;
    assert_eq!(own().await, 404);
    let flooding = gate.clone();
    // The flood does not end. One that ended while the caller waits for its turn would leave room
    // for all the caller's questions.
    let flood = tokio::spawn(async move { pull(&flooding, 0, usize::MAX, Some(READ_WRITE)).await });
    // The test goes on once the caller is turned away. From then on the answer from before must not
    // be served.
    let turned_away = async { while own().await != 429 {} };
    tokio::time::timeout(6 * PATIENCE, turned_away)
        .await
        .expect("it is never asked about too often");
    gate.gitlab.revoke(READ_WRITE.1);
    for _ in 0..10 {
        assert_ne!(own().await, 404, "it lives on");
    }
    flood.abort();
    let log = gate.log(BURST).await;
    assert!(log.iter().all(|line| line["cache"] != "stale"));
}

/// With a registry that refuses every grant, each GET asks for two new grants. The rate of
/// questions bounds them.
#[tokio::test]
async fn the_question_rate_limits_new_grants_for_refused_ones() {
    let setup = Setup { upstream: vec!["authorization: grant"], ..Setup::default() };
    let (mut upstream, gate) = ScriptedUpstream::behind(setup).await;
    let gate = Arc::new(gate);
    let refusing = tokio::spawn(async move {
        loop {
            let (mut connection, _) = upstream.accept_request().await;
            connection
                .write(
                    "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                )
                .await;
        }
    });
    let begun = Instant::now();
    for _ in 0..BURST {
        let reply = soon(gate.get("/v2/demo/a/tags/list", Some(READ_WRITE))).await;
        assert!(matches!(reply.status, 502 | 429), "{reply:?}");
        if reply.status == 429 {
            break;
        }
    }
    let may = BURST + A_SECOND * (begun.elapsed().as_secs() as usize + 3);
    assert!(gate.gitlab.ledger().count() <= may, "{}", gate.gitlab.ledger().count());
    refusing.abort();
}
