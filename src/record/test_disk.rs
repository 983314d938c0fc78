//! A disk that fills up, for the tests of the logs.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// A disk that takes the given number of bytes of each write, in order, and then everything. A
/// write that takes nothing fails.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<(Vec<u8>, VecDeque<usize>)>>);

impl Disk {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
    }

    pub(super) fn set_room(&self, room: &[usize]) {
        self.0.lock().unwrap().1 = room.iter().copied().collect();
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (text, room) = &mut *self.0.lock().unwrap();
        let taken = room.pop_front().unwrap_or(bytes.len()).min(bytes.len());
        text.extend_from_slice(&bytes[..taken]);
        if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
