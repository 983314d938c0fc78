//! A piece of an answer on its way out.

use std::rc::Rc;

use bytes::{Buf, Bytes};

use super::Progress;

/// Notes when some of it is taken. HTTP/2 is given a whole piece as soon as the client's window has
/// room for one byte, and the last one is out of our hands then: what goes in between, and when it
/// has gone, shows only here.
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
