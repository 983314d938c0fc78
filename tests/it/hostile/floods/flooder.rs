//! The client side of one flooding connection.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use crate::hostile::frames::{
    ACK, GOAWAY, PING, PREFACE, SETTINGS, WINDOW_UPDATE, encode, number, read,
};

pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

/// The payload of the final PING. Its acknowledgement shows that the gate has read all frames
/// before it.
const LAST: &[u8; 8] = b"the last";

/// The frames that a connection sends.
#[derive(Clone)]
pub(super) struct Flood {
    /// The payload of the first SETTINGS frame.
    pub(super) settings: Vec<u8>,
    /// The frames of each round, by the number of the round.
    pub(super) frames: Arc<dyn Fn(u32) -> Vec<u8> + Send + Sync>,
    pub(super) rounds: u32,
    /// The number of rounds after which the client waits until the gate has read them.
    pub(super) pause_after: u32,
}

/// The way in which the gate reacted to a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The gate read all frames, and the connection is still open.
    Read,
    /// The gate sent GOAWAY with this error code.
    GoAway(u32),
    /// The connection ended, or was reset before the client read the last frames.
    Closed,
}

impl Flood {
    pub(super) fn new(
        rounds: u32,
        frames: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self { settings: Vec::new(), frames: Arc::new(frames), rounds, pause_after: u32::MAX }
    }
}

impl End {
    /// Returns whether this end counts as `expected`. A gate that closes a connection with unread
    /// bytes resets it, and the reset can overtake its GOAWAY. A gate that leaves without an error
    /// first answers the frames that it has read.
    pub(super) fn is(self, expected: Self) -> bool {
        let overtaken = self == Self::Closed && matches!(expected, Self::GoAway(_));
        self == expected || overtaken || (self == Self::Read && expected == Self::GoAway(0))
    }
}

/// Returns the id of the client's stream in a round, if each round opens one stream.
pub(super) fn stream(round: u32) -> u32 {
    2 * round + 1
}

pub(super) async fn run(
    connection: &mut (impl AsyncRead + AsyncWrite + Unpin),
    flood: Flood,
) -> End {
    let (mut reading, mut writing) = tokio::io::split(connection);
    let caught_up = Notify::new();
    let reading = async {
        while let Some((kind, flags, _, payload)) = read(&mut reading).await {
            match kind {
                GOAWAY => return End::GoAway(number(&payload[4..])),
                PING if flags & ACK != 0 && payload == LAST => return End::Read,
                PING if flags & ACK != 0 => caught_up.notify_one(),
                _ => {}
            }
        }
        End::Closed
    };
    let writing = async {
        // The window of the connection does not limit a flood; only the windows of the streams may.
        let window = encode(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
        let mut bytes = [PREFACE, &encode(SETTINGS, 0, 0, &flood.settings), &window].concat();
        for round in 0..flood.rounds {
            bytes.extend((flood.frames)(round));
            let pause = (round + 1) % flood.pause_after == 0;
            if pause {
                bytes.extend(encode(PING, 0, 0, &[0; 8]));
            }
            if pause || bytes.len() > 64 * 1024 {
                writing.write_all(&bytes).await?;
                writing.flush().await?;
                bytes.clear();
            }
            if pause {
                caught_up.notified().await;
            }
        }
        bytes.extend(encode(PING, 0, 0, LAST));
        writing.write_all(&bytes).await?;
        writing.flush().await
    };
    let (mut reading, mut writing) = (std::pin::pin!(reading), std::pin::pin!(writing));
    tokio::select! {
        end = &mut reading => return end,
        // If the write failed, the reader sees the reason.
        _ = &mut writing => {}
    }
    reading.await
}
