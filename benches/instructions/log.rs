//! The file of the access log, which can be held up, so that what the gate gathers for it grows.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two looks at something.
const PAUSE: Duration = Duration::from_millis(10);

/// A file that is written to unless it is held up.
pub struct Log {
    path: PathBuf,
    held: Arc<AtomicBool>,
}

/// What the gate writes to.
pub struct Target {
    file: File,
    held: Arc<AtomicBool>,
}

impl Log {
    /// Makes a file.
    pub fn create(path: &Path) -> (Self, Target) {
        let held = Arc::default();
        let target = Target { file: File::create(path).unwrap(), held: Arc::clone(&held) };
        (Self { path: path.to_owned(), held }, target)
    }

    /// Lets nothing be written.
    pub fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Lets everything be written again.
    pub fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
    }

    /// Waits until so many requests that were answered with 200 are in it.
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
