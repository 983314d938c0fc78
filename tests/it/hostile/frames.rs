//! An HTTP/2 client that writes single frames, for messages that no client library would send.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::harness::{PATIENCE, READ_WRITE, TestGate, basic};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ACK: u8 = 1;

/// A connection with one stream, whose id is 1.
pub(crate) struct RawHttp2(TlsStream<TcpStream>);

/// The outcome of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Status(u16),
    /// RST_STREAM with this error code.
    Reset(u32),
    /// GOAWAY with this error code.
    GoAway(u32),
    Closed,
}

impl Fate {
    /// Returns whether the gate refused the request: with a 4xx, or with an error of the stream or
    /// the connection.
    pub(crate) fn is_refused(&self) -> bool {
        match self {
            Self::Status(status) => (400..500).contains(status),
            Self::Reset(reason) | Self::GoAway(reason) => *reason != 0,
            Self::Closed => true,
        }
    }
}

impl RawHttp2 {
    pub(crate) async fn connect(gate: &TestGate) -> Self {
        let mut stream = gate.connect_tls(&[b"h2"]).await;
        stream.write_all(PREFACE).await.unwrap();
        let mut connection = Self(stream);
        connection.frame(SETTINGS, 0, 0, &[]).await;
        connection
    }

    /// Sends a header block of a request, or of trailers, with exactly these fields.
    pub(crate) async fn headers(&mut self, fields: &[(&str, &str)], end_stream: bool) {
        self.frame(HEADERS, END_HEADERS | (u8::from(end_stream) * END_STREAM), 1, &block(fields))
            .await;
    }

    pub(crate) async fn data(&mut self, bytes: &[u8], end_stream: bool) {
        self.frame(DATA, u8::from(end_stream) * END_STREAM, 1, bytes).await;
    }

    /// Sends data and RST_STREAM in one write.
    pub(crate) async fn data_and_reset(&mut self, bytes: &[u8], reason: u32) {
        let data = if bytes.is_empty() { Vec::new() } else { encode(DATA, 0, 1, bytes) };
        self.send(&[data, encode(RST_STREAM, 0, 1, &reason.to_be_bytes())].concat()).await;
    }

    /// Sends GOAWAY: the client opens no more streams, or gives up.
    pub(crate) async fn goodbye(&mut self, reason: u32) {
        self.frame(GOAWAY, 0, 0, &[[0; 4], reason.to_be_bytes()].concat()).await;
    }

    pub(crate) fn into_stream(self) -> TlsStream<TcpStream> {
        self.0
    }

    /// Waits for the reaction of the gate to the stream. Skips frames that do not concern it.
    pub(crate) async fn fate(&mut self) -> Fate {
        loop {
            let Some((kind, flags, stream, payload)) = self.read().await else {
                return Fate::Closed;
            };
            match (kind, stream) {
                (SETTINGS, _) if flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]).await,
                (HEADERS, 1) => return Fate::Status(status(&payload)),
                (RST_STREAM, 1) => return Fate::Reset(number(&payload)),
                (GOAWAY, _) => return Fate::GoAway(number(&payload[4..])),
                _ => {}
            }
        }
    }

    async fn read(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        timeout(PATIENCE, read(&mut self.0)).await.expect("the gate said nothing")
    }

    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send(&encode(kind, flags, stream, payload)).await;
    }

    /// Sends frames and ignores errors. A connection that the gate has closed is noticed by the
    /// next read.
    async fn send(&mut self, frames: &[u8]) {
        let _ = self.0.write_all(frames).await;
        let _ = self.0.flush().await;
    }
}

/// Reads the next frame: its type, its flags, its stream and its payload. Returns `None` if the
/// connection has ended.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; usize::try_from(number(&[0, head[0], head[1], head[2]])).unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4], number(&head[5..]), payload))
}

/// Encodes a header block: literals without indexing (RFC 7541, 6.2.2), without Huffman coding.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

pub(crate) fn encode(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Returns the fields of an allowed request, which a test then makes invalid.
pub(crate) fn fields<'a>(
    method: &'a str,
    path: &'a str,
    authorization: &'a str,
) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", method),
        (":scheme", "https"),
        (":authority", "registry.test"),
        (":path", path),
        ("authorization", authorization),
    ]
}

/// Returns the credential of such a request.
pub(crate) fn credential() -> String {
    basic(READ_WRITE)
}

/// Appends a string literal without Huffman coding (RFC 7541, 5.2).
pub(crate) fn string(block: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        block.push(u8::try_from(length).unwrap());
    }
    block.extend_from_slice(text.as_bytes());
}

/// Returns `:status`, the first field of the block: an index into the static table, or a literal
/// value with the name of entry 8.
fn status(block: &[u8]) -> u16 {
    match block {
        [indexed @ 0x88..=0x8e, ..] => {
            [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]
        }
        [0x48 | 0x08 | 0x18, length, value @ ..] => {
            let value = &value[..usize::from(length & 0x7f)];
            if length & 0x80 == 0 {
                std::str::from_utf8(value).unwrap().parse().unwrap()
            } else {
                digits(value)
            }
        }
        other => panic!("{other:?}"),
    }
}

/// Decodes three digits of the Huffman code of RFC 7541: 0 to 2 have five bits, the others have
/// six.
fn digits(value: &[u8]) -> u16 {
    let bits: String = value.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut number) = (&*bits, 0);
    for _ in 0..3 {
        let five = u16::from_str_radix(&rest[..5], 2).unwrap();
        let (digit, length) = if five < 3 {
            (five, 5)
        } else {
            (u16::from_str_radix(&rest[..6], 2).unwrap() - 0b01_1001 + 3, 6)
        };
        number = number * 10 + digit;
        rest = &rest[length..];
    }
    number
}

pub(crate) fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}
