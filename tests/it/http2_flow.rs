//! The writes of an HTTP/2 connection, and the windows that the gate opens.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{READ_WRITE, Setup, TestGate, basic};
use crate::hostile::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block, encode, read,
};
use crate::http2_client::{ask, begin};
use crate::scripted_upstream::soon;

/// The gate alone answers token requests, so all answers are ready in one turn. Each is so long
/// that HTTP/2 by itself would write it separately.
#[tokio::test]
async fn the_answers_of_one_turn_come_in_one_tls_record() {
    let setup = Setup { tls: true, tokens: vec!["challenge: bearer"], ..Setup::default() };
    let gate = TestGate::start(setup).await;
    let credential = basic(READ_WRITE);
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/token?service=registry.test"),
        (":authority", "registry.test"),
        ("authorization", &*credential),
    ];
    let request = |stream: u32| encode(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields));

    let mut client = gate.connect_tls(&[b"h2"]).await;
    let opening = [PREFACE, &encode(SETTINGS, 0, 0, &[]), &request(1)].concat();
    client.write_all(&opening).await.unwrap();
    // From the first answer on, the verdict about the credential is in the cache.
    while answer(&soon(read(&mut client)).await.unwrap()).is_none() {}
    client.write_all(&(1..=8).flat_map(|n| request(2 * n + 1)).collect::<Vec<_>>()).await.unwrap();
    let mut answers = Vec::new();
    while answers.is_empty() {
        // A read returns bytes of one record only.
        let mut record = vec![0; 16 * 1024];
        let length = soon(client.read(&mut record)).await.unwrap();
        let mut frames = &record[..length];
        while let Some(frame) = soon(read(&mut frames)).await {
            answers.extend(answer(&frame));
        }
    }
    assert_eq!(answers.len(), 8, "{answers:?}");
    assert!(answers.iter().all(|length| *length > 256), "{answers:?}");
}

/// Returns the length of the body if the frame ends an answer with a body.
fn answer((kind, flags, _, payload): &(u8, u8, u32, Vec<u8>)) -> Option<usize> {
    (*kind == DATA && flags & END_STREAM != 0).then_some(payload.len())
}

/// The windows bound the memory that unread bodies take. One stream alone does not use up the
/// window of the connection, so a body that waits does not hold up the others.
#[tokio::test]
async fn one_stream_may_send_4_mib_unread_and_all_streams_5_mib() {
    const MIB: usize = 1024 * 1024;
    let gate = TestGate::tls().await;
    let (sender, driver) = h2::client::Builder::new()
        .max_send_buffer_size(64 * MIB)
        .handshake(gate.connect_tls(&[b"h2"]).await)
        .await
        .unwrap();
    tokio::spawn(driver);
    // From the first answer on, the client knows the windows.
    ask(&sender, "GET", "/v2/").await;
    let mut streams = Vec::new();
    for expected in [4 * MIB, MIB] {
        let (answer, mut stream) =
            begin(&sender, "PATCH", "/v2/demo/a/blobs/uploads/1", false).await;
        stream.reserve_capacity(64 * MIB);
        let room = soon(std::future::poll_fn(|cx| stream.poll_capacity(cx))).await;
        assert_eq!(room.unwrap().unwrap(), expected);
        streams.push((answer, stream));
    }
}
