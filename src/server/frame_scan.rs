//! A scanner that reads HTTP/2 frames along with hyper, for the one frame that hyper hides: GOAWAY,
//! by which a client announces that it leaves. hyper acts on it only once no stream is open, and
//! streams with a closed window stay open.

use std::cell::{Cell, RefCell};

use super::scanned::Scan;

/// The length of the connection preface before the first frame, in bytes (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;
/// The length of a frame header, in bytes (RFC 9113, 4.1).
const HEAD_BYTES: usize = 9;
const GOAWAY: u8 = 7;
/// The length of the last stream identifier and the error code, in bytes (RFC 9113, 6.8).
const GOAWAY_BYTES: usize = 8;

/// The kind of a GOAWAY frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goodbye {
    /// The client opens no more streams.
    Graceful,
    /// The client reports an error of the connection.
    Error,
}

/// The state of the scan of one connection's frames.
#[derive(Default)]
pub(super) struct FrameScan {
    state: RefCell<FrameState>,
    goodbye: Cell<Option<Goodbye>>,
}

struct FrameState {
    /// The number of bytes to skip.
    skip: usize,
    /// The header of a frame as far as it was read, or the start of a GOAWAY payload.
    bytes: [u8; HEAD_BYTES],
    filled: usize,
    /// Within a GOAWAY: the number of bytes after its error code.
    behind_reason: Option<usize>,
}

impl Default for FrameState {
    fn default() -> Self {
        Self { skip: PREFACE_BYTES, bytes: [0; HEAD_BYTES], filled: 0, behind_reason: None }
    }
}

impl FrameScan {
    /// Returns the GOAWAY that the client has sent since the last call.
    pub(super) fn take_goodbye(&self) -> Option<Goodbye> {
        self.goodbye.take()
    }
}

impl Scan for FrameScan {
    fn read(&self, mut bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        loop {
            let skipped = state.skip.min(bytes.len());
            state.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            if let Some(goodbye) = state.byte(*byte) {
                // A graceful GOAWAY does not replace an earlier error.
                let before = self.goodbye.get();
                self.goodbye
                    .set(before.filter(|before| *before == Goodbye::Error).or(Some(goodbye)));
            }
        }
    }
}

impl FrameState {
    /// Takes the next byte that is not skipped. Returns the kind of a GOAWAY once its error code is
    /// complete.
    fn byte(&mut self, byte: u8) -> Option<Goodbye> {
        if let Some(place) = self.bytes.get_mut(self.filled) {
            *place = byte;
        }
        self.filled += 1;
        if let Some(behind) = self.behind_reason {
            if self.filled < GOAWAY_BYTES {
                return None;
            }
            let [_, _, _, _, reason @ .., _] = self.bytes;
            (self.filled, self.skip, self.behind_reason) = (0, behind, None);
            return Some(if reason == [0; 4] { Goodbye::Graceful } else { Goodbye::Error });
        }
        if self.filled < HEAD_BYTES {
            return None;
        }
        self.filled = 0;
        let [long, middle, short, kind, ..] = self.bytes;
        let length = usize::from(long) << 16 | usize::from(middle) << 8 | usize::from(short);
        // hyper itself treats a GOAWAY that is too short as an error.
        match length.checked_sub(GOAWAY_BYTES).filter(|_| kind == GOAWAY) {
            Some(behind) => self.behind_reason = Some(behind),
            None => self.skip = length,
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, 0, 0, 0, 0, 0], payload].concat()
    }

    /// Checks GOAWAY frames between other frames, in pieces of any size.
    #[test]
    fn goaway_frames_are_found_in_pieces_of_any_size() {
        let (graceful, error) = (frame(GOAWAY, &[0; 8]), frame(GOAWAY, &[0, 0, 0, 0, 0, 0, 0, 2]));
        let with_words = frame(GOAWAY, &[&[0; 8][..], &[GOAWAY; 30]].concat());
        let (settings, data) = (frame(4, &[]), frame(0, &[GOAWAY; 99]));
        let preface = vec![GOAWAY; PREFACE_BYTES];
        for (frames, expected) in [
            (vec![&settings, &data], None),
            (vec![&settings, &graceful, &data], Some(Goodbye::Graceful)),
            (vec![&data, &with_words, &data], Some(Goodbye::Graceful)),
            (vec![&with_words, &error, &graceful], Some(Goodbye::Error)),
            (vec![&frame(GOAWAY, &[0; 7]), &settings], None),
        ] {
            let bytes = [vec![&preface], frames]
                .concat()
                .into_iter()
                .flatten()
                .copied()
                .collect::<Vec<u8>>();
            for size in [1, 2, 3, 7, bytes.len()] {
                let scan = FrameScan::default();
                bytes.chunks(size).for_each(|piece| scan.read(piece));
                assert_eq!(
                    (scan.take_goodbye(), scan.take_goodbye()),
                    (expected, None),
                    "{bytes:?}"
                );
            }
        }
    }
}
