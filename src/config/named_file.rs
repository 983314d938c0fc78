//! The configuration file and the files that it names.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The largest size of a file that a key names, in bytes. No certificate bundle and no list of
/// users is larger.
pub(super) const MAX_BYTES: u64 = 16 << 20;

/// The state of a file when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileVersion {
    /// The key that names the file; empty for the configuration file itself.
    pub(super) key: String,
    pub(super) path: PathBuf,
    /// The hash of the content; `None` if the file could not be read.
    pub(super) content: Option<blake3::Hash>,
}

impl FileVersion {
    pub(super) fn new(key: &str, path: PathBuf, content: Option<&[u8]>) -> Self {
        Self { key: key.to_owned(), path, content: content.map(blake3::hash) }
    }

    /// Reads the file again and returns its current state.
    #[must_use]
    pub fn now(&self) -> Self {
        let content = read_bounded(&self.path, MAX_BYTES).ok().map(Zeroizing::new);
        Self::new(&self.key, self.path.clone(), content.as_deref().map(Vec::as_slice))
    }
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] if the file is larger, [`io::ErrorKind::NotSeekable`] if it is a
/// named pipe, and errors of the file system.
pub(super) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer, which may never come.
    if is_named_pipe(path) {
        return Err(io::ErrorKind::NotSeekable.into());
    }
    let mut content = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|length| length <= limit) {
        Ok(content)
    } else {
        Err(io::ErrorKind::FileTooLarge.into())
    }
}

/// Returns whether a path is a named pipe. The pipes in /proc/self/fd have no name: a shell passes
/// files through them.
fn is_named_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo())
        && path.canonicalize().is_ok()
}
