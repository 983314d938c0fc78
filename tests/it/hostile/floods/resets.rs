//! Streams that are opened to be reset, by the client or by the gate: rapid reset (CVE-2023-44487),
//! MadeYouReset (CVE-2025-8671), and more streams than there may be.

use super::flooder::{ENHANCE_YOUR_CALM, End, Flood, PROTOCOL_ERROR, stream};
use super::{STREAMS_MIB, patient_gate, request_block, survives, survives_at};
use crate::hostile::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITY, RST_STREAM, WINDOW_UPDATE, encode,
};

const CANCEL: u32 = 8;
const BLOB: &str =
    "/v2/demo/a/blobs/sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const UPLOADS: &str = "/v2/demo/a/blobs/uploads/?digest=sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Opens a stream in each round, and then this.
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

/// All at once: more than a few that are gone before the gate has begun them end the connection.
#[tokio::test]
async fn rapid_reset() {
    for (name, method, path) in
        [("rapid reset of pulls", "GET", BLOB), ("rapid reset of pushes", "POST", UPLOADS)]
    {
        survives(name, opened(20_000, method, path, reset), End::GoAway(ENHANCE_YOUR_CALM)).await;
    }
}

/// A few at a time: each is a request that the gate begins and gives up.
#[tokio::test]
async fn rapid_reset_under_the_limit() {
    for (name, method, path) in
        [("resets of pulls, in tens", "GET", BLOB), ("resets of pushes, in tens", "POST", UPLOADS)]
    {
        let flood = Flood { pause_after: 10, ..opened(2_000, method, path, reset) };
        survives(name, flood, End::Read).await;
    }
}

/// The gate itself is made to reset them: a window beyond its end, data behind the end, a stream
/// that depends on itself.
#[tokio::test]
async fn made_you_reset() {
    let window = |id| encode(WINDOW_UPDATE, 0, id, &(i32::MAX as u32).to_be_bytes());
    let data = |id| encode(DATA, 0, id, b"x");
    let itself = |id: u32| encode(PRIORITY, 0, id, &[&id.to_be_bytes()[..], &[16]].concat());
    let calm = End::GoAway(ENHANCE_YOUR_CALM);
    // In tens, for streams that are reset before the gate has begun them have a limit of their own.
    let paced = |flood| Flood { pause_after: 10, ..flood };
    survives("made to reset by a window", paced(opened(300, "POST", UPLOADS, window)), calm).await;
    survives("made to reset by itself", paced(opened(300, "POST", UPLOADS, itself)), calm).await;
    // h2 takes this one as an error of the connection at once.
    survives(
        "data behind the end",
        paced(opened(2_000, "GET", BLOB, data)),
        End::GoAway(PROTOCOL_ERROR),
    )
    .await;
}

/// Streams that are all left open: the ones too many are refused, and whoever goes on regardless is
/// sent away.
#[tokio::test]
async fn more_streams_than_there_may_be() {
    let calm = End::GoAway(ENHANCE_YOUR_CALM);
    for (name, streams, end) in
        [("streams left open", 200, End::Read), ("streams left open without end", 20_000, calm)]
    {
        let flood = opened(streams, "POST", UPLOADS, |_| Vec::new());
        survives_at(&patient_gate().await, name, flood, end, STREAMS_MIB, async {}).await;
    }
}
