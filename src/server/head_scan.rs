//! Reads HTTP/1.1 heads along with hyper, for two things that hyper mends without a word: lines that end in a bare LF,
//! and a length that is given twice. Whoever stands before the gate may have read them otherwise, so such a request is
//! refused and its connection closed.

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
    /// A body follows: its bytes are no lines.
    in_body: bool,
    /// In this head.
    lengths: u32,
    lines: u32,
    framed: bool,
    /// In this line.
    column: usize,
    could_be_length: bool,
    could_be_coding: bool,
    previous: u8,
}

impl HeadScan {
    /// Whether anything so far could be read in two ways.
    pub(super) fn ambiguous(&self) -> bool {
        self.0.borrow().ambiguous
    }

    /// An answer has ended: what comes next is a head.
    pub(super) fn next_head(&self) {
        let mut state = self.0.borrow_mut();
        if state.in_body {
            *state = State { ambiguous: state.ambiguous, ..State::default() };
        }
    }

    fn read(&self, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        for byte in bytes {
            if state.in_body {
                return;
            }
            state.byte(*byte);
        }
    }
}

impl State {
    fn byte(&mut self, byte: u8) {
        if byte == b'\n' {
            self.line_ends();
        } else {
            if self.column == 0 {
                (self.could_be_length, self.could_be_coding) = (true, true);
            }
            self.could_be_length &= self.continues(LENGTH, byte);
            self.could_be_coding &= self.continues(CODING, byte);
            self.column += 1;
            if self.could_be_length && self.column == LENGTH.len() {
                self.lengths += 1;
                self.framed = true;
                self.ambiguous |= self.lengths > 1;
            }
            self.framed |= self.could_be_coding && self.column == CODING.len();
        }
        self.previous = byte;
    }

    fn line_ends(&mut self) {
        self.ambiguous |= self.previous != b'\r';
        let empty = self.column == 0 || (self.column == 1 && self.previous == b'\r');
        self.column = 0;
        if !empty {
            self.lines += 1;
        } else if self.lines > 0 {
            // The end of a head. Empty lines before one mean nothing (RFC 9112, 2.2).
            let Self { ambiguous, framed, .. } = *self;
            *self = Self { ambiguous, in_body: framed, ..Self::default() };
        }
    }

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
        let scan = HeadScan::default();
        scan.read(b"PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab\n");
        scan.next_head();
        scan.read(b"GET / HTTP/1.1\n");
        assert!(scan.ambiguous());
    }
}
