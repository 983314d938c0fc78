//! Floods of streams that the client or the gate resets: rapid reset (CVE-2023-44487), MadeYouReset
//! (CVE-2025-8671), and more streams than the gate allows.

use super::flooder::{ENHANCE_YOUR_CALM, End, Flood, PROTOCOL_ERROR, stream};
use super::{STREAMS_MIB, patient_gate, request_block, survives, survives_at};
use crate::hostile::BLOB_PUSH;
use crate::hostile::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITY, RST_STREAM, WINDOW_UPDATE, encode,
};
use crate::scripted_upstream::BLOB;

const CANCEL: u32 = 8;

/// Creates a flood that opens a stream in each round and then sends the frames of `then`.
fn opened(
    rounds: u32,
    method: &str,
    path: &str,
    then: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
) -> Flood {
    let block = request_block(method, path);
    let flags = if method == "GET" { END_HEADERS | END_STREAM } else { END_HEADERS };
    Flood::new(rounds, move |round| {
        let id = stream(round);
        [encode(HEADERS, flags, id, &block), then(id)].concat()
    })
}

fn reset(id: u32) -> Vec<u8> {
    encode(RST_STREAM, 0, id, &CANCEL.to_be_bytes())
}

/// A client that resets its streams without pause is disconnected: the gate tolerates only a few
/// streams that are reset before it has begun them.
#[tokio::test]
async fn rapid_reset_ends_the_connection() {
    for (name, method, path) in
        [("rapid reset of pulls", "GET", BLOB), ("rapid reset of pushes", "POST", BLOB_PUSH)]
    {
        survives(name, opened(20_000, method, path, reset), End::GoAway(ENHANCE_YOUR_CALM)).await;
    }
}

/// Ten resets at a time stay below the limit. The gate begins and abandons each request.
#[tokio::test]
async fn resets_below_the_limit_are_tolerated() {
    for (name, method, path) in [
        ("resets of pulls, in tens", "GET", BLOB),
        ("resets of pushes, in tens", "POST", BLOB_PUSH),
    ] {
        let flood = Flood { pause_after: 10, ..opened(2_000, method, path, reset) };
        survives(name, flood, End::Read).await;
    }
}

/// The client makes the gate reset its streams: with a window above the maximum, with data after
/// the end of the stream, or with a stream that depends on itself. The gate ends the connection.
#[tokio::test]
async fn made_you_reset_ends_the_connection() {
    let window = |id| encode(WINDOW_UPDATE, 0, id, &(i32::MAX as u32).to_be_bytes());
    let data = |id| encode(DATA, 0, id, b"x");
    let itself = |id: u32| encode(PRIORITY, 0, id, &[&id.to_be_bytes()[..], &[16]].concat());
    let calm = End::GoAway(ENHANCE_YOUR_CALM);
    // Ten at a time, because streams that are reset before the gate has begun them have a separate
    // limit.
    let paced = |flood| Flood { pause_after: 10, ..flood };
    survives("made to reset by a window", paced(opened(300, "POST", BLOB_PUSH, window)), calm)
        .await;
    survives("made to reset by itself", paced(opened(300, "POST", BLOB_PUSH, itself)), calm).await;
    // h2 treats this case as a connection error at once.
    survives(
        "data behind the end",
        paced(opened(2_000, "GET", BLOB, data)),
        End::GoAway(PROTOCOL_ERROR),
    )
    .await;
}

/// The gate refuses the streams above its limit, and disconnects a client that continues to open
/// them.
#[tokio::test]
async fn streams_above_the_limit_stay_below_the_memory_bound() {
    let calm = End::GoAway(ENHANCE_YOUR_CALM);
    for (name, streams, end) in
        [("streams left open", 200, End::Read), ("streams left open without end", 20_000, calm)]
    {
        let flood = opened(streams, "POST", BLOB_PUSH, |_| Vec::new());
        survives_at(&patient_gate().await, name, flood, end, STREAMS_MIB, async {}).await;
    }
}
