//! The access log. It has one line for each request, as JSON for machines or as text for a
//! terminal.
//!
//! Lines are collected in memory, and a separate thread writes them. Neither a slow disk nor a full
//! pipe can therefore delay a worker, and a busy gate does not make a system call for each request.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json_line::JsonLine;
use super::line_fields::{CallerFields, RequestFields};
use super::line_writer::{LineWriter, LogTarget, NotWritten};
use super::log_health::{LogHealth, LogSeen};
use super::{LogThrottle, Record};
use crate::metrics::Metrics;

/// The largest number of bytes that may wait to be written. If more wait, lines are lost and
/// counted, and the gate goes on serving.
const MAX_PENDING_BYTES: usize = 8 * 1024 * 1024;

/// The time during which lines are collected before they are written together.
const GATHER: Duration = Duration::from_millis(20);

thread_local! {
    /// The line that a worker is writing. It is written here first, so that the workers do not wait
    /// for each other while they format.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The format of the program log and of the access log.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Text,
}

/// The access log. Its target can be [changed](Self::switch) while lines are written.
pub struct AccessLog {
    format: LogFormat,
    is_off: AtomicBool,
    pending: Arc<Pending>,
    thread: Option<JoinHandle<()>>,
}

/// The target of lines; `None`: lines are not even formatted.
pub type Target = Option<LogTarget>;

#[derive(Default)]
struct Pending {
    lines: Mutex<PendingLines>,
    arrived: Condvar,
    losses: Losses,
}

/// The lines that were lost.
#[derive(Default)]
struct Losses {
    metrics: OnceLock<Arc<Metrics>>,
    health: LogHealth,
    throttle: LogThrottle,
    /// The number of lost lines, for each [`Loss`], that the program log does not tell of yet.
    untold: [AtomicU64; 2],
}

/// The reasons for the loss of lines.
#[derive(Clone, Copy, Hash)]
enum Loss {
    /// Too many lines wait to be written.
    Slow,
    /// Lines could not be written.
    Failed,
}

#[derive(Default)]
struct PendingLines {
    bytes: Vec<u8>,
    writer_waits: bool,
    closed: bool,
    /// The next target, and the number of bytes in `bytes` that still go to the old one.
    next: Option<(usize, LogTarget)>,
}

impl AccessLog {
    /// Creates a log that writes lines to any writer.
    ///
    /// # Errors
    /// An error if the thread cannot be started.
    pub fn to(format: LogFormat, target: impl Write + Send + 'static) -> io::Result<Self> {
        Self::start(format, Some(LogTarget::Other(Box::new(target))))
    }

    /// Creates a log that writes lines to `target`.
    ///
    /// # Errors
    /// An error if the thread cannot be started.
    pub fn start(format: LogFormat, target: Target) -> io::Result<Self> {
        let pending = Arc::<Pending>::default();
        let (waiting, is_off) = (pending.clone(), target.is_none());
        let target = LineWriter::new(target.unwrap_or_else(nowhere));
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_lines(&waiting, target))?;
        Ok(Self { format, is_off: is_off.into(), pending, thread: Some(thread) })
    }

    /// Opens a file as a target, and appends to it. A pipe that took its place is an error, because
    /// opening it would wait for its reader.
    ///
    /// # Errors
    /// An error if the file cannot be opened for appending.
    pub fn open(path: &Path) -> io::Result<Target> {
        LogTarget::append(path, 0o666).map(Some)
    }

    /// Counts lost lines in these metrics.
    pub(super) fn count_in(&self, metrics: Arc<Metrics>) {
        // A log belongs to one recorder.
        let _ = self.pending.losses.metrics.set(metrics);
    }

    /// Returns the health of the log as seen so far.
    pub fn seen(&self) -> LogSeen {
        self.pending.losses.health.seen()
    }

    /// Sends all later lines to `target`. Earlier lines still go to the old target.
    pub fn switch(&self, target: Target) {
        self.is_off.store(target.is_none(), Ordering::Relaxed);
        if target.is_none() {
            // There will be no line whose writing shows that the log works.
            self.pending.losses.health.written();
        }
        let mut lines = self.pending.lock();
        lines.next = Some((lines.bytes.len(), target.unwrap_or_else(nowhere)));
        self.pending.arrived.notify_one();
    }

    pub(super) fn write(&self, record: &Record, took: Duration) {
        if self.is_off.load(Ordering::Relaxed) {
            return;
        }
        let line = AccessLine::new(record, took);
        LINE.with_borrow_mut(|bytes| {
            bytes.clear();
            match self.format {
                LogFormat::Json => line.write_json(bytes),
                LogFormat::Text => line.write_text(bytes),
            }
            self.add(bytes);
        });
    }

    /// Adds a line to those that the thread will write.
    fn add(&self, line: &[u8]) {
        let mut lines = self.pending.lock();
        if lines.bytes.len() > MAX_PENDING_BYTES {
            drop(lines);
            self.pending.losses.add(Loss::Slow, 1, "lines come faster than they can be written");
            return;
        }
        lines.bytes.extend_from_slice(line);
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

impl Losses {
    /// Counts lost lines and reports them in the program log, with one line in ten seconds.
    fn add(&self, loss: Loss, lines: u64, why: &str) {
        match loss {
            Loss::Slow => self.health.lost(why, SystemTime::now()),
            Loss::Failed => self.health.failed(why, SystemTime::now()),
        }
        if let Some(metrics) = self.metrics.get() {
            metrics.access_log_lines_lost(lines);
        }
        let untold = self.untold(loss);
        untold.fetch_add(lines, Ordering::Relaxed);
        if self.throttle.line(&loss, Instant::now()).is_some() {
            loss.tell(untold.swap(0, Ordering::Relaxed), why);
        }
    }

    /// Reports the lines that the program log does not tell of yet.
    fn tell_rest(&self) {
        for loss in [Loss::Slow, Loss::Failed] {
            let lines = self.untold(loss).swap(0, Ordering::Relaxed);
            if lines > 0 {
                let why = self.health.seen().lost.map(|(_, why)| why).unwrap_or_default();
                loss.tell(lines, &why);
            }
        }
    }

    fn untold(&self, loss: Loss) -> &AtomicU64 {
        let [slow, failed] = &self.untold;
        match loss {
            Loss::Slow => slow,
            Loss::Failed => failed,
        }
    }
}

impl Loss {
    fn tell(self, lines_lost: u64, why: &str) {
        match self {
            Self::Slow => tracing::error!(lines_lost, "the access log cannot keep up: {why}"),
            Self::Failed => tracing::error!(lines_lost, "the access log cannot be written: {why}"),
        }
    }
}

fn nowhere() -> LogTarget {
    LogTarget::Other(Box::new(io::sink()))
}

fn write_lines(pending: &Pending, mut target: LineWriter) {
    let mut writing = Vec::new();
    loop {
        let mut lines = pending.lock();
        while lines.bytes.is_empty() && lines.next.is_none() && !lines.closed {
            lines.writer_waits = true;
            lines = pending.arrived.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
        let (closed, next) = (lines.closed, lines.next.take());
        std::mem::swap(&mut lines.bytes, &mut writing);
        drop(lines);
        match next {
            None => write_all(&mut target, &writing, &pending.losses),
            Some((before, next)) => {
                let (before, after) = writing.split_at_checked(before).unwrap_or((&writing, &[]));
                write_all(&mut target, before, &pending.losses);
                target = LineWriter::new(next);
                write_all(&mut target, after, &pending.losses);
            }
        }
        writing.clear();
        writing.shrink_to(MAX_PENDING_BYTES / 64);
        if closed {
            pending.losses.tell_rest();
            return;
        }
        std::thread::sleep(GATHER);
    }
}

fn write_all(target: &mut LineWriter, lines: &[u8], losses: &Losses) {
    if lines.is_empty() {
        return;
    }
    match target.write(lines) {
        Ok(()) => {
            let again = losses.health.written();
            if again && losses.throttle.line(&"again", Instant::now()).is_some() {
                tracing::info!("the access log can be written again");
            }
        }
        Err(NotWritten { written, error }) => {
            let lost = lines.get(written..).unwrap_or_default();
            let lost = lost.iter().filter(|byte| **byte == b'\n').count();
            losses.add(Loss::Failed, u64::try_from(lost).unwrap_or(u64::MAX), &error.to_string());
        }
    }
}

/// The fields of a line.
struct AccessLine<'a> {
    request: RequestFields<'a>,
    status: u16,
    bytes_in: u64,
    bytes_out: u64,
    took: Duration,
    upstream: Option<Duration>,
    caller: CallerFields<'a>,
    cache: &'static str,
    decision: &'static str,
    reason: &'static str,
}

impl<'a> AccessLine<'a> {
    fn new(record: &'a Record, took: Duration) -> Self {
        Self {
            request: RequestFields::new(record, record.time),
            status: record.status_number(),
            bytes_in: record.progress.bytes_in(),
            bytes_out: record.progress.bytes_out(),
            took,
            upstream: record.upstream,
            caller: CallerFields::new(record),
            cache: record.cache.as_str(),
            decision: record.outcome.decision(),
            reason: record.outcome.reason().as_str(),
        }
    }

    /// Writes a line for a program.
    fn write_json(&self, target: &mut Vec<u8>) {
        let mut line = JsonLine::begin(target);
        self.request.write(&mut line);
        line.number("status", self.status.into());
        line.number("bytes_in", self.bytes_in);
        line.number("bytes_out", self.bytes_out);
        line.milliseconds("duration_ms", Some(self.took));
        line.milliseconds("upstream_ms", self.upstream);
        self.caller.write(&mut line);
        line.word("cache", self.cache);
        line.word("decision", self.decision);
        line.word("reason", self.reason);
        line.end();
    }

    /// Writes a line for a person at a terminal. The outcome comes first and the reason last. No
    /// part of the line can move the cursor.
    fn write_text(&self, target: &mut Vec<u8>) {
        let Self { status, took, bytes_in, bytes_out, cache, reason, .. } = self;
        let RequestFields { time, method, path, client_ip, request_id, .. } = &self.request;
        let CallerFields { subject, provider, credential_kind, .. } = &self.caller;
        let subject = subject.as_deref().unwrap_or(credential_kind);
        let provider = provider.unwrap_or("none");
        let (time, duration_ms) = (humantime::format_rfc3339_millis(*time), milliseconds(*took));
        // Writing to memory cannot fail.
        let _ = writeln!(
            target,
            "{time} {status} {method} {path} {subject} from {client_ip}: {reason}, \
             {bytes_in} B in, {bytes_out} B out, {duration_ms} ms, provider {provider}, \
             cache {cache}, id {request_id}"
        );
    }
}

/// Returns milliseconds, with three digits after the decimal point.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
