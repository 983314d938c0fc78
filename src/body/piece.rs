//! A piece of a response on its way to the client.

use std::rc::Rc;

use bytes::{Buf, Bytes};

use super::Progress;

/// A buffer that records when bytes are taken from it. HTTP/2 receives a whole piece as soon as the
/// client's window has room for one byte, and the gate has no control over the last piece from then
/// on. Only this buffer shows the progress within a piece and the end of its sending.
pub struct Piece {
    bytes: Bytes,
    progress: Rc<Progress>,
}

impl Piece {
    pub(super) fn new(bytes: Bytes, progress: Rc<Progress>) -> Self {
        progress.piece_begins(bytes.len() as u64);
        Self { bytes, progress }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.progress.window_moved();
        self.bytes.advance(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.progress.piece_ends();
    }
}
