//! The audit log, which has a file of its own. It has a line for each allowed write, for each
//! refused credential or right, and for each request that the rules deny and shadow mode lets go
//! on.
//!
//! A write goes to the upstream only after its line has been written, and it is refused if the line
//! cannot be written. An attacker who fills the disk can therefore push nothing without a record.
//! Unlike the access log, this log drops no lines. A separate thread writes the lines, and it
//! writes all waiting lines together, so that a slow disk delays only the requests that wait for
//! their lines.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::line_fields::{CallerFields, RequestFields};
use super::{Outcome, Record};
use crate::denial::Denial;
use crate::registry::{Reference, RegistryRequest};

/// The largest number of lines that wait for the thread. Further requests wait too.
const MAX_WAITING: usize = 1024;

/// The longest time that a line may take. A disk that takes longer counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The audit log.
pub struct AuditLog {
    path: Option<PathBuf>,
    thread: Option<mpsc::Sender<Task>>,
    reopen: Arc<AtomicBool>,
}

/// A line, and the channel that reports whether it was written.
type Task = (Vec<u8>, oneshot::Sender<bool>);

impl AuditLog {
    /// Creates a log that records nothing.
    pub fn off() -> Self {
        Self { path: None, thread: None, reopen: Arc::default() }
    }

    /// Creates a log that appends lines to a file. If the file does not exist, it is created with
    /// access for the gate's user only.
    ///
    /// # Errors
    /// An error if the file cannot be opened for appending, or if the thread cannot be started.
    pub fn file(path: &Path) -> io::Result<Self> {
        let (target, path) = (open(path)?, path.to_owned());
        let again = path.clone();
        Ok(Self { path: Some(path), ..Self::start(target, is_deleted, move || open(&again))? })
    }

    /// Creates a log that writes lines to any writer. `is_gone` returns `true` if the written lines
    /// could never be read there.
    fn start<W: Write + Send + 'static>(
        target: W,
        is_gone: fn(&W) -> bool,
        reopen: impl Fn() -> io::Result<W> + Send + 'static,
    ) -> io::Result<Self> {
        let (tasks, waiting) = mpsc::channel(MAX_WAITING);
        let told = Arc::new(AtomicBool::new(false));
        let is_told = told.clone();
        let is_told = move || is_told.swap(false, Ordering::Relaxed);
        let write = move || write_lines(waiting, target, is_gone, is_told, reopen);
        std::thread::Builder::new().name("audit-log".into()).spawn(write)?;
        Ok(Self { path: None, thread: Some(tasks), reopen: told })
    }

    /// Returns the path of the file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Makes the next line go to the file that then has this path, because a program such as
    /// logrotate may have moved the current file. If the file cannot be opened, the current one
    /// stays in use.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    /// Records an allowed write, or a request that only shadow mode lets go on, and returns once
    /// the line is written. Other reads are not recorded.
    ///
    /// # Errors
    /// [`Denial::NotAudited`] if the line of a write cannot be written. The write must not be made.
    pub async fn allowed(&self, record: &Record, request: &RegistryRequest) -> Result<(), Denial> {
        if self.thread.is_none() || (request.is_read() && !record.shadow_denied) {
            return Ok(());
        }
        // The future is boxed because reads rarely need it, and it would enlarge every request.
        match Box::pin(self.write(&AuditLine::allowed(record, request))).await {
            // A read changes nothing, so it goes on without its line, just as a refusal does.
            Err(_) if request.is_read() => {
                say_it_is_missing(record);
                Ok(())
            }
            written => written,
        }
    }

    /// Records a refusal if a presented credential or right was refused. The 401 that opens each
    /// session is not recorded, and neither are malformed requests.
    pub async fn refused(&self, record: &Record, denial: &Denial) {
        if self.thread.is_none() || !denial.is_of_a_credential() {
            return;
        }
        if Box::pin(self.write(&AuditLine::new(record, record.outcome))).await.is_err() {
            // The request is refused even without a line.
            say_it_is_missing(record);
        }
    }

    /// Writes a line, and returns once it is written.
    async fn write(&self, line: &AuditLine<'_>) -> Result<(), Denial> {
        let Some(thread) = &self.thread else { return Ok(()) };
        // A line is plain data, and writing to memory cannot fail.
        let mut bytes = serde_json::to_vec(line).map_err(|_| Denial::NotAudited)?;
        bytes.push(b'\n');
        let written = async {
            let (done, is_done) = oneshot::channel();
            thread.send((bytes, done)).await.ok()?;
            is_done.await.ok()
        };
        match timeout(PATIENCE, written).await {
            Ok(Some(true)) => Ok(()),
            _ => Err(Denial::NotAudited),
        }
    }
}

/// Logs that a line is missing. The thread has already logged the error of the file.
fn say_it_is_missing(record: &Record) {
    tracing::error!(request_id = &*record.request_id, "the audit log has no line for this request");
}

/// The fields of a line, in their order: the fields of the access log that are known when the line
/// is written, and the parts of a write that its path does not contain.
#[derive(Serialize)]
struct AuditLine<'a> {
    #[serde(flatten)]
    request: RequestFields<'a>,
    /// All tags that a write names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    /// The source repository of a mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(flatten)]
    caller: CallerFields<'a>,
    decision: &'static str,
    reason: &'static str,
}

impl<'a> AuditLine<'a> {
    fn allowed(record: &'a Record, request: &'a RegistryRequest) -> Self {
        let (tags, digest, from) = names(request);
        Self { tags, digest, from, ..Self::new(record, record.if_allowed()) }
    }

    fn new(record: &'a Record, outcome: Outcome) -> Self {
        Self {
            request: RequestFields::new(record, SystemTime::now()),
            tags: Vec::new(),
            digest: None,
            from: None,
            caller: CallerFields::new(record),
            decision: outcome.decision(),
            reason: outcome.reason().as_str(),
        }
    }
}

/// Returns the names in a write: its tags, its digest, and the repository that it mounts from.
fn names(request: &RegistryRequest) -> (Vec<&str>, Option<&str>, Option<&str>) {
    use RegistryRequest as R;
    let (reference, more, digest, from) = match request {
        R::ManifestPut { reference, tags, .. } => (Some(reference), tags.as_slice(), None, None),
        R::ManifestDelete { reference, .. } => (Some(reference), Default::default(), None, None),
        R::BlobDelete { digest, .. } => (None, Default::default(), Some(digest), None),
        R::UploadFinish { digest, .. } => (None, Default::default(), digest.as_ref(), None),
        R::UploadStart { mount: Some(mount), .. } => {
            (None, Default::default(), Some(&mount.digest), Some(&mount.from))
        }
        R::UploadStart { digest, mount: None, .. } => {
            (None, Default::default(), digest.as_ref(), None)
        }
        _ => (None, Default::default(), None, None),
    };
    let (tag, by_digest) = match reference {
        Some(Reference::Tag(tag)) => (Some(tag), None),
        Some(Reference::Digest(digest)) => (None, Some(digest)),
        None => (None, None),
    };
    let tags = tag.into_iter().chain(more).map(|tag| tag.as_str()).collect();
    (tags, digest.or(by_digest).map(|digest| digest.as_str()), from.map(|name| name.as_str()))
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).mode(0o600).open(path)
}

/// Returns whether the file has no name any more. A moved file still has a name, and the program
/// that moved it asks for a [reopen](AuditLog::reopen).
fn is_deleted(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
}

/// Writes lines until all senders are gone. `is_told` returns `true` if the target is to be
/// reopened.
fn write_lines<W: Write>(
    mut waiting: mpsc::Receiver<Task>,
    mut target: W,
    is_gone: fn(&W) -> bool,
    is_told: impl Fn() -> bool,
    reopen: impl Fn() -> io::Result<W>,
) {
    let (mut lines, mut told) = (Vec::new(), Vec::new());
    // The rest of a line that was written in part must not be taken for the start of the next line.
    let (mut torn, mut failing) = (false, false);
    while let Some(first) = waiting.blocking_recv() {
        let mut next = Some(first);
        while let Some((line, done)) = next {
            lines.extend_from_slice(&line);
            told.push(done);
            next = waiting.try_recv().ok();
        }
        let (is_gone, is_told) = (is_gone(&target), is_told());
        let opened = if is_gone || is_told {
            reopen().map(|opened| (target, torn) = (opened, false))
        } else {
            Ok(())
        };
        let opened = match opened {
            Err(error) if !is_gone => {
                tracing::error!(
                    "the audit log cannot be reopened and stays on the earlier file: {error}"
                );
                Ok(())
            }
            opened => opened,
        };
        let start: &[u8] = if torn { b"\n" } else { b"" };
        let written =
            opened.and_then(|()| target.write_all(start)).and_then(|()| target.write_all(&lines));
        let written = written.and_then(|()| target.flush());
        match &written {
            Ok(()) if failing => tracing::info!("the audit log can be written again"),
            Err(error) if !failing => {
                tracing::error!(
                    "the audit log cannot be written, so pushes and deletes are refused: {error}"
                );
            }
            _ => {}
        }
        (torn, failing) = (written.is_err(), written.is_err());
        for done in told.drain(..) {
            let _ = done.send(written.is_ok());
        }
        lines.clear();
    }
}

#[cfg(test)]
mod tests;
