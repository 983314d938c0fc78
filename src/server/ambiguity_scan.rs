//! A scanner that reads HTTP/1.1 heads along with hyper, for two faults that hyper silently
//! corrects: lines that end in a bare LF, and a `Content-Length` that is given twice. A proxy in
//! front of the gate may have read such a request differently, so the request is refused and its
//! connection closed.

use std::cell::RefCell;

use memchr::memchr;

use super::scanned::Scan;

const LENGTH: &[u8] = b"content-length:";
const CODING: &[u8] = b"transfer-encoding:";

/// The state of the scan of one connection's heads.
#[derive(Default)]
pub(super) struct AmbiguityScan(RefCell<HeadState>);

#[derive(Default)]
struct HeadState {
    ambiguous: bool,
    /// The part of a message to which the next byte belongs.
    part: Part,
    /// The number of `Content-Length` lines in this head. The next three fields also describe this
    /// head.
    lengths: u32,
    length: u64,
    chunked: bool,
    lines: u32,
    /// `true` if an empty line came before this head. Such a line also begins the head.
    empty_lines: bool,
    /// The position in this line. The next two fields also describe this line.
    column: usize,
    could_be_length: bool,
    could_be_coding: bool,
    previous: u8,
}

/// The part of a message that the connection is in. The scanner follows a body to its end, because
/// the next head may come in one piece with it. hyper judges whether the body is valid, and closes
/// the connection if it is not.
#[derive(Clone, Copy, Default)]
enum Part {
    #[default]
    Head,
    /// A body of which this many bytes are left.
    Body(u64),
    /// The line before a chunk: the size as far as it was read, and whether the size is complete.
    ChunkSize(u64, bool),
    /// A chunk of which this many bytes are left, including the end of its line.
    Chunk(u64),
    /// The lines after the last chunk.
    Trailers,
}

impl AmbiguityScan {
    /// Returns whether anything so far could be read in two ways.
    pub(super) fn ambiguous(&self) -> bool {
        self.0.borrow().ambiguous
    }

    /// Returns whether a head has begun and not ended.
    pub(super) fn within_head(&self) -> bool {
        let state = self.0.borrow();
        matches!(state.part, Part::Head)
            && (state.lines > 0 || state.column > 0 || state.empty_lines)
    }
}

impl Scan for AmbiguityScan {
    fn read(&self, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        let mut bytes = bytes;
        while let Some((byte, rest)) = bytes.split_first() {
            bytes = match state.part {
                Part::Body(left) | Part::Chunk(left) => state.skip(left, bytes),
                Part::ChunkSize(size, whole) => {
                    state.part = chunk_size(size, whole, *byte);
                    rest
                }
                Part::Head | Part::Trailers => state.line(bytes),
            };
        }
    }
}

/// Reads the next byte of the line before a chunk (RFC 9112, 7.1).
fn chunk_size(size: u64, whole: bool, byte: u8) -> Part {
    match (char::from(byte).to_digit(16), byte) {
        (Some(digit), _) if !whole => {
            Part::ChunkSize(size.saturating_mul(16).saturating_add(digit.into()), false)
        }
        (_, b'\n') if size == 0 => Part::Trailers,
        (_, b'\n') => Part::Chunk(size.saturating_add(2)),
        _ => Part::ChunkSize(size, true),
    }
}

impl HeadState {
    /// Skips up to `left` bytes of a body or a chunk. Returns the bytes after them.
    fn skip<'a>(&mut self, left: u64, bytes: &'a [u8]) -> &'a [u8] {
        let (skipped, rest) =
            match usize::try_from(left).ok().and_then(|left| bytes.split_at_checked(left)) {
                Some((_, rest)) => (left, rest),
                None => (bytes.len() as u64, &[][..]),
            };
        let left = left - skipped;
        self.part = match self.part {
            Part::Chunk(_) if left == 0 => Part::ChunkSize(0, false),
            Part::Chunk(_) => Part::Chunk(left),
            _ if left == 0 => Part::Head,
            _ => Part::Body(left),
        };
        rest
    }

    /// Reads bytes of a line, up to its end. Returns the bytes after it.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = memchr(b'\n', bytes);
        let (within, rest) = bytes.split_at_checked(end.unwrap_or(bytes.len())).unwrap_or_default();
        self.within_line(within);
        if end.is_some() {
            self.line_ends();
            self.previous = b'\n';
        }
        rest.get(1..).unwrap_or_default()
    }

    /// Reads bytes of a line that are not its end.
    fn within_line(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        if self.column == 0 {
            (self.could_be_length, self.could_be_coding) = (true, true);
        }
        let begun_at = self.column;
        for byte in bytes {
            // Most lines differ from both names within the first bytes. No more is read of them.
            if !self.could_be_length && !self.could_be_coding {
                break;
            }
            self.byte(*byte);
        }
        self.column = begun_at + bytes.len();
        self.previous = *last;
    }

    /// Reads a byte of a line that is one of the two names so far.
    fn byte(&mut self, byte: u8) {
        self.could_be_length &= self.continues(LENGTH, byte);
        self.could_be_coding &= self.continues(CODING, byte);
        self.column += 1;
        if self.could_be_length && self.column == LENGTH.len() {
            self.lengths += 1;
            self.ambiguous |= self.lengths > 1;
        }
        if self.could_be_length
            && let Some(digit) = char::from(byte).to_digit(10)
        {
            self.length = self.length.saturating_mul(10).saturating_add(digit.into());
        }
        self.chunked |= self.could_be_coding && self.column == CODING.len();
    }

    fn line_ends(&mut self) {
        self.ambiguous |= self.previous != b'\r';
        let empty = self.column == 0 || (self.column == 1 && self.previous == b'\r');
        self.column = 0;
        match self.part {
            _ if !empty => self.lines += 1,
            Part::Trailers => *self = Self { ambiguous: self.ambiguous, ..Self::default() },
            // A head ends here. Empty lines before a head have no meaning (RFC 9112, 2.2).
            _ if self.lines > 0 => {
                let part = match self.length {
                    _ if self.chunked => Part::ChunkSize(0, false),
                    0 => Part::Head,
                    length => Part::Body(length),
                };
                *self = Self { ambiguous: self.ambiguous, part, ..Self::default() };
            }
            _ => self.empty_lines = true,
        }
    }

    /// Returns whether the line still spells `name` with this byte.
    fn continues(&self, name: &[u8], byte: u8) -> bool {
        name.get(self.column).is_none_or(|expected| expected.eq_ignore_ascii_case(&byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ambiguous(pieces: &[&str]) -> bool {
        let scan = AmbiguityScan::default();
        for piece in pieces {
            scan.read(piece.as_bytes());
        }
        scan.ambiguous()
    }

    #[test]
    fn unambiguous_heads_are_accepted() {
        assert!(!ambiguous(&[
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"
        ]));
        assert!(!ambiguous(&["PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\na\nb"]));
        assert!(!ambiguous(&[
            "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "a\nContent-Length:\nContent-Length:"
        ]));
        assert!(!ambiguous(&["GET / HTTP/1.1\r\nX-Content-Length: 1\r\nContent-Length2: 1\r\n\
             Content-Length: 0\r\n\r\n"]));
    }

    #[test]
    fn ambiguous_heads_are_detected() {
        assert!(ambiguous(&["GET / HTTP/1.1\nHost: a\r\n\r\n"]));
        assert!(ambiguous(&["GET / HTTP/1.1\r\nHost: a\r\n\n"]));
        assert!(ambiguous(&["GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\n\r\n"]));
        assert!(ambiguous(&["PUT / HTTP/1.1\r\nContent-Length: 3\r\nconTent-le", "ngth: 3\r\n"]));
    }

    /// Checks a body and the next head in one piece and in several.
    #[test]
    fn the_head_after_a_body_is_scanned_too() {
        for body in [
            "PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab\n",
            "PUT / HTTP/1.1\r\ncontent-length:\t 003 \r\n\r\n\n\n\n",
            "PUT / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "PUT / HTTP/1.1\r\ntransfer-ENCODING:chunked\r\n\r\n\
             3\r\na\nb\r\n0011 ;x=5\r\n0\r\n\r\n\n\n\n\n\n\n\n\n\n\n\n\n\r\n000\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n\
             1\r\n\n\r\n0\r\nX: y\r\n\r\n",
        ] {
            for odd in
                ["GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n"]
            {
                assert!(!ambiguous(&[body]), "{body:?}");
                assert!(ambiguous(&[body, odd]), "{body:?} {odd:?}");
                assert!(ambiguous(&[body, body, odd]), "{body:?} {odd:?}");
                assert!(ambiguous(&[&format!("{body}{odd}")]), "{body:?} {odd:?}");
                let bytes: Vec<_> = (0..body.len()).filter_map(|at| body.get(at..=at)).collect();
                assert!(ambiguous(&[bytes, vec![odd]].concat()), "{body:?} {odd:?}");
            }
        }
    }
}
