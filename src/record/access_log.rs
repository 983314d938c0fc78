//! The access log: one line a request, JSON for machines or text for a terminal.
//!
//! Lines are gathered in memory and written by a thread of their own, so that neither a slow disk nor a full pipe
//! holds up a worker, and a busy gate does not pay a system call a request.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use super::Record;

/// What may wait to be written. More, and lines are dropped and counted: the gate goes on serving.
const MAX_PENDING_BYTES: usize = 8 * 1024 * 1024;

/// How long lines are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(20);

/// The shape of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    Json,
    Text,
}

/// Where access lines go.
pub struct AccessLog {
    format: AccessLogFormat,
    writer: Option<Writer>,
}

struct Writer {
    pending: Arc<Pending>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Pending {
    lines: Mutex<Lines>,
    arrived: Condvar,
}

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    dropped: u64,
    writer_waits: bool,
    closed: bool,
}

impl AccessLog {
    /// No access log.
    pub fn off() -> Self {
        Self { format: AccessLogFormat::Json, writer: None }
    }

    /// Lines on standard output.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn stdout(format: AccessLogFormat) -> io::Result<Self> {
        Self::to(format, io::stdout())
    }

    /// Lines at the end of a file.
    ///
    /// # Errors
    /// Where the file cannot be opened for appending, or no thread can be started.
    pub fn file(format: AccessLogFormat, path: &Path) -> io::Result<Self> {
        Self::to(format, File::options().create(true).append(true).open(path)?)
    }

    /// Lines to anything that can be written to.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn to(format: AccessLogFormat, target: impl Write + Send + 'static) -> io::Result<Self> {
        let pending = Arc::<Pending>::default();
        let waiting = pending.clone();
        let thread =
            std::thread::Builder::new().name("access-log".into()).spawn(move || write_lines(&waiting, target))?;
        Ok(Self { format, writer: Some(Writer { pending, thread: Some(thread) }) })
    }

    pub(super) fn write(&self, record: &Record, took: Duration) {
        let Some(writer) = &self.writer else { return };
        let mut lines = writer.pending.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.bytes.len() > MAX_PENDING_BYTES {
            lines.dropped += 1;
            return;
        }
        let line = Line::new(record, took);
        // Writing to memory cannot fail, and nothing in a line is beyond what JSON can say.
        let _ = match self.format {
            AccessLogFormat::Json => serde_json::to_writer(&mut lines.bytes, &line).map_err(io::Error::from),
            AccessLogFormat::Text => line.write_text(&mut lines.bytes),
        };
        lines.bytes.push(b'\n');
        if std::mem::take(&mut lines.writer_waits) {
            writer.pending.arrived.notify_one();
        }
    }
}

impl Drop for Writer {
    /// Everything gathered is written before the process ends.
    fn drop(&mut self) {
        self.pending.lines.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.pending.arrived.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_lines(pending: &Pending, mut target: impl Write) {
    let mut writing = Vec::new();
    loop {
        let mut lines = pending.lines.lock().unwrap_or_else(PoisonError::into_inner);
        while lines.bytes.is_empty() && !lines.closed {
            lines.writer_waits = true;
            lines = pending.arrived.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
        let (dropped, closed) = (std::mem::take(&mut lines.dropped), lines.closed);
        std::mem::swap(&mut lines.bytes, &mut writing);
        drop(lines);
        if let Err(error) = target.write_all(&writing).and_then(|()| target.flush()) {
            tracing::error!("the access log cannot be written: {error}");
        }
        writing.clear();
        writing.shrink_to(MAX_PENDING_BYTES / 64);
        if dropped > 0 {
            tracing::error!("the access log is too slow: {dropped} lines were dropped");
        }
        if closed {
            return;
        }
        std::thread::sleep(GATHER);
    }
}

/// The fields, in the order of the line.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    request_id: &'a str,
    client_ip: std::net::IpAddr,
    method: &'a str,
    path: Cow<'a, str>,
    operation: &'static str,
    repository: Option<&'a str>,
    status: u16,
    bytes_in: u64,
    bytes_out: u64,
    duration_ms: f64,
    upstream_ms: Option<f64>,
    subject: Option<Cow<'a, str>>,
    provider: Option<&'a str>,
    credential_kind: &'static str,
    credential_type: Option<&'a str>,
    credential: Option<String>,
    cache: &'static str,
    decision: &'static str,
    reason: &'static str,
}

impl<'a> Line<'a> {
    fn new(record: &'a Record, took: Duration) -> Self {
        let principal = record.principal();
        Self {
            time: humantime::format_rfc3339_millis(record.time).to_string(),
            request_id: &record.request_id,
            client_ip: record.client,
            method: record.method.as_str(),
            path: printable(&record.path),
            operation: record.operation.as_str(),
            repository: record.repository.as_ref().map(|name| name.as_str()),
            status: record.status_number(),
            bytes_in: record.progress.bytes_in(),
            bytes_out: record.progress.bytes_out(),
            duration_ms: milliseconds(took),
            upstream_ms: record.upstream.map(milliseconds),
            subject: principal
                .filter(|principal| !principal.is_anonymous())
                .map(|principal| printable(&principal.subject)),
            provider: record.provider().map(|provider| &**provider),
            credential_kind: record.credential_kind,
            credential_type: principal.and_then(|principal| principal.source.credential_type.as_deref()),
            credential: record.credential.map(|fingerprint| fingerprint.to_string()),
            cache: record.cache.as_str(),
            decision: record.outcome.decision(),
            reason: record.outcome.reason(),
        }
    }

    /// For a person at a terminal: what happened first, why last. Nothing in it can move the cursor.
    fn write_text(&self, target: &mut Vec<u8>) -> io::Result<()> {
        let Self { time, status, method, client_ip, duration_ms, bytes_in, bytes_out, reason, request_id, .. } = self;
        let path = &self.path;
        let subject = self.subject.as_deref().unwrap_or(self.credential_kind);
        let provider = self.provider.unwrap_or("none");
        let method = printable(method);
        write!(
            target,
            "{time} {status} {method} {path} {subject} from {client_ip}: {reason}, {bytes_in} B in, {bytes_out} B out, {duration_ms} ms, provider {provider}, cache {}, id {request_id}",
            self.cache
        )
    }
}

/// Milliseconds with three digits behind the point.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Whatever could move a cursor, change colours or turn text around is escaped: both forms end on terminals.
fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| if harmless(c) { c.to_string() } else { c.escape_unicode().to_string() };
    Cow::Owned(text.chars().map(escaped).collect())
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use http::Method;
    use serde_json::Value;

    use super::*;
    use crate::identity::{Granted, Principal, Source, Verified};
    use crate::record::Recorder;

    #[test]
    fn nothing_printed_moves_a_cursor() {
        assert_eq!(printable("a\u{9b}31m\u{1b}[2J\n\u{202e}é"), "a\\u{9b}31m\\u{1b}[2J\\u{a}\\u{202e}é");
        assert!(matches!(printable("/v2/a/b"), Cow::Borrowed(_)));
    }

    #[test]
    fn nobody_has_no_subject() {
        let line = |subject: &str| {
            let access_log = AccessLog::to(AccessLogFormat::Json, io::sink()).unwrap();
            let recorder = Arc::new(Recorder::new(Arc::default(), access_log));
            let client = std::net::Ipv4Addr::LOCALHOST.into();
            let mut record =
                Record::begin(recorder, Rc::default(), "request".into(), client, Method::GET, "/v2/".into());
            let source = Arc::new(Source { provider: "gitlab".into(), credential_type: None });
            let principal = Principal { source, subject: subject.into() };
            record.verified(Arc::new(Verified { principal, granted: Granted::Nothing, attributes: None }));
            serde_json::to_value(Line::new(&record, Duration::ZERO)).unwrap()
        };
        assert_eq!(line("alice")["subject"], "alice");
        let nobody = line("");
        assert_eq!((&nobody["subject"], &nobody["provider"]), (&Value::Null, &Value::from("gitlab")));
        assert_eq!((&nobody["credential_kind"], &nobody["credential"]), (&Value::from("anonymous"), &Value::Null));
    }
}
