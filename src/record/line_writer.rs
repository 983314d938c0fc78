//! The writing of whole lines. A line that could be written only in part, by this process or by an
//! earlier one, never becomes the start of the next line.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The flag with which log files are opened, so that a pipe without a reader is an error. It has no
/// effect on files.
const NEVER_WAIT: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

/// The target of a log.
pub enum LogTarget {
    /// The target at this path: a file, a device or a pipe with a name.
    Named { file: File, path: PathBuf },
    /// Any other writer.
    Other(Box<dyn Write + Send>),
}

/// Writes lines to a target.
pub(super) struct LineWriter {
    target: LogTarget,
    /// `true` if the last line was written in part.
    torn: bool,
}

/// The error of lines that were not all written.
pub(super) struct NotWritten {
    /// The number of bytes that were written.
    pub(super) written: usize,
    pub(super) error: io::Error,
}

impl LogTarget {
    /// Opens a file for appending. If it does not exist, it is created with this mode. A pipe is an
    /// error, because opening it would wait for its reader.
    ///
    /// # Errors
    /// An error if the file cannot be opened for appending.
    pub fn append(path: &Path, mode: u32) -> io::Result<Self> {
        let mut options = File::options();
        options.create(true).append(true).mode(mode).custom_flags(NEVER_WAIT);
        let file = options.open(path)?;
        Ok(Self::Named { file, path: path.to_owned() })
    }

    /// Returns whether the file has no name any more. Lines in it could never be read. A moved file
    /// still has a name, and the program that moved it asks for a reopening.
    pub(super) fn is_deleted(&self) -> bool {
        match self {
            Self::Named { file, .. } => file.metadata().is_ok_and(|it| it.nlink() == 0),
            Self::Other(_) => false,
        }
    }

    /// Returns whether the file ends within a line. `None` if that cannot be known: the target is
    /// not a regular file, or cannot be read.
    fn ends_within_a_line(&self) -> Option<bool> {
        let Self::Named { file, path } = self else { return None };
        let written = file.metadata().ok().filter(Metadata::is_file)?;
        let Some(last) = written.len().checked_sub(1) else { return Some(false) };
        // The file is open for appending only, because the gate may not be allowed to read it, and
        // because a pipe must not be opened for reading.
        let named = fs::metadata(path).ok()?;
        if (written.dev(), written.ino()) != (named.dev(), named.ino()) {
            return None;
        }
        let mut byte = [0];
        File::open(path).ok()?.read_exact_at(&mut byte, last).ok()?;
        Some(byte != *b"\n")
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Named { file, .. } => file,
            Self::Other(writer) => writer,
        }
    }
}

impl LineWriter {
    pub(super) fn new(target: LogTarget) -> Self {
        let torn = target.ends_within_a_line() == Some(true);
        Self { target, torn }
    }

    pub(super) fn target(&self) -> &LogTarget {
        &self.target
    }

    /// Writes lines, each of which ends with a line feed.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), NotWritten> {
        // The operator may have emptied the file meanwhile, to make room.
        if self.torn && self.target.ends_within_a_line() != Some(false) {
            self.write_bytes(b"\n")?;
        }
        self.torn = false;
        self.write_bytes(lines).inspect_err(|NotWritten { written, .. }| {
            let last = written.checked_sub(1).and_then(|last| lines.get(last));
            self.torn = last.is_some_and(|last| *last != b'\n');
        })?;
        self.target.writer().flush().map_err(|error| NotWritten { written: 0, error })
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), NotWritten> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.target.writer().write(rest) {
                Ok(0) => {
                    return Err(NotWritten { written, error: io::ErrorKind::WriteZero.into() });
                }
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(NotWritten { written, error }),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
