//! The HTTP/2 frames of the client. After the first request the headers come from the HPACK table
//! (RFC 7541). The windows are so large that they never fill.

/// Frame types, flags and a setting (RFC 9113, sections 6 and 6.5.2).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u8 = 4;

const HEAD_BYTES: usize = 9;
const LARGEST_WINDOW: u32 = 0x7fff_ffff;
const FIRST_WINDOW: u32 = 0xffff;

/// The position of the stream identifier in a frame.
const STREAM: std::ops::Range<usize> = 5..HEAD_BYTES;

/// The table entries after the first request, in the order of sending. The newest has the index 62.
const INDEXED: [u8; 5] = [0xc2, 0xc1, 0xc0, 0xbf, 0xbe];

/// The state of a connection.
pub struct Frames {
    /// A later request without its stream identifier. It is encoded once, because encoding is not
    /// work of the gate.
    later: Vec<u8>,
    requests: u32,
    /// The head of the frame that is being received.
    head: Vec<u8>,
    /// The bytes of its payload that are still missing.
    payload_bytes: usize,
}

/// Returns the bytes that open a connection.
pub fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(
        &mut bytes,
        SETTINGS,
        0,
        0,
        &[&[0, INITIAL_WINDOW_SIZE], &LARGEST_WINDOW.to_be_bytes()[..]].concat(),
    );
    frame(&mut bytes, WINDOW_UPDATE, 0, 0, &(LARGEST_WINDOW - FIRST_WINDOW).to_be_bytes());
    bytes
}

impl Frames {
    pub fn new() -> Self {
        Self {
            later: request(false),
            requests: 0,
            head: Vec::with_capacity(HEAD_BYTES),
            payload_bytes: 0,
        }
    }

    /// Writes the next request.
    pub fn request(&mut self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        if self.requests == 0 {
            bytes.extend_from_slice(&request(true));
        } else {
            bytes.extend_from_slice(&self.later);
        }
        let stream = self.requests * 2 + 1;
        bytes[start..][STREAM].copy_from_slice(&stream.to_be_bytes());
        self.requests += 1;
    }

    /// Receives the bytes that the gate writes. Returns whether they contain the end of an answer.
    pub fn receive(&mut self, mut bytes: &[u8], sent: &mut Vec<u8>) -> bool {
        let mut answer_ends = false;
        while !bytes.is_empty() {
            if self.payload_bytes > 0 {
                let count = self.payload_bytes.min(bytes.len());
                self.payload_bytes -= count;
                bytes = &bytes[count..];
                continue;
            }
            let count = (HEAD_BYTES - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            if let [high, middle, low, kind, flags, ..] = self.head[..]
                && self.head.len() == HEAD_BYTES
            {
                self.payload_bytes =
                    usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.head.clear();
                assert_ne!(kind, GOAWAY, "the gate ends the connection");
                match kind {
                    SETTINGS if flags & ACK == 0 => frame(sent, SETTINGS, ACK, 0, &[]),
                    DATA | HEADERS => answer_ends |= flags & END_STREAM != 0,
                    _ => {}
                }
            }
        }
        answer_ends
    }
}

/// Returns the first request of a connection or a later one, without a stream identifier.
fn request(first: bool) -> Vec<u8> {
    // GET and https, both from the static table.
    let mut block = vec![0x82, 0x87];
    // A real client sends a different path each time, so the path does not enter the table.
    string(&mut block, 0x04, "/v2/group/project/app/manifests/1.27");
    if first {
        string(&mut block, 0x41, "registry.test");
        string(&mut block, 0x7a, "docker/28.0.0");
        string(&mut block, 0x53, "application/vnd.oci.image.manifest.v1+json");
        string(&mut block, 0x53, "application/vnd.oci.image.index.v1+json");
        string(&mut block, 0x57, "Bearer sso-demo-read-write");
    } else {
        block.extend_from_slice(&INDEXED);
    }
    // `accept-encoding: gzip, deflate` is in the static table.
    block.push(0x90);
    let mut bytes = Vec::new();
    frame(&mut bytes, HEADERS, END_STREAM | END_HEADERS, 0, &block);
    bytes
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// Writes a header with a name from the static table and a value without Huffman coding.
fn string(block: &mut Vec<u8>, name: u8, value: &str) {
    block.extend_from_slice(&[name, u8::try_from(value.len()).unwrap()]);
    block.extend_from_slice(value.as_bytes());
}
