//! Classes 7 and 22: single HTTP/2 frames, and requests that are reset.

use super::{Arsenal, alice, mallory, pick};
use crate::attack::frame;
use crate::message::{Attack, Break, GoesOn, Message};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/v2/demo/alice/tags/list"),
];

/// Fields that make a request invalid.
const SPOILT: [(&str, &str); 14] = [
    ("x", "a\r\nb"),
    ("x", "a\0b"),
    ("X-Upper", "x"),
    ("connection", "close"),
    ("transfer-encoding", "chunked"),
    ("upgrade", "h2c"),
    ("te", "gzip"),
    (":path", "/v2/demo/alice/manifests/small"),
    (":method", "DELETE"),
    (":unknown", "x"),
    ("", "empty"),
    ("host", "other.example"),
    ("content-length", "5"),
    ("authorization", "Basic Og=="),
];

pub(super) fn malformed(_: &Arsenal, turn: u64, _: &str) -> Attack {
    let authorization = alice().header();
    let mut fields = GET.to_vec();
    let frames = match turn % 20 {
        // Without a path, and with an invalid one.
        14 => {
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields.get(..3).unwrap_or_default()))
        }
        15 => {
            if let Some(path) = fields.last_mut() {
                path.1 = "v2/demo/alice/tags/list";
            }
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields))
        }
        16 => frame(DATA, END_STREAM, 1, b"before its headers"),
        17 => frame(HEADERS, END_HEADERS | END_STREAM, 2, &block(&GET)),
        18 => frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 40]),
        19 => frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        spoilt => {
            fields.push(("authorization", &authorization));
            fields.extend(pick(&SPOILT, spoilt));
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields))
        }
    };
    Attack::Frames(frames)
}

/// Returns a flood of frames. The gate may tolerate it or close the connection.
pub(super) fn floods(_: &Arsenal, turn: u64, _: &str) -> Attack {
    let many = |one: Vec<u8>| one.repeat(500);
    let open = frame(HEADERS, 0, 1, &block(&GET));
    let post = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/v2/demo/a/blobs/uploads/"),
    ];
    let begun = frame(HEADERS, END_HEADERS, 1, &block(&post));
    Attack::Frames(match turn % 7 {
        0 => many(frame(PING, 0, 0, &[0; 8])),
        1 => many(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        2 => [open, many(frame(CONTINUATION, 0, 1, &[0; 0]))].concat(),
        3 => [open, many(frame(CONTINUATION, 0, 1, &block(&[("x-bomb", "0123456789abcdef")])))]
            .concat(),
        4 => [begun, many(frame(DATA, 0, 1, &[]))].concat(),
        5 => many(frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
        // MadeYouReset: a frame that makes the gate reset the stream itself.
        _ => (0..100_u32)
            .flat_map(|number| {
                let stream = 2 * number + 1;
                let headers = frame(HEADERS, END_HEADERS, stream, &block(&post));
                [headers, frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
            })
            .collect(),
    })
}

pub(super) fn resets(_: &Arsenal, turn: u64, _: &str) -> Attack {
    // The request is refused even if the reset comes too late.
    let message = Message::new("POST", "/v2/demo/alice/blobs/uploads/");
    Attack::Resets(if turn & 1 == 0 { message } else { message.by(&mallory()) }, 50)
}

/// Breaks off the push of a manifest, because the registry would keep the partial data of an
/// upload.
pub(super) fn broken_off(_: &Arsenal, turn: u64, _: &str) -> Attack {
    let target = "/v2/mallory/app/manifests/broken";
    let message = Message::new("PUT", target)
        .by(&mallory())
        .with("Content-Type", "application/vnd.oci.image.manifest.v1+json")
        .body("{\"schemaVersion\":2");
    let how = match turn % 3 {
        0 => Break::Reset(h2::Reason::NO_ERROR),
        1 => Break::Reset(h2::Reason::CANCEL),
        _ => Break::Leave,
    };
    Attack::BrokenOff(message, GoesOn::as_("PUT", target), how)
}

/// Encodes a header block of literals without indexing and without Huffman coding (RFC 7541,
/// section 6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // All strings are shorter than 127 bytes, so the length takes one byte.
            block.push(u8::try_from(text.len()).unwrap_or(126));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}
