//! Reads HTTP/1.1 heads along with hyper, for two things that hyper mends without a word: lines that end in a bare LF,
//! and a length that is given twice. Whoever stands before the gate may have read them otherwise, so such a request is
//! refused and its connection closed.
//!
//! Bodies are followed to their end, and not looked at: the next head may come in one piece with them.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const LENGTH: &[u8] = b"content-length:";
const CODING: &[u8] = b"transfer-encoding:";

/// What is known of the heads that came on a connection.
#[derive(Default)]
pub(super) struct HeadScan(RefCell<State>);

#[derive(Default)]
struct State {
    ambiguous: bool,
    place: Place,
    head: Head,
    line: Line,
    previous: u8,
}

/// What the next byte belongs to.
#[derive(Default)]
enum Place {
    #[default]
    Head,
    /// A body, or a chunk with the line end behind it, of which so many bytes are still to come.
    Body { left: u64, chunked: bool },
    /// The line before a chunk (RFC 9112, 7.1).
    ChunkSize { size: u64, in_size: bool },
    /// The empty line behind the last chunk.
    BodyEnd,
    /// Nothing that hyper reads as a request: it closes the connection.
    Unread,
}

/// What this head has said so far.
#[derive(Default)]
struct Head {
    lines: u32,
    lengths: u32,
    length: u64,
    chunked: bool,
}

/// What this line has been so far.
#[derive(Default)]
struct Line {
    column: usize,
    no_length: bool,
    no_coding: bool,
}

impl HeadScan {
    /// Whether anything so far could be read in two ways.
    pub(super) fn ambiguous(&self) -> bool {
        self.0.borrow().ambiguous
    }

    fn read(&self, mut bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        while let Some((byte, rest)) = bytes.split_first() {
            bytes = match &mut state.place {
                Place::Body { left, chunked } => {
                    let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= skipped as u64;
                    if *left == 0 {
                        state.place = if *chunked { Place::chunk() } else { Place::Head };
                    }
                    bytes.get(skipped..).unwrap_or_default()
                }
                Place::Unread => return,
                Place::Head => {
                    state.byte_of_head(*byte);
                    rest
                }
                Place::ChunkSize { .. } | Place::BodyEnd => {
                    state.place.byte_between_chunks(*byte);
                    rest
                }
            };
        }
    }
}

impl State {
    fn byte_of_head(&mut self, byte: u8) {
        if byte == b'\n' {
            self.line_ends();
        } else {
            self.byte_of_line(byte);
        }
        self.previous = byte;
    }

    fn byte_of_line(&mut self, byte: u8) {
        let Self { head, line, .. } = self;
        // In the value of a length already.
        if !line.no_length && line.column >= LENGTH.len() && byte.is_ascii_digit() {
            head.length = head.length.saturating_mul(10).saturating_add((byte - b'0').into());
        }
        line.no_length |= !line.continues(LENGTH, byte);
        line.no_coding |= !line.continues(CODING, byte);
        line.column += 1;
        if !line.no_length && line.column == LENGTH.len() {
            head.lengths += 1;
            self.ambiguous |= head.lengths > 1;
        }
        head.chunked |= !line.no_coding && line.column == CODING.len();
    }

    fn line_ends(&mut self) {
        self.ambiguous |= self.previous != b'\r';
        let empty = self.line.column == 0 || (self.line.column == 1 && self.previous == b'\r');
        self.line = Line::default();
        if !empty {
            self.head.lines += 1;
        } else if self.head.lines > 0 {
            // The end of a head. Empty lines before one mean nothing (RFC 9112, 2.2).
            self.place = match std::mem::take(&mut self.head) {
                // Of a length and a coding the coding counts, and the connection is closed behind it.
                Head { chunked: true, lengths: 1.., .. } => Place::Unread,
                Head { chunked: true, .. } => Place::chunk(),
                Head { length: 0, .. } => Place::Head,
                Head { length, .. } => Place::Body { left: length, chunked: false },
            };
        }
    }
}

impl Place {
    fn chunk() -> Self {
        Self::ChunkSize { size: 0, in_size: true }
    }

    fn byte_between_chunks(&mut self, byte: u8) {
        match (&mut *self, byte) {
            (Self::ChunkSize { size: 0, .. }, b'\n') => *self = Self::BodyEnd,
            (Self::ChunkSize { size, .. }, b'\n') => *self = Self::Body { left: size.saturating_add(2), chunked: true },
            (Self::ChunkSize { size, in_size }, byte) => match char::from(byte).to_digit(16).filter(|_| *in_size) {
                Some(digit) => *size = size.saturating_mul(16).saturating_add(digit.into()),
                None => *in_size = false,
            },
            (Self::BodyEnd, b'\r') => {}
            (Self::BodyEnd, b'\n') => *self = Self::Head,
            // Trailers, which are refused.
            _ => *self = Self::Unread,
        }
    }
}

impl Line {
    /// Whether the line still spells `name` with this byte.
    fn continues(&self, name: &[u8], byte: u8) -> bool {
        name.get(self.column).is_none_or(|expected| expected.eq_ignore_ascii_case(&byte))
    }
}

/// A stream whose heads are scanned.
pub(super) struct Scanned<S> {
    stream: S,
    scan: Rc<HeadScan>,
}

impl<S> Scanned<S> {
    pub(super) fn new(stream: S, scan: Rc<HeadScan>) -> Self {
        Self { stream, scan }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Scanned<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.scan.read(buffer.filled().get(before..).unwrap_or_default());
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Scanned<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ambiguous(pieces: &[&str]) -> bool {
        let scan = HeadScan::default();
        for piece in pieces {
            scan.read(piece.as_bytes());
        }
        scan.ambiguous()
    }

    #[test]
    fn plain_heads() {
        assert!(!ambiguous(&["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"]));
        assert!(!ambiguous(&["PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\na\nb"]));
        assert!(!ambiguous(&[
            "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "a\nContent-Length:\nContent-Length:"
        ]));
        assert!(!ambiguous(&[
            "GET / HTTP/1.1\r\nX-Content-Length: 1\r\nContent-Length2: 1\r\nContent-Length: 0\r\n\r\n"
        ]));
    }

    #[test]
    fn heads_that_can_be_read_in_two_ways() {
        assert!(ambiguous(&["GET / HTTP/1.1\nHost: a\r\n\r\n"]));
        assert!(ambiguous(&["GET / HTTP/1.1\r\nHost: a\r\n\n"]));
        assert!(ambiguous(&["GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\n\r\n"]));
        assert!(ambiguous(&["PUT / HTTP/1.1\r\nContent-Length: 3\r\nconTent-le", "ngth: 3\r\n"]));
    }

    #[test]
    fn behind_a_body_comes_a_head() {
        let bodies = [
            "PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\na\nb",
            "PUT / HTTP/1.1\r\ncontent-length:003 \r\nHost: 5\r\n\r\na\nb",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=f\r\na\nb\r\n0A\r\n0123\n56789\r\n0\r\n\r\n",
        ];
        for body in bodies {
            let plain = format!("{body}GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let bare = format!("{body}GET / HTTP/1.1\nHost: a\r\n\r\n");
            assert!(!ambiguous(&[&plain, &plain]), "{body}");
            assert!(ambiguous(&[&bare]), "{body}");
            // The same, however it is cut.
            for at in 1..bare.len() {
                let (start, end) = bare.split_at(at);
                assert!(ambiguous(&[start, end]), "{start:?} {end:?}");
                let (start, end) = plain.split_at(at);
                assert!(!ambiguous(&[start, end]), "{start:?} {end:?}");
            }
        }
    }
}
