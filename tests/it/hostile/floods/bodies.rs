//! Floods of empty and one-byte DATA frames, of requests that all wait, and of answers that the
//! client does not read: the states in which connections hold the most memory.

use super::flooder::{ENHANCE_YOUR_CALM, End, FLOW_CONTROL_ERROR, Flood, stream};
use super::{
    BLOB_BYTES, CONNECTIONS, Honest, STREAMS_MIB, patient_gate, request_block, survives,
    survives_at,
};
use crate::gate_process::{GateProcess, ProcessSetup};
use crate::harness::{digest_of, listener};
use crate::hostile::BLOB_PUSH;
use crate::hostile::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, block, encode, fields};

/// A credential that only the silent provider could know.
const UNKNOWN: &str = "Bearer unknown";

/// Creates a flood that begins a push and sends `data` in each later round.
fn push(rounds: u32, head: Vec<u8>, data: Vec<u8>) -> Flood {
    Flood::new(rounds, move |round| match round {
        0 => encode(HEADERS, END_HEADERS, 1, &head),
        _ => encode(DATA, 0, 1, &data),
    })
}

/// Starts a gate with a provider that accepts connections and never answers while the returned
/// listener lives.
async fn gate_that_waits() -> (GateProcess, std::net::TcpListener) {
    let silent = listener();
    let sso = format!(
        "- {{ name: sso, type: introspection, url: \"http://{}/\", client_id: moorgate, \
         client_secret_file: htpasswd, timeout: 60s }}",
        silent.local_addr().unwrap()
    );
    (
        GateProcess::start(ProcessSetup {
            tls: true,
            http: &["header_timeout: 5m"],
            identity: &[&sso],
            ..ProcessSetup::default()
        })
        .await,
        silent,
    )
}

#[tokio::test]
async fn a_flood_of_empty_data_frames_ends_the_connection() {
    let flood = push(100_000, request_block("POST", BLOB_PUSH), Vec::new());
    survives("empty DATA", flood, End::GoAway(ENHANCE_YOUR_CALM)).await;
}

/// The gate does not read a body while the caller is unknown. The flow-control window limits the
/// unread bytes, and a separate limit applies to small DATA frames.
#[tokio::test]
async fn a_flood_of_unread_data_frames_ends_the_connection() {
    for (name, bytes, end) in [
        ("DATA of one byte", 1, ENHANCE_YOUR_CALM),
        ("DATA beyond the window", 16_000, FLOW_CONTROL_ERROR),
    ] {
        let (gate, _silent) = gate_that_waits().await;
        let flood = push(20_000, block(&fields("POST", BLOB_PUSH, UNKNOWN)), vec![b'x'; bytes]);
        survives_at(&gate, name, flood, End::GoAway(end), STREAMS_MIB, async {}).await;
    }
}

/// The memory stays below the bound while as many requests wait as the gate allows, each with a
/// head of almost `max_header_bytes`.
#[tokio::test]
async fn waiting_requests_with_large_heads_stay_below_the_memory_bound() {
    let (gate, _silent) = gate_that_waits().await;
    let value = "v".repeat(280);
    let mut head = fields("GET", "/v2/demo/a/tags/list", UNKNOWN);
    head.extend((0..95).map(|_| ("x", &*value)));
    let head = block(&head);
    let frames = move |round| encode(HEADERS, END_HEADERS | END_STREAM, stream(round), &head);
    survives_at(
        &gate,
        "requests that wait",
        Flood::new(128, frames),
        End::Read,
        STREAMS_MIB,
        async {},
    )
    .await;
}

/// Pulls whose windows stay closed, or open for one byte, take memory below the bound. The tests of
/// the deadlines cover their end by `stall_timeout`.
#[tokio::test]
async fn unread_answers_stay_below_the_memory_bound() {
    const PULLS: u32 = 100;
    for window in [0_u32, 1] {
        let gate = patient_gate().await;
        let blob = format!("/v2/demo/a/blobs/{}", digest_of(&vec![b'x'; BLOB_BYTES]));
        let head = request_block("GET", &blob);
        let frames = move |round| encode(HEADERS, END_HEADERS | END_STREAM, stream(round), &head);
        let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
        let flood = Flood { settings, ..Flood::new(PULLS, frames) };
        let another = Honest::begin(&gate).await;
        // After all pulls have been forwarded, a few honest requests show that the registry has
        // sent all that it could.
        let forwarded = gate.forwarded() + CONNECTIONS * usize::try_from(PULLS).unwrap();
        let settled = async {
            while gate.forwarded() < forwarded {
                another.ask().await;
            }
            for _ in 0..10 {
                another.ask().await;
            }
        };
        let name = format!("pulls with a window of {window}");
        survives_at(&gate, &name, flood, End::Read, STREAMS_MIB, settled).await;
    }
}
