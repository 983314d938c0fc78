//! The file of the access log. The benchmark can block it, so that the buffer of the gate grows.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The interval between two checks of a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// The control of a log file, which can be blocked.
pub struct Log {
    path: PathBuf,
    held: Arc<AtomicBool>,
}

/// The log file to which the gate writes.
pub struct Target {
    file: File,
    held: Arc<AtomicBool>,
}

impl Log {
    /// Creates the file.
    pub fn create(path: &Path) -> (Self, Target) {
        let held = Arc::default();
        let target = Target { file: File::create(path).unwrap(), held: Arc::clone(&held) };
        (Self { path: path.to_owned(), held }, target)
    }

    /// Blocks all writes.
    pub fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Unblocks all writes.
    pub fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
    }

    /// Waits until the file contains `requests` requests that were answered with 200.
    pub fn wait(&self, requests: u64) {
        let lines =
            || std::fs::read_to_string(&self.path).unwrap().matches("\"status\":200").count();
        while (lines() as u64) < requests {
            std::thread::sleep(PAUSE);
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while self.held.load(Ordering::SeqCst) {
            std::thread::sleep(PAUSE);
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
