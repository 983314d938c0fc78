//! Class 22: floods over HTTP/2. Several connections flood a gate that runs in a separate process.
//! Each flood ends as expected, or is merely answered, while the gate serves an honest client and
//! its memory stays below the bound that `docs/performance.md` states. No flood acknowledges the
//! SETTINGS of the gate: the limits of the gate must hold from the first frame on.
//!
//! `cargo test --test it floods -- --nocapture | grep MiB` prints the memory that each flood takes.

#![allow(clippy::print_stdout)]

mod bodies;
mod flooder;
mod frames;
mod headers;
mod resets;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::gate_process::{GateProcess, ProcessSetup, USER};
use crate::harness::{basic, digest_of};
use crate::http2_client;
use crate::scripted_upstream::soon;
use flooder::{End, Flood};

/// The time limit of a flood. It is long because floods need CPU time and other tests run in
/// parallel.
const PATIENCE: Duration = Duration::from_secs(120);

/// The size of the blob of the honest client, in bytes.
const BLOB_BYTES: usize = 1 << 20;
/// The number of connections that flood at the same time.
const CONNECTIONS: usize = 4;
/// The largest growth of the gate's memory under all flooding connections together, in MiB, if the
/// gate ignores or answers the frames. `docs/performance.md` states this bound.
const FRAMES_MIB: u64 = 16;
/// The largest growth of the gate's memory, in MiB, if the flood holds open as many streams as the
/// gate allows.
const STREAMS_MIB: u64 = 64;

async fn gate(http: &[&str]) -> GateProcess {
    GateProcess::start(ProcessSetup { tls: true, http, identity: &[], ..ProcessSetup::default() })
        .await
}

/// Starts a gate with deadlines that no flood reaches, even on a slow machine.
async fn patient_gate() -> GateProcess {
    gate(&["header_timeout: 5m", "idle_timeout: 5m"]).await
}

/// Floods a gate of its own. Asserts that the honest client is served, that each flood ends as
/// `expected`, and that the memory stays below [`FRAMES_MIB`].
async fn survives(name: &str, flood: Flood, expected: End) {
    let gate = patient_gate().await;
    survives_at(&gate, name, flood, expected, FRAMES_MIB, async {}).await;
}

/// Floods the given gate and makes the assertions of [`survives`] with the bound `bound_mib`. The
/// flooding connections stay open until `settled` completes.
async fn survives_at(
    gate: &GateProcess,
    name: &str,
    flood: Flood,
    expected: End,
    bound_mib: u64,
    settled: impl Future,
) {
    let honest = Honest::begin(gate).await;
    honest.ask().await;
    let open_before = gate.metric("moorgate_connections").await;
    let (before, _) = gate.memory();
    gate.forget_peak();
    let over = AtomicBool::new(false);
    let flooding = async {
        let mut floods = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (mut stream, flood) = (gate.tls(b"h2").await, flood.clone());
            floods.spawn(async move { (flooder::run(&mut stream, flood).await, stream) });
        }
        let (ends, open): (Vec<_>, Vec<_>) = timeout(PATIENCE, floods.join_all())
            .await
            .expect("a flood does not end")
            .into_iter()
            .unzip();
        timeout(PATIENCE, settled).await.expect("what the flood began does not end");
        drop(open);
        over.store(true, Ordering::Relaxed);
        ends
    };
    let serving = async {
        loop {
            honest.ask().await;
            if over.load(Ordering::Relaxed) {
                return;
            }
        }
    };
    let (ends, ()) = tokio::join!(flooding, serving);
    assert!(
        ends.iter().all(|end| end.is(expected)),
        "{name}: {ends:?} where {expected:?} was expected"
    );
    let grown = within_bound(gate, name, before, bound_mib);
    println!("{name}: {grown:.1} MiB, {} honest answers", honest.answers());
    soon(gate.connections_fall_to(open_before)).await;
    honest.ask().await;
    let log = gate.said();
    assert!(log.lines().count() < 20, "{name}: a line for each frame? {}", &log[..2000]);
}

/// Returns the growth of the gate's memory at its peak, in MiB. Panics if it reaches the bound.
#[track_caller]
fn within_bound(gate: &GateProcess, name: &str, before: u64, bound_mib: u64) -> f64 {
    let (_, peak) = gate.memory();
    let grown = peak.saturating_sub(before);
    assert!(grown < bound_mib * 1024, "{name}: {grown} KiB");
    f64::from(u32::try_from(grown).unwrap()) / 1024.0
}

/// A client that pings and pulls a blob over one HTTP/2 connection.
struct Honest {
    sender: h2::client::SendRequest<Bytes>,
    blob: String,
    answers: AtomicUsize,
}

impl Honest {
    /// Connects and pushes the blob.
    async fn begin(gate: &GateProcess) -> Self {
        let sender = gate.http2().await;
        let content = vec![b'x'; BLOB_BYTES];
        let digest = digest_of(&content);
        let request = Self::request("POST", &format!("/v2/demo/a/blobs/uploads/?digest={digest}"));
        let (answer, mut stream) = sender.clone().send_request(request, false).unwrap();
        http2_client::send(&mut stream, content.into(), true).await.unwrap();
        assert_eq!(soon(answer).await.unwrap().status(), 201);
        Self { sender, blob: format!("/v2/demo/a/blobs/{digest}"), answers: AtomicUsize::new(0) }
    }

    async fn ask(&self) {
        for (path, length) in [("/v2/", 2), (&*self.blob, BLOB_BYTES)] {
            let mut sender = soon(self.sender.clone().ready()).await.unwrap();
            let (answer, _) = sender.send_request(Self::request("GET", path), true).unwrap();
            let answer = soon(answer).await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(http2_client::body(answer).await.unwrap().len(), length, "{path}");
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    fn request(method: &str, path: &str) -> http::Request<()> {
        http::Request::builder()
            .method(method)
            .uri(format!("https://registry.test{path}"))
            .header("authorization", basic(USER))
            .body(())
            .unwrap()
    }
}

/// Returns the header block of an allowed request.
fn request_block(method: &str, path: &str) -> Vec<u8> {
    super::frames::block(&super::frames::fields(method, path, &basic(USER)))
}
