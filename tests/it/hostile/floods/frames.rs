//! Floods of frames without effect, or with almost none. The gate ignores them or answers them one
//! by one. It stops reading while the client does not read its answers.

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::flooder::{End, FLOW_CONTROL_ERROR, Flood, PROTOCOL_ERROR, stream};
use super::{FRAMES_MIB, PATIENCE, gate, request_block, survives, within_bound};
use crate::hostile::BLOB_PUSH;
use crate::hostile::frames::{
    ACK, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, encode,
};
use crate::scripted_upstream::soon;

const ROUNDS: u32 = 50_000;
const UNKNOWN: u8 = 0xfe;

/// Creates a flood that sends the same frames in each round.
fn always(frames: Vec<u8>) -> Flood {
    Flood::new(ROUNDS, move |_| frames.clone())
}

#[tokio::test]
async fn pings() {
    survives("PING", always(encode(PING, 0, 0, &[1; 8])), End::Read).await;
}

#[tokio::test]
async fn a_flood_of_unexpected_ping_acknowledgements_is_tolerated() {
    survives("PING acknowledged", always(encode(PING, ACK, 0, &[1; 8])), End::Read).await;
}

#[tokio::test]
async fn settings() {
    survives("SETTINGS", always(encode(SETTINGS, 0, 0, &[])), End::Read).await;
}

/// The settings ask for an HPACK table of 4 GiB and change the initial window again and again, with
/// open streams that each change applies to.
#[tokio::test]
async fn a_flood_of_settings_with_new_tables_and_windows_is_tolerated() {
    let frames = |round| {
        let window: u32 = if round % 2 == 0 { 0 } else { 1 << 20 };
        let table = [&[0, 1][..], &u32::MAX.to_be_bytes()].concat();
        let window = [&[0, 4][..], &window.to_be_bytes()].concat();
        let settings = encode(SETTINGS, 0, 0, &[table, window].concat());
        let upload = request_block("POST", BLOB_PUSH);
        let begin = if round < 50 {
            encode(HEADERS, END_HEADERS, stream(round), &upload)
        } else {
            Vec::new()
        };
        [begin, settings].concat()
    };
    survives("SETTINGS with tables and windows", Flood::new(20_000, frames), End::Read).await;
}

#[tokio::test]
async fn an_unexpected_settings_acknowledgement_ends_the_connection() {
    survives(
        "SETTINGS acknowledged",
        always(encode(SETTINGS, ACK, 0, &[])),
        End::GoAway(PROTOCOL_ERROR),
    )
    .await;
}

#[tokio::test]
async fn a_flood_of_window_updates_is_tolerated() {
    survives("WINDOW_UPDATE", always(encode(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())), End::Read)
        .await;
}

#[tokio::test]
async fn window_updates_beyond_the_maximum_end_the_connection() {
    let flood = always(encode(WINDOW_UPDATE, 0, 0, &(i32::MAX as u32).to_be_bytes()));
    survives("WINDOW_UPDATE beyond 2^31", flood, End::GoAway(FLOW_CONTROL_ERROR)).await;
}

/// Each frame names another stream that is not open.
#[tokio::test]
async fn a_flood_of_priority_frames_is_tolerated() {
    let frames = |round| encode(PRIORITY, 0, stream(round), &[0, 0, 0, 0, 16]);
    survives("PRIORITY", Flood::new(ROUNDS, frames), End::Read).await;
}

#[tokio::test]
async fn a_flood_of_unknown_frames_is_tolerated() {
    survives("unknown frames", always(encode(UNKNOWN, 0, 0, &[0; 100])), End::Read).await;
}

#[tokio::test]
async fn goodbyes() {
    // The first GOAWAY ends the connection: no stream is open, so the gate closes its side too.
    let flood = always(encode(GOAWAY, 0, 0, &[0; 8]));
    survives("GOAWAY", flood, End::GoAway(0)).await;
}

#[tokio::test]
async fn a_reset_of_an_unopened_stream_ends_the_connection() {
    let frames = |round| encode(RST_STREAM, 0, stream(round), &[0; 4]);
    survives("RST_STREAM of idle streams", Flood::new(ROUNDS, frames), End::GoAway(PROTOCOL_ERROR))
        .await;
}

/// The gate stops reading if the client does not read its answers, and closes the connection after
/// `stall_timeout`.
#[tokio::test]
async fn stall_timeout_disconnects_a_client_that_reads_no_answers() {
    let ping = encode(PING, 0, 0, &[1; 8]);
    let settings = encode(SETTINGS, 0, 0, &[]);
    for (name, frame) in
        [("PING unread", Some(ping)), ("SETTINGS unread", Some(settings)), ("401 unread", None)]
    {
        let gate = gate(&["stall_timeout: 500ms"]).await;
        let mut connection = gate.tls(b"h2").await;
        let (before, _) = gate.memory();
        gate.forget_peak();
        connection.write_all(&[PREFACE, &encode(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        let writing = async {
            let mut round = 0;
            loop {
                let mut bytes = Vec::new();
                while bytes.len() < 64 * 1024 {
                    match &frame {
                        Some(frame) => bytes.extend(frame),
                        None => {
                            let block = crate::hostile::frames::block(&[
                                (":method", "GET"),
                                (":scheme", "https"),
                                (":authority", "registry.test"),
                                (":path", "/v2/demo/a/tags/list"),
                            ]);
                            bytes.extend(encode(
                                HEADERS,
                                END_HEADERS | END_STREAM,
                                stream(round),
                                &block,
                            ));
                            round += 1;
                        }
                    }
                }
                if connection.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        };
        timeout(PATIENCE, writing).await.unwrap_or_else(|_| panic!("{name}: it stays open"));
        println!("{name}: {:.1} MiB", within_bound(&gate, name, before, FRAMES_MIB));
        soon(gate.connections_fall_to(0)).await;
    }
}
