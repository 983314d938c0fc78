//! The audit log: a line for each write that is allowed and for each credential or right that is
//! refused, or would be but for shadow mode, in a file of its own.
//!
//! A write goes to the registry only once its line is written, and is refused where that cannot be:
//! whoever fills the disk can push nothing that nobody sees. So nothing is dropped here, unlike in
//! the access log. Lines are written by a thread of their own, many at once where many wait, so
//! that a slow disk holds up nobody but who waits for his line.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::access_log::{printable, shortened};
use super::{Outcome, Record};
use crate::denial::Denial;
use crate::registry::{Reference, RegistryRequest};

/// Lines that wait for the thread. Whoever comes then waits too.
const MAX_WAITING: usize = 1024;

/// A disk that takes longer is not there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where audit lines go.
pub struct AuditLog {
    path: Option<PathBuf>,
    thread: Option<mpsc::Sender<Task>>,
    reopen: Arc<AtomicBool>,
}

/// A line, and who is told whether it is written.
type Task = (Vec<u8>, oneshot::Sender<bool>);

impl AuditLog {
    /// No audit log.
    pub fn off() -> Self {
        Self { path: None, thread: None, reopen: Arc::default() }
    }

    /// Lines at the end of a file, which is made for the gate's user alone where there is none.
    ///
    /// # Errors
    /// Where the file cannot be opened for appending, or no thread can be started.
    pub fn file(path: &Path) -> io::Result<Self> {
        let (target, path) = (open(path)?, path.to_owned());
        let again = path.clone();
        Ok(Self { path: Some(path), ..Self::start(target, is_deleted, move || open(&again))? })
    }

    /// Lines to anything that can be written to. `is_gone`: nobody would ever read what is written
    /// there.
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

    /// The file, where there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The next line goes to the file that then has the name: this one may have been moved away
    /// (logrotate). Where it cannot be opened, the old one goes on.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    /// Tells of a write that is allowed, and of whatever the rules would deny but for shadow mode,
    /// and returns when that is written. Other reads are not told of.
    ///
    /// # Errors
    /// [`Denial::NotAudited`]: the write must not be made.
    pub async fn allowed(&self, record: &Record, request: &RegistryRequest) -> Result<(), Denial> {
        if self.thread.is_none() || (request.is_read() && !record.shadow_denied) {
            return Ok(());
        }
        // Boxed, so that what a read hardly ever does makes no request larger.
        match Box::pin(self.write(&AuditLine::allowed(record, request))).await {
            // It changes nothing, so it goes on like a refusal whose line is missing.
            Err(_) if request.is_read() => {
                say_it_is_missing(record);
                Ok(())
            }
            written => written,
        }
    }

    /// Tells of a refusal, where a credential or a right that was presented is what was refused.
    /// The 401 that opens each session tells nothing, nor does what nobody could have meant.
    pub async fn refused(&self, record: &Record, denial: &Denial) {
        if self.thread.is_none() || !denial.is_of_a_credential() {
            return;
        }
        if Box::pin(self.write(&AuditLine::new(record, record.outcome))).await.is_err() {
            // It is refused all the same.
            say_it_is_missing(record);
        }
    }

    /// Writes a line, and returns when it is written.
    async fn write(&self, line: &AuditLine<'_>) -> Result<(), Denial> {
        let Some(thread) = &self.thread else { return Ok(()) };
        // A line is plain data, and memory takes it.
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

/// The thread has said what is wrong with the file.
fn say_it_is_missing(record: &Record) {
    tracing::error!(request_id = &*record.request_id, "a line is missing in the audit log");
}

/// The fields, in the order of the line: those of the access log that are known when it is written,
/// and what a write names beside its path.
#[derive(Serialize)]
struct AuditLine<'a> {
    time: String,
    request_id: &'a str,
    client_ip: IpAddr,
    method: Cow<'a, str>,
    path: Cow<'a, str>,
    operation: &'static str,
    repository: Option<&'a str>,
    /// All tags that a write names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    /// Where a mount reads from.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    subject: Option<Cow<'a, str>>,
    provider: Option<&'a str>,
    credential_kind: &'static str,
    credential_type: Option<Cow<'a, str>>,
    credential: Option<String>,
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
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            request_id: &record.request_id,
            client_ip: record.client,
            method: shortened(record.method.as_str()),
            path: shortened(&record.path),
            operation: record.operation.as_str(),
            repository: record.repository.as_ref().map(|name| name.as_str()),
            tags: Vec::new(),
            digest: None,
            from: None,
            subject: record.subject().map(printable),
            provider: record.provider().map(|provider| &**provider),
            credential_kind: record.credential_kind,
            credential_type: record.credential_type().map(printable),
            credential: record.credential.map(|fingerprint| fingerprint.to_string()),
            decision: outcome.decision(),
            reason: outcome.reason(),
        }
    }
}

/// What a write names: tags, a digest, and the repository that it mounts from.
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

/// Whether the file has no name any more. One that was moved has: whoever moves it tells when it is
/// to be left.
fn is_deleted(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
}

/// Writes until nobody can send any more. `is_told`: the target is to be opened anew.
fn write_lines<W: Write>(
    mut waiting: mpsc::Receiver<Task>,
    mut target: W,
    is_gone: fn(&W) -> bool,
    is_told: impl Fn() -> bool,
    reopen: impl Fn() -> io::Result<W>,
) {
    let (mut lines, mut told) = (Vec::new(), Vec::new());
    // Of a line that was written in part, the rest must not be taken for the beginning of the next
    // one.
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
                    "the audit log cannot be opened anew, the old file goes on: {error}"
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
            Ok(()) if failing => tracing::info!("the audit log is written again"),
            Err(error) if !failing => {
                tracing::error!(
                    "the audit log cannot be written, so no write is let through: {error}"
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
