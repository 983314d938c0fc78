//! The access log. It has one line for each request, as JSON for machines or as text for a
//! terminal.
//!
//! Lines are collected in memory, and a separate thread writes them. Neither a slow disk nor a full
//! pipe can therefore delay a worker, and a busy gate does not make a system call for each request.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use super::Record;

/// The largest number of bytes that may wait to be written. If more wait, lines are dropped and
/// counted, and the gate goes on serving.
const MAX_PENDING_BYTES: usize = 8 * 1024 * 1024;

/// The largest length of a path or a method in a line, in bytes. No request that is served needs
/// more.
const MAX_TEXT_BYTES: usize = 4 * 1024;

/// The time during which lines are collected before they are written together.
const GATHER: Duration = Duration::from_millis(20);

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    Json,
    Text,
}

/// The access log. Its target can be [changed](Self::switch) while lines are written.
pub struct AccessLog {
    format: AccessLogFormat,
    is_off: AtomicBool,
    pending: Arc<Pending>,
    thread: Option<JoinHandle<()>>,
}

/// The target of lines; `None`: lines are not even formatted.
pub type Target = Option<Box<dyn Write + Send>>;

#[derive(Default)]
struct Pending {
    lines: Mutex<PendingLines>,
    arrived: Condvar,
}

#[derive(Default)]
struct PendingLines {
    bytes: Vec<u8>,
    dropped: u64,
    writer_waits: bool,
    closed: bool,
    /// The next target, and the number of bytes in `bytes` that still go to the old one.
    next: Option<(usize, Box<dyn Write + Send>)>,
}

impl AccessLog {
    /// Creates a log that writes lines to any writer.
    ///
    /// # Errors
    /// An error if the thread cannot be started.
    pub fn to(format: AccessLogFormat, target: impl Write + Send + 'static) -> io::Result<Self> {
        Self::start(format, Some(Box::new(target)))
    }

    /// Creates a log that writes lines to `target`.
    ///
    /// # Errors
    /// An error if the thread cannot be started.
    pub fn start(format: AccessLogFormat, target: Target) -> io::Result<Self> {
        let pending = Arc::<Pending>::default();
        let (waiting, is_off) = (pending.clone(), target.is_none());
        let target = target.unwrap_or_else(|| Box::new(io::sink()));
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_lines(&waiting, target))?;
        Ok(Self { format, is_off: is_off.into(), pending, thread: Some(thread) })
    }

    /// Opens a file as a target, and appends to it.
    ///
    /// # Errors
    /// An error if the file cannot be opened for appending.
    pub fn open(path: &Path) -> io::Result<Target> {
        Ok(Some(Box::new(File::options().create(true).append(true).open(path)?)))
    }

    /// Sends all later lines to `target`. Earlier lines still go to the old target.
    pub fn switch(&self, target: Target) {
        self.is_off.store(target.is_none(), Ordering::Relaxed);
        let mut lines = self.pending.lock();
        lines.next = Some((lines.bytes.len(), target.unwrap_or_else(|| Box::new(io::sink()))));
        self.pending.arrived.notify_one();
    }

    pub(super) fn write(&self, record: &Record, took: Duration) {
        if self.is_off.load(Ordering::Relaxed) {
            return;
        }
        let mut lines = self.pending.lock();
        if lines.bytes.len() > MAX_PENDING_BYTES {
            lines.dropped += 1;
            return;
        }
        let line = AccessLine::new(record, took);
        // Writing to memory cannot fail, and every line can be expressed in JSON.
        let _ = match self.format {
            AccessLogFormat::Json => {
                serde_json::to_writer(&mut lines.bytes, &line).map_err(io::Error::from)
            }
            AccessLogFormat::Text => line.write_text(&mut lines.bytes),
        };
        lines.bytes.push(b'\n');
        if std::mem::take(&mut lines.writer_waits) {
            self.pending.arrived.notify_one();
        }
    }
}

impl Drop for AccessLog {
    /// Writes all collected lines before the process ends.
    fn drop(&mut self) {
        self.pending.lock().closed = true;
        self.pending.arrived.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, PendingLines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_lines(pending: &Pending, mut target: Box<dyn Write + Send>) {
    let mut writing = Vec::new();
    loop {
        let mut lines = pending.lock();
        while lines.bytes.is_empty() && lines.next.is_none() && !lines.closed {
            lines.writer_waits = true;
            lines = pending.arrived.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
        let (dropped, closed, next) =
            (std::mem::take(&mut lines.dropped), lines.closed, lines.next.take());
        std::mem::swap(&mut lines.bytes, &mut writing);
        drop(lines);
        match next {
            None => write_all(&mut *target, &writing),
            Some((before, next)) => {
                let (before, after) = writing.split_at_checked(before).unwrap_or((&writing, &[]));
                write_all(&mut *target, before);
                target = next;
                write_all(&mut *target, after);
            }
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

fn write_all(target: &mut dyn Write, lines: &[u8]) {
    if let Err(error) = target.write_all(lines).and_then(|()| target.flush()) {
        tracing::error!("the access log cannot be written: {error}");
    }
}

/// The fields of a line, in their order.
#[derive(Serialize)]
struct AccessLine<'a> {
    time: String,
    request_id: &'a str,
    client_ip: std::net::IpAddr,
    method: Cow<'a, str>,
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
    credential_type: Option<Cow<'a, str>>,
    credential: Option<String>,
    cache: &'static str,
    decision: &'static str,
    reason: &'static str,
}

impl<'a> AccessLine<'a> {
    fn new(record: &'a Record, took: Duration) -> Self {
        Self {
            time: humantime::format_rfc3339_millis(record.time).to_string(),
            request_id: &record.request_id,
            client_ip: record.client,
            method: shortened(record.method.as_str()),
            path: shortened(&record.path),
            operation: record.operation.as_str(),
            repository: record.repository.as_ref().map(|name| name.as_str()),
            status: record.status_number(),
            bytes_in: record.progress.bytes_in(),
            bytes_out: record.progress.bytes_out(),
            duration_ms: milliseconds(took),
            upstream_ms: record.upstream.map(milliseconds),
            subject: record.subject().map(printable),
            provider: record.provider().map(|provider| &**provider),
            credential_kind: record.credential_kind.as_str(),
            credential_type: record.credential_type().map(printable),
            credential: record.credential.map(|fingerprint| fingerprint.to_string()),
            cache: record.cache.as_str(),
            decision: record.outcome.decision(),
            reason: record.outcome.reason().as_str(),
        }
    }

    /// Writes a line for a person at a terminal. The outcome comes first and the reason last. No
    /// part of the line can move the cursor.
    fn write_text(&self, target: &mut Vec<u8>) -> io::Result<()> {
        let Self {
            time,
            status,
            method,
            client_ip,
            duration_ms,
            bytes_in,
            bytes_out,
            reason,
            request_id,
            ..
        } = self;
        let path = &self.path;
        let subject = self.subject.as_deref().unwrap_or(self.credential_kind);
        let provider = self.provider.unwrap_or("none");
        write!(
            target,
            "{time} {status} {method} {path} {subject} from {client_ip}: {reason}, {bytes_in} B in, {bytes_out} B out, {duration_ms} ms, provider {provider}, cache {}, id {request_id}",
            self.cache
        )
    }
}

/// Returns milliseconds, with three digits after the decimal point.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Escapes all characters that could move a cursor, change colours or change the direction of text,
/// because both formats are read on terminals.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let escaped =
        |c: char| if harmless(c) { c.to_string() } else { c.escape_unicode().to_string() };
    Cow::Owned(text.chars().map(escaped).collect())
}

/// Escapes a text whose length a client controls, and cuts it to the largest length in a line. A
/// cut text ends with `…`.
pub(super) fn shortened(text: &str) -> Cow<'_, str> {
    const MARK: char = '…';
    let text = printable(text);
    if text.len() <= MAX_TEXT_BYTES {
        return text;
    }
    let end = text.floor_char_boundary(MAX_TEXT_BYTES - MARK.len_utf8());
    let mut kept = text.get(..end).unwrap_or_default().to_owned();
    kept.push(MARK);
    Cow::Owned(kept)
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
        assert_eq!(
            printable("a\u{9b}31m\u{1b}[2J\n\u{202e}é"),
            "a\\u{9b}31m\\u{1b}[2J\\u{a}\\u{202e}é"
        );
        assert!(matches!(printable("/v2/a/b"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_too_long_is_cut_and_marked() {
        for (text, length) in
            [("a".repeat(4096), 4096), ("a".repeat(4097), 4096), ("é".repeat(3000), 4095)]
        {
            let cut = shortened(&text);
            assert_eq!((cut.len(), cut.ends_with('…')), (length, text.len() > 4096));
            assert!(text.starts_with(cut.trim_end_matches('…')));
        }
        assert!(matches!(shortened("/v2/a/b"), Cow::Borrowed(_)));
        // The characters that escapes add count too.
        assert_eq!(shortened(&"\u{9b}".repeat(4000)).len(), 4096);
    }

    /// A line stays a single line in both formats, for every text that a client or a provider
    /// sends.
    #[test]
    fn a_line_is_one_line() {
        let hostile = "a\u{1b}]0;owned\u{7}\u{9b}2J\r\n2026 200 GET /v2/ root\u{202e}\u{7f}";
        let access_log = AccessLog::to(AccessLogFormat::Text, io::sink()).unwrap();
        let recorder = Arc::new(Recorder::new(Arc::default(), access_log));
        let client = std::net::Ipv4Addr::LOCALHOST.into();
        let path = format!("/v2/{hostile}");
        let mut record =
            Record::begin(recorder, Rc::default(), "request".into(), client, Method::GET, path);
        let source = Arc::new(Source {
            provider: "gitlab".into(),
            credential_type: Some(hostile.into()),
            folds_case: false,
        });
        let principal = Principal { source, subject: hostile.into() };
        record.set_caller(Arc::new(Verified {
            principal,
            granted: Granted::Nothing,
            attributes: None,
        }));
        let line = AccessLine::new(&record, Duration::ZERO);
        let mut text = Vec::new();
        line.write_text(&mut text).unwrap();
        let json = serde_json::to_string(&line).unwrap();
        for printed in [String::from_utf8(text).unwrap(), json] {
            assert!(!printed.chars().any(|c| c.is_control() || c == '\u{202e}'), "{printed:?}");
            assert_eq!(
                printed.matches("owned").count(),
                printed.matches("{1b}]0;owned").count(),
                "{printed}"
            );
        }
    }

    #[test]
    fn nobody_has_no_subject() {
        let line = |subject: &str| {
            let access_log = AccessLog::to(AccessLogFormat::Json, io::sink()).unwrap();
            let recorder = Arc::new(Recorder::new(Arc::default(), access_log));
            let client = std::net::Ipv4Addr::LOCALHOST.into();
            let mut record = Record::begin(
                recorder,
                Rc::default(),
                "request".into(),
                client,
                Method::GET,
                "/v2/".into(),
            );
            let source = Arc::new(Source {
                provider: "gitlab".into(),
                credential_type: None,
                folds_case: false,
            });
            let principal = Principal { source, subject: subject.into() };
            record.set_caller(Arc::new(Verified {
                principal,
                granted: Granted::Nothing,
                attributes: None,
            }));
            serde_json::to_value(AccessLine::new(&record, Duration::ZERO)).unwrap()
        };
        assert_eq!(line("alice")["subject"], "alice");
        let nobody = line("");
        assert_eq!(
            (&nobody["subject"], &nobody["provider"]),
            (&Value::Null, &Value::from("gitlab"))
        );
        assert_eq!(
            (&nobody["credential_kind"], &nobody["credential"]),
            (&Value::from("anonymous"), &Value::Null)
        );
    }
}
