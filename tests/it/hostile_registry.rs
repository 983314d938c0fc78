//! Classes 31 and 32 of `tests/hostile-classes.md`: a registry that sends the gate to other
//! servers, and sealed addresses in the wrong place. A trap is a server that the gate may not ask:
//! its ledger must stay empty.

mod identity;
mod look_ups;
mod proxy;
mod realms;
mod redirects;
mod sealed;
mod server;

use serde_json::Value;

use crate::harness::{Reply, Setup, TestGate};
use server::Server;

const MANIFEST: &str = "/v2/demo/a/manifests/v1";

/// The two users of the gates here, who may do everything in `demo`.
const ALICE: (&str, &str) = ("alice", "password-of-alice");
const BOB: (&str, &str) = ("bob", "password-of-bob");

/// The password of the gate's own account.
const PASSWORD: &str = "password-of-the-gate";

/// Starts a gate in front of a registry, with these lines of `upstream`.
async fn gate(registry: &Server, upstream: &[String]) -> TestGate {
    gate_with(registry, upstream, Setup::default()).await
}

async fn gate_with(registry: &Server, upstream: &[String], setup: Setup) -> TestGate {
    let lines = upstream.iter().map(|line| &*line.clone().leak());
    let setup = Setup {
        upstream_address: Some(registry.address),
        upstream: lines.collect(),
        identity: Some(
            "- { name: local, type: htpasswd, file: htpasswd, \
             scopes: [read_registry, write_registry, delete_registry] }",
        ),
        htpasswd_users: vec![ALICE, BOB],
        files: vec![("upstream.password", PASSWORD)],
        workers: Some(1),
        ..setup
    };
    TestGate::start(setup).await
}

/// Checks a refusal, and returns the reason in the access log.
async fn refused(gate: &TestGate, reply: &Reply, status: u16) -> String {
    assert_eq!((reply.status, &*reply.code()), (status, "UNAVAILABLE"), "{reply:?}");
    assert_eq!(reply.header("retry-after").is_some(), status == 503, "{reply:?}");
    let log: Vec<Value> = gate.log(1).await;
    log.last().unwrap()["reason"].as_str().unwrap().to_owned()
}

/// Waits for all of these at the same time.
async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in &mut futures {
            if output.is_none()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(cx)
            {
                *output = Some(ready);
            }
        }
        match futures.iter().all(|(_, output)| output.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    futures.into_iter().map(|(_, output)| output.unwrap()).collect()
}
