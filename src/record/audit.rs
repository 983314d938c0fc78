//! The audit log: a line for each write that is allowed and for each credential or right that is refused, or would be but
//! for shadow mode, in a file of its own.
//!
//! A write goes to the registry only once its line is written, and is refused where that cannot be: whoever fills the
//! disk can push nothing that nobody sees. So nothing is dropped here, unlike in the access log. Lines are written by a
//! thread of their own, many at once where many wait, so that a slow disk holds up nobody but who waits for his line.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::access_log::printable;
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
        Ok(Self { path: Some(path), ..Self::start(target, move || open(&again))? })
    }

    /// Lines to anything that can be written to.
    fn start<W: Write + Send + 'static>(
        target: W,
        reopen: impl Fn() -> io::Result<W> + Send + 'static,
    ) -> io::Result<Self> {
        let (tasks, waiting) = mpsc::channel(MAX_WAITING);
        let told = Arc::new(AtomicBool::new(false));
        let is_told = told.clone();
        let reopened = move || is_told.swap(false, Ordering::Relaxed).then(&reopen);
        std::thread::Builder::new().name("audit-log".into()).spawn(move || write_lines(waiting, target, reopened))?;
        Ok(Self { path: None, thread: Some(tasks), reopen: told })
    }

    /// The file, where there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The next line goes to the file that then has the name: this one may have been moved away (logrotate). Where it
    /// cannot be opened, the old one goes on.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    /// Tells of a write that is allowed, and of whatever the rules would deny but for shadow mode, and returns when that
    /// is written. Other reads are not told of.
    ///
    /// # Errors
    /// [`Denial::NotAudited`]: the write must not be made.
    pub async fn allowed(&self, record: &Record, request: &RegistryRequest) -> Result<(), Denial> {
        if self.thread.is_none() || (request.is_read() && !record.shadow_denied) {
            return Ok(());
        }
        // Boxed, so that what a read hardly ever does makes no request larger.
        match Box::pin(self.write(&Line::allowed(record, request))).await {
            // It changes nothing, so it goes on like a refusal whose line is missing.
            Err(_) if request.is_read() => {
                say_it_is_missing(record);
                Ok(())
            }
            written => written,
        }
    }

    /// Tells of a refusal, where a credential or a right that was presented is what was refused. The 401 that opens each
    /// session tells nothing, nor does what nobody could have meant.
    pub async fn refused(&self, record: &Record, denial: &Denial) {
        if self.thread.is_none() || !denial.is_of_a_credential() {
            return;
        }
        if Box::pin(self.write(&Line::new(record, record.outcome))).await.is_err() {
            // It is refused all the same.
            say_it_is_missing(record);
        }
    }

    /// Writes a line, and returns when it is written.
    async fn write(&self, line: &Line<'_>) -> Result<(), Denial> {
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

/// The fields, in the order of the line: those of the access log that are known when it is written, and what a write
/// names beside its path.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    request_id: &'a str,
    client_ip: IpAddr,
    method: &'a str,
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

impl<'a> Line<'a> {
    fn allowed(record: &'a Record, request: &'a RegistryRequest) -> Self {
        let (tags, digest, from) = names(request);
        Self { tags, digest, from, ..Self::new(record, record.if_allowed()) }
    }

    fn new(record: &'a Record, outcome: Outcome) -> Self {
        Self {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            request_id: &record.request_id,
            client_ip: record.client,
            method: record.method.as_str(),
            path: printable(&record.path),
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
        R::UploadStart { mount: Some(mount), .. } => (None, Default::default(), Some(&mount.digest), Some(&mount.from)),
        R::UploadStart { digest, mount: None, .. } => (None, Default::default(), digest.as_ref(), None),
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

/// Writes until nobody can send any more. `reopened`: what to write to from now on, where that is to be another file.
fn write_lines<W: Write>(
    mut waiting: mpsc::Receiver<Task>,
    mut target: W,
    reopened: impl Fn() -> Option<io::Result<W>>,
) {
    let (mut lines, mut told) = (Vec::new(), Vec::new());
    // Of a line that was written in part, the rest must not be taken for the beginning of the next one.
    let (mut torn, mut failing) = (false, false);
    while let Some(first) = waiting.blocking_recv() {
        let mut next = Some(first);
        while let Some((line, done)) = next {
            lines.extend_from_slice(&line);
            told.push(done);
            next = waiting.try_recv().ok();
        }
        match reopened() {
            Some(Ok(opened)) => (target, torn) = (opened, false),
            Some(Err(error)) => tracing::error!("the audit log cannot be opened anew, the old file goes on: {error}"),
            None => {}
        }
        let start: &[u8] = if torn { b"\n" } else { b"" };
        let written = target.write_all(start).and_then(|()| target.write_all(&lines)).and_then(|()| target.flush());
        match &written {
            Ok(()) if failing => tracing::info!("the audit log is written again"),
            Err(error) if !failing => {
                tracing::error!("the audit log cannot be written, so no write is let through: {error}");
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
mod tests {
    use std::collections::VecDeque;
    use std::rc::Rc;
    use std::sync::Mutex;

    use http::Method;

    use super::*;
    use crate::record::{AccessLog, AccessLogFormat, Recorder};

    /// A disk that takes so many bytes of each write, in order, and then everything.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, VecDeque<usize>)>>);

    impl Disk {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }

        fn fill_up_after(&self, bytes: usize) {
            self.0.lock().unwrap().1 = [bytes, 0].into();
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

    fn record() -> Record {
        let recorder = Arc::new(Recorder::new(Arc::default(), AccessLog::start(AccessLogFormat::Json, None).unwrap()));
        let client = std::net::Ipv4Addr::LOCALHOST.into();
        Record::begin(recorder, Rc::default(), "mine".into(), client, Method::PUT, "/v2/a/manifests/v1".into())
    }

    fn put() -> RegistryRequest {
        RegistryRequest::parse(&Method::PUT, "/v2/a/manifests/v1", None).unwrap()
    }

    #[tokio::test]
    async fn a_line_that_is_torn_does_not_spoil_the_next() {
        let disk = Disk::default();
        let (target, opened) = (disk.clone(), disk.clone());
        let (audit, record) = (AuditLog::start(target, move || Ok(opened.clone())).unwrap(), record());
        audit.allowed(&record, &put()).await.unwrap();
        disk.fill_up_after(30);
        assert_eq!(audit.allowed(&record, &put()).await, Err(Denial::NotAudited));
        audit.allowed(&record, &put()).await.unwrap();
        let text = disk.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[1].len(), 30);
        for line in [lines[0], lines[2]] {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((&line["request_id"], &line["tags"]), (&"mine".into(), &serde_json::json!(["v1"])));
        }
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_left_when_told() {
        let folder = tempfile::tempdir().unwrap();
        let [path, moved] = ["audit", "audit.1"].map(|name| folder.path().join(name));
        let (audit, record) = (AuditLog::file(&path).unwrap(), record());
        let lines = |path: &Path| std::fs::read_to_string(path).map_or(0, |text| text.lines().count());
        audit.allowed(&record, &put()).await.unwrap();
        std::fs::rename(&path, &moved).unwrap();
        audit.allowed(&record, &put()).await.unwrap();
        assert_eq!((lines(&moved), lines(&path)), (2, 0));
        audit.reopen();
        audit.allowed(&record, &put()).await.unwrap();
        assert_eq!((lines(&moved), lines(&path)), (2, 1));
        // Where there is no way to open it, the old one goes on.
        std::fs::rename(&path, &moved).unwrap();
        std::fs::create_dir(&path).unwrap();
        audit.reopen();
        audit.allowed(&record, &put()).await.unwrap();
        assert_eq!(lines(&moved), 2);
    }

    #[test]
    fn what_a_write_names() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let request = |method, path: &str, query: Option<&str>| RegistryRequest::parse(&method, path, query).unwrap();
        let digest = digest.as_str();
        let table = [
            (Method::PUT, "/v2/a/manifests/v1".to_owned(), None, (vec!["v1"], None, None)),
            (
                Method::PUT,
                format!("/v2/a/manifests/{digest}"),
                Some("tag=v1&tag=v2".to_owned()),
                (vec!["v1", "v2"], Some(digest), None),
            ),
            (Method::DELETE, format!("/v2/a/blobs/{digest}"), None, (vec![], Some(digest), None)),
            (
                Method::POST,
                "/v2/a/blobs/uploads/".to_owned(),
                Some(format!("mount={digest}&from=b/c")),
                (vec![], Some(digest), Some("b/c")),
            ),
            (Method::PATCH, "/v2/a/blobs/uploads/id".to_owned(), None, (vec![], None, None)),
        ];
        for (method, path, query, expected) in table {
            assert_eq!(names(&request(method, &path, query.as_deref())), expected, "{path}");
        }
    }
}
