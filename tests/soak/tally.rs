//! The counters, and the table at the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::classes::CLASSES;
use crate::process::{Ending, Usage};

/// The number of shown examples of each kind of trouble.
const SHOWN: usize = 20;

/// The largest memory that the gate may reach under this load, in MiB.
const MEMORY: u64 = 128;

/// The largest growth of the number of open files after all clients have gone. The files are pooled
/// connections to the registry and the providers.
const FILES: usize = 150;

#[derive(Default)]
pub struct Tally {
    honest: AtomicU64,
    forwarded: AtomicU64,
    told_to_wait: AtomicU64,
    outages: AtomicU64,
    unauthorised: Trouble,
    errors: Trouble,
    not_refused: Trouble,
    left_open: Trouble,
    hostile: Mutex<BTreeMap<usize, u64>>,
}

/// A kind of failure: its count and its first examples.
#[derive(Default)]
struct Trouble {
    count: AtomicU64,
    first: Mutex<Vec<String>>,
}

/// The resource usage of the gate at the start and at the end, without clients.
pub struct Usages {
    pub start: Usage,
    pub end: Usage,
}

impl Trouble {
    fn add(&self, what: String) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.len() < SHOWN {
            first.push(what);
        }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn first(&self) -> Vec<String> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Tally {
    /// Counts a request of an honest client.
    pub fn honest(&self) {
        self.honest.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a wrong result of an honest client.
    pub fn error(&self, what: String) {
        self.errors.add(what);
    }

    /// Counts an honest client that was told to retry in an outage.
    pub fn told_to_wait(&self) {
        self.told_to_wait.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an outage of a provider.
    pub fn outage(&self) {
        self.outages.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts requests that reached the registry.
    pub fn forwarded(&self, count: usize) {
        self.forwarded.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Counts a request that must not have reached the registry.
    pub fn unauthorised(&self, what: String) {
        self.unauthorised.add(what);
    }

    /// Counts hostile requests of a class, by its index in [`CLASSES`].
    pub fn hostile(&self, class: usize, requests: u64) {
        let mut hostile = self.hostile.lock().unwrap_or_else(PoisonError::into_inner);
        *hostile.entry(class).or_default() += requests;
    }

    /// Counts a hostile request that was answered like an allowed one.
    pub fn not_refused(&self, what: String) {
        self.not_refused.add(what);
    }

    /// Counts a hostile connection that was neither answered nor closed.
    pub fn left_open(&self, what: String) {
        self.left_open.add(what);
    }

    /// Returns the progress line.
    pub fn line(&self, since: Duration, usage: Usage) -> String {
        format!(
            "{:>5} s  {:>9} hostile  {:>8} honest  {} unauthorised  {} not refused  \
             {} errors  {} MiB  {} files",
            since.as_secs(),
            self.hostile_requests(),
            self.honest.load(Ordering::Relaxed),
            self.unauthorised.count(),
            self.not_refused.count() + self.left_open.count(),
            self.errors.count(),
            usage.memory / 1024,
            files(usage.files),
        )
    }

    /// Returns the table, and whether all its bounds hold.
    pub fn table(
        &self,
        took: Duration,
        usage: Usages,
        peak: u64,
        ending: &Ending,
    ) -> (String, bool) {
        let (honest, hostile) = (self.honest.load(Ordering::Relaxed), self.hostile_requests());
        let mut table = Table::default();
        table.row("time", format!("{} s", took.as_secs()));
        table.row("requests", honest + hostile);
        table.row("honest requests", honest);
        table.row("hostile requests", hostile);
        for (number, class) in CLASSES.iter().enumerate() {
            let count =
                self.hostile.lock().unwrap_or_else(PoisonError::into_inner).get(&number).copied();
            table.row(&format!("  {:>2}  {}", class.number, class.what), count.unwrap_or(0));
        }
        table.row("requests that reached the registry", self.forwarded.load(Ordering::Relaxed));
        table.row("lines of the access log", ending.access_lines);
        table.row("outages of a provider", self.outages.load(Ordering::Relaxed));
        table.row(
            "honest clients told to come back, in outages",
            self.told_to_wait.load(Ordering::Relaxed),
        );
        table.must("unauthorised forwards", self.unauthorised.count(), 0);
        table.must("hostile requests that were not refused", self.not_refused.count(), 0);
        table.must("hostile connections left open", self.left_open.count(), 0);
        table.must("errors seen by honest clients", self.errors.count(), 0);
        table.must("secrets in the logs", ending.secrets, 0);
        table.row("memory at the start", mebibytes(usage.start.memory));
        table.bound(
            "memory at most",
            mebibytes(peak),
            peak / 1024 <= MEMORY,
            &format!("{MEMORY} MiB"),
        );
        table.row("memory at the end", mebibytes(usage.end.memory));
        let (start, end) = (usage.start.files, usage.end.files);
        table.row("descriptors at the start", files(start));
        let most = start.unwrap_or(0) + FILES;
        table.bound(
            "descriptors at the end",
            files(end),
            end.is_none_or(|end| end <= most),
            &most.to_string(),
        );
        table.bound("the gate ended well", ending.clean, ending.clean, "true");
        for (what, trouble) in [
            ("unauthorised", &self.unauthorised),
            ("not refused", &self.not_refused),
            ("left open", &self.left_open),
            ("error", &self.errors),
        ] {
            for line in trouble.first() {
                table.note(&format!("{what}: {line}"));
            }
        }
        if !table.good() {
            for line in &ending.complaints {
                table.note(line);
            }
        }
        (table.text, !table.failed)
    }

    fn hostile_requests(&self) -> u64 {
        self.hostile.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

/// Lines of a name and a figure, and whether a bound failed.
#[derive(Default)]
struct Table {
    text: String,
    failed: bool,
}

impl Table {
    fn row(&mut self, name: &str, value: impl ToString) {
        self.text.push_str(&format!("{name:<62}{:>12}\n", value.to_string()));
    }

    fn must(&mut self, name: &str, value: u64, right: u64) {
        self.bound(name, value, value == right, &right.to_string());
    }

    fn bound(&mut self, name: &str, value: impl ToString, holds: bool, bound: &str) {
        let verdict = if holds { "" } else { "  FAILED" };
        self.text
            .push_str(&format!("{name:<62}{:>12}  (bound: {bound}){verdict}\n", value.to_string()));
        self.failed |= !holds;
    }

    fn note(&mut self, line: &str) {
        self.text.push_str(&format!("  {line}\n"));
    }

    fn good(&self) -> bool {
        !self.failed
    }
}

fn mebibytes(kibibytes: u64) -> String {
    format!("{} MiB", kibibytes / 1024)
}

fn files(files: Option<usize>) -> String {
    files.map_or_else(|| "unknown".to_owned(), |files| files.to_string())
}
