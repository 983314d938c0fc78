//! The audit log, which has a file of its own. It has a line for each allowed write, for each
//! refused credential or right, and for each request that the rules deny and shadow mode lets go
//! on.
//!
//! A write goes to the upstream only after its line has been written, and it is refused if the line
//! cannot be written. An attacker who fills the disk can therefore push nothing without a record.
//! Unlike the access log, this log drops no lines. A separate thread writes the lines, and it
//! writes all waiting lines together, so that a slow disk delays only the requests that wait for
//! their lines.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::json_line::JsonLine;
use super::line_fields::{CallerFields, RequestFields};
use super::line_writer::{LineWriter, LogTarget, NotWritten};
use super::log_health::{LogHealth, LogSeen};
use super::{LogThrottle, Outcome, Record};
use crate::denial::Denial;
use crate::recent::LastTime;
use crate::registry::{Reference, RegistryRequest};

/// The largest number of lines that wait for the thread. Further requests wait too.
const MAX_WAITING: usize = 1024;

/// The longest time that a line may take. A disk that takes longer counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);
const TOO_SLOW: &str = "a line was not written within 10 seconds";

/// The audit log.
pub struct AuditLog {
    path: Option<PathBuf>,
    thread: Option<mpsc::Sender<Task>>,
    reopen: Arc<AtomicBool>,
    /// The time since which the thread writes the lines that it has; nothing if it has none.
    busy_since: Arc<LastTime>,
    health: LogHealth,
    throttle: LogThrottle,
}

/// A line, and the channel that reports whether it was written, or why not.
type Task = (Vec<u8>, oneshot::Sender<Result<(), Arc<str>>>);

/// The subjects of lines in the program log.
#[derive(Hash)]
enum Topic {
    Failed,
    WrittenAgain,
}

impl AuditLog {
    /// Creates a log that records nothing.
    pub fn off() -> Self {
        Self {
            path: None,
            thread: None,
            reopen: Arc::default(),
            busy_since: Arc::default(),
            health: LogHealth::default(),
            throttle: LogThrottle::default(),
        }
    }

    /// Creates a log that appends lines to a file. If the file does not exist, it is created with
    /// access for the gate's user only.
    ///
    /// # Errors
    /// An error if the file cannot be opened for appending, or if the thread cannot be started.
    pub fn file(path: &Path) -> io::Result<Self> {
        let again = path.to_owned();
        let log = Self::start(move || LogTarget::append(&again, 0o600))?;
        Ok(Self { path: Some(path.to_owned()), ..log })
    }

    /// Creates a log that writes lines to the target that `open` returns, at first and again.
    fn start(open: impl Fn() -> io::Result<LogTarget> + Send + 'static) -> io::Result<Self> {
        let (tasks, waiting) = mpsc::channel(MAX_WAITING);
        let log = Self { thread: Some(tasks), ..Self::off() };
        let (reopen, busy_since) = (log.reopen.clone(), log.busy_since.clone());
        let target = LineWriter::new(open()?);
        let write = move || write_lines(waiting, target, &reopen, &busy_since, open);
        std::thread::Builder::new().name("audit-log".into()).spawn(write)?;
        Ok(log)
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
        let written = Box::pin(self.write(record, &AuditLine::allowed(record, request))).await;
        // A read changes nothing, so it goes on without its line, just as a refusal does.
        if request.is_read() { Ok(()) } else { written }
    }

    /// Records a refusal if a presented credential or right was refused. The 401 that opens each
    /// session is not recorded, and neither are malformed requests.
    pub async fn refused(&self, record: &Record, denial: &Denial) {
        if self.thread.is_none() || !denial.is_of_a_credential() {
            return;
        }
        // The request is refused even without a line.
        let _ = Box::pin(self.write(record, &AuditLine::new(record, record.outcome))).await;
    }

    /// Writes a line about a request, and returns once it is written.
    async fn write(&self, record: &Record, line: &AuditLine<'_>) -> Result<(), Denial> {
        let Some(thread) = &self.thread else { return Ok(()) };
        let bytes = line.to_json();
        let written = async {
            let (done, is_done) = oneshot::channel();
            thread.send((bytes, done)).await.ok()?;
            is_done.await.ok()
        };
        match timeout(PATIENCE, written).await {
            Ok(Some(Ok(()))) => {
                self.worked();
                return Ok(());
            }
            Ok(Some(Err(why))) => self.failed(record, &why),
            Ok(None) => self.failed(record, "its thread has ended; restart the gate"),
            Err(_) => self.failed(record, TOO_SLOW),
        }
        Err(Denial::NotAudited)
    }

    /// Records that a line was written.
    fn worked(&self) {
        let again = self.health.written();
        if again && self.throttle.line(&Topic::WrittenAgain, Instant::now()).is_some() {
            tracing::info!("the audit log can be written again");
        }
    }

    /// Counts a line that could not be written, and reports it with one line in ten seconds.
    fn failed(&self, record: &Record, why: &str) {
        self.health.failed(why, SystemTime::now());
        record.recorder.metrics.audit_failed();
        if let Some(left_out) = self.throttle.line(&Topic::Failed, Instant::now()) {
            tracing::error!(
                request_id = &*record.request_id,
                left_out = left_out.same,
                "the audit log cannot be written, so pushes and deletes are refused: {why}"
            );
        }
    }

    /// Returns the health of the log as seen so far. A log whose thread is stuck fails, even if
    /// every client leaves before its line counts as lost.
    pub fn seen(&self, now: SystemTime) -> LogSeen {
        let stuck_since = self
            .busy_since
            .get()
            .filter(|since| now.duration_since(*since).is_ok_and(|passed| passed >= PATIENCE));
        match stuck_since {
            Some(since) => LogSeen {
                failing: true,
                lost: Some((since, TOO_SLOW.to_owned())),
                since: Some(since),
            },
            None => self.health.seen(),
        }
    }
}

/// The fields of a line: the fields of the access log that are known when the line is written, and
/// the parts of a write that its path does not contain.
struct AuditLine<'a> {
    request: RequestFields<'a>,
    /// All tags that a write names.
    tags: Vec<&'a str>,
    digest: Option<&'a str>,
    /// The source repository of a mount.
    from: Option<&'a str>,
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

    /// Returns the line, with the line feed at its end.
    fn to_json(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut line = JsonLine::begin(&mut bytes);
        self.request.write(&mut line);
        if !self.tags.is_empty() {
            line.texts("tags", &self.tags);
        }
        for (name, value) in [("digest", self.digest), ("from", self.from)] {
            if let Some(value) = value {
                line.text(name, value);
            }
        }
        self.caller.write(&mut line);
        line.word("decision", self.decision);
        line.word("reason", self.reason);
        line.end();
        bytes
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

/// Writes lines until all senders are gone. `told` becomes `true` if the target is to be opened
/// again.
fn write_lines(
    mut waiting: mpsc::Receiver<Task>,
    mut target: LineWriter,
    told: &AtomicBool,
    busy_since: &LastTime,
    open: impl Fn() -> io::Result<LogTarget>,
) {
    let (mut lines, mut ends) = (Vec::new(), Vec::new());
    while let Some(first) = waiting.blocking_recv() {
        busy_since.set(SystemTime::now());
        let mut next = Some(first);
        while let Some((line, done)) = next {
            lines.extend_from_slice(&line);
            ends.push((lines.len(), done));
            next = waiting.try_recv().ok();
        }
        let (is_deleted, is_told) =
            (target.target().is_deleted(), told.swap(false, Ordering::Relaxed));
        let opened = if is_deleted || is_told {
            open().map(|opened| target = LineWriter::new(opened))
        } else {
            Ok(())
        };
        let opened = match opened {
            Err(error) if !is_deleted => {
                tracing::error!(
                    "the audit log cannot be reopened and stays on the earlier file: {error}"
                );
                Ok(())
            }
            opened => opened.map_err(|error| NotWritten { written: 0, error }),
        };
        let (written, error) = match opened.and_then(|()| target.write(&lines)) {
            Ok(()) => (lines.len(), None),
            Err(NotWritten { written, error }) => (written, Some(error)),
        };
        let why: Arc<str> = error.map(|error| error.to_string()).unwrap_or_default().into();
        for (end, done) in ends.drain(..) {
            let _ = done.send(if end <= written { Ok(()) } else { Err(why.clone()) });
        }
        busy_since.clear();
        lines.clear();
    }
}

#[cfg(test)]
mod tests;
