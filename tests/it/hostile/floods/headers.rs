//! Floods of endless heads, and of small heads that HPACK expands to large ones.

use super::flooder::{ENHANCE_YOUR_CALM, End, Flood, stream};
use super::{STREAMS_MIB, patient_gate, request_block, survives, survives_at};
use crate::hostile::frames::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, encode, string};

/// A head that never ends makes the gate end the connection, for pieces of each kind.
#[tokio::test]
async fn a_header_block_that_never_ends_ends_the_connection() {
    let field = super::super::frames::block(&[("x", "y")]);
    let large = super::super::frames::block(&[("x", &"y".repeat(16_000))]);
    // The start of a string with a length of 1 MiB, whose bytes never end.
    let half = [&[0, 1, b'x', 127][..], &[0x81, 0xff, 0x3f], &[b'y'; 16_000]].concat();
    let calm = End::GoAway(ENHANCE_YOUR_CALM);
    for (name, first, piece, expected) in [
        ("CONTINUATION, empty", Vec::new(), Vec::new(), calm),
        ("CONTINUATION, a field each", Vec::new(), field, calm),
        ("CONTINUATION, 16 KB each", Vec::new(), large, calm),
        ("CONTINUATION, half a string", half, vec![b'y'; 16_000], calm),
    ] {
        let flood = Flood::new(20_000, move |round| match round {
            0 => encode(HEADERS, 0, 1, &[request_block("GET", "/v2/"), first.clone()].concat()),
            _ => encode(CONTINUATION, 0, 1, &piece),
        });
        survives(name, flood, expected).await;
    }
}

/// A field of 4000 bytes enters the HPACK table once, and each later byte refers to it again. The
/// gate answers with 431, or ends the connection if the head is far too large.
#[tokio::test]
async fn bombs() {
    for (name, repetitions, expected) in [
        // 431 for each request at the smaller size; the larger size makes the gate end the
        // connection.
        ("header bomb of 48 KB", 12, End::Read),
        ("header bomb of 4 MB", 1000, End::GoAway(ENHANCE_YOUR_CALM)),
    ] {
        survives(name, repeated(2_000, &"v".repeat(4000), repetitions), expected).await;
    }
}

/// A head of 900 fields, one byte each, takes memory below the bound.
#[tokio::test]
async fn heads_of_900_fields_stay_below_the_memory_bound() {
    let flood = repeated(2_000, "v", 900);
    survives_at(&patient_gate().await, "900 fields a head", flood, End::Read, STREAMS_MIB, async {
    })
    .await;
}

/// Creates a flood of requests that repeat one field.
fn repeated(rounds: u32, value: &str, repetitions: usize) -> Flood {
    // RFC 7541, 6.2.1: a literal with indexing. The newest entry of the table has the index 62.
    let mut field = vec![0x40];
    string(&mut field, "x");
    string(&mut field, value);
    let request = request_block("GET", "/v2/demo/a/tags/list");
    let block = [&*request, &vec![0x80 | 62; repetitions]].concat();
    let frames = move |round| {
        let block = if round == 0 {
            [&*request, &field, &block[request.len()..]].concat()
        } else {
            block.clone()
        };
        encode(HEADERS, END_HEADERS | END_STREAM, stream(round), &block)
    };
    // Not more requests at a time than the gate allows streams.
    Flood { pause_after: 50, ..Flood::new(rounds, frames) }
}
