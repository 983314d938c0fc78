//! The process of the gate: its resource usage and its output.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, bail};

/// The number of lines of the program log that are kept for the end.
const KEPT: usize = 20;

/// A running gate.
pub struct Gate {
    child: Mutex<Option<Child>>,
    pid: u32,
    readers: Mutex<Vec<JoinHandle<()>>>,
    printed: Arc<Printed>,
}

/// The output of the gate.
#[derive(Default)]
struct Printed {
    access_lines: AtomicU64,
    secrets: AtomicU64,
    complaints: Mutex<Vec<String>>,
}

/// The resource usage of the gate.
#[derive(Clone, Copy)]
pub struct Usage {
    /// The resident memory, in KiB.
    pub memory: u64,
    /// The number of open files, or `None` if this user may not read it.
    pub files: Option<usize>,
}

/// The findings after the gate has ended.
pub struct Ending {
    pub access_lines: u64,
    /// The number of lines that contain a secret.
    pub secrets: u64,
    /// The last warnings and errors that the gate logged.
    pub complaints: Vec<String>,
    /// `true` if the gate exited with success.
    pub clean: bool,
}

impl Gate {
    /// Starts the binary that was built with this program. Searches its output for `secrets`.
    pub fn start(config: &Path, secrets: Vec<String>) -> anyhow::Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_moorgate"))
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let printed = Arc::new(Printed::default());
        let secrets: Arc<[String]> = secrets.into();
        let (out, err) =
            (child.stdout.take().context("no output")?, child.stderr.take().context("no log")?);
        let (first, second) = (printed.clone(), printed.clone());
        let also = secrets.clone();
        let readers = vec![
            std::thread::spawn(move || {
                each_line(out, |line| {
                    first.access_lines.fetch_add(1, Ordering::Relaxed);
                    first.search(line, &secrets);
                });
            }),
            std::thread::spawn(move || {
                each_line(err, |line| {
                    second.search(line, &also);
                    second.complain(line);
                });
            }),
        ];
        let pid = child.id();
        Ok(Self { child: Mutex::new(Some(child)), pid, readers: Mutex::new(readers), printed })
    }

    /// Returns the current usage. After the gate has ended, the memory is zero and the files are
    /// unknown.
    pub fn usage(&self) -> Usage {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).ok().map(Iterator::count);
        Usage { memory: self.status("VmRSS:"), files }
    }

    /// Returns the peak of the memory, in KiB.
    pub fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Stops the gate with SIGTERM.
    pub fn stop(&self) -> anyhow::Result<Ending> {
        let Some(mut child) = lock(&self.child).take() else { bail!("it has ended before") };
        Command::new("kill").args(["-TERM", &self.pid.to_string()]).status()?;
        let clean = child.wait()?.success();
        for reader in lock(&self.readers).drain(..) {
            reader.join().map_err(|_| anyhow::anyhow!("the output could not be read"))?;
        }
        Ok(Ending {
            access_lines: self.printed.access_lines.load(Ordering::Relaxed),
            secrets: self.printed.secrets.load(Ordering::Relaxed),
            complaints: lock(&self.printed.complaints).clone(),
            clean,
        })
    }

    fn status(&self, name: &str) -> u64 {
        let text =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(mut child) = lock(&self.child).take() {
            // The gate may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Printed {
    fn search(&self, line: &str, secrets: &[String]) {
        if secrets.iter().any(|secret| line.contains(secret.as_str())) {
            self.secrets.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn complain(&self, line: &str) {
        if line.contains("\"level\":\"INFO\"") {
            return;
        }
        let mut complaints = lock(&self.complaints);
        if complaints.len() == KEPT {
            complaints.remove(0);
        }
        complaints.push(line.to_owned());
    }
}

fn each_line(from: impl Read, mut with: impl FnMut(&str)) {
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        with(&String::from_utf8_lossy(&line));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
