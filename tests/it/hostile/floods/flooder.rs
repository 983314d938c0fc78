//! One connection that floods.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use crate::hostile::frames::{
    ACK, GOAWAY, PING, PREFACE, SETTINGS, WINDOW_UPDATE, encode, number, read,
};

pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

/// The acknowledgement of this PING shows that all before it has been read.
const LAST: &[u8; 8] = b"the last";

/// What is sent.
#[derive(Clone)]
pub(super) struct Flood {
    /// The payload of the first SETTINGS.
    pub(super) settings: Vec<u8>,
    /// The frames of each round, by its number.
    pub(super) frames: Arc<dyn Fn(u32) -> Vec<u8> + Send + Sync>,
    pub(super) rounds: u32,
    /// After so many rounds, wait until the gate has read them.
    pub(super) pause_after: u32,
}

/// How the gate took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It read all of it, and the connection lives.
    Read,
    /// GOAWAY, with its reason.
    GoAway(u32),
    /// The connection went, or was reset before its last words were read.
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
    /// A gate that closes on bytes that it has not read resets the connection, which can overtake
    /// its GOAWAY; one that leaves without an error answers first what it has read.
    pub(super) fn is(self, expected: Self) -> bool {
        let overtaken = self == Self::Closed && matches!(expected, Self::GoAway(_));
        self == expected || overtaken || (self == Self::Read && expected == Self::GoAway(0))
    }
}

/// The number of the client's stream in a round, if each round has one.
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
        // The window of the connection is no bound here: those of the streams may be.
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
        // Where it failed, the gate has said why.
        _ = &mut writing => {}
    }
    reading.await
}
