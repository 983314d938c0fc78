//! Reloads of the configuration: on a hang-up signal, and when the content of a file that it names
//! changes.
//!
//! Contents are compared every few seconds. Kubernetes replaces the files of a pod through a
//! symbolic link, which a watch on a file does not notice. Other programs rename a file into place,
//! or write it in place.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::Signal;
use tokio::time::sleep;

use super::{Live, ServiceManager};
use crate::config::{self, FileVersion, LoadAttempt, Problem};

/// The largest number of waits for a file that keeps changing. Then the file is read in its current
/// state.
const SETTLE_AT_MOST: usize = 10;

/// The location of the configuration.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    /// The configuration file.
    pub path: PathBuf,
    /// The environment variables that override values of the file.
    pub environment: Vec<(String, String)>,
}

/// The intervals of checks of the files.
#[derive(Clone, Copy, Debug)]
pub struct WatchIntervals {
    /// The time between two checks.
    pub interval: Duration,
    /// The time for which a changed file must stay the same before it is read, because its writer
    /// may not have finished.
    pub settle: Duration,
}

impl Default for WatchIntervals {
    fn default() -> Self {
        Self { interval: Duration::from_secs(3), settle: Duration::from_millis(200) }
    }
}

/// The task that reloads a gate.
pub struct Reloader {
    live: Arc<Live>,
    source: ConfigSource,
    intervals: WatchIntervals,
    /// The files as they were at the latest attempt, even if it failed: a bad file is tried and
    /// reported once.
    tried: Vec<FileVersion>,
    set_level: Option<SetLevel>,
    manager: Arc<ServiceManager>,
}

/// A function that sets the level of the program log.
pub type SetLevel = Box<dyn Fn(tracing::Level) + Send + Sync>;

impl Reloader {
    /// Creates a reloader of `live`, which was started with the configuration read from `source`.
    /// `files` are the files of that reading.
    pub fn new(
        live: Arc<Live>,
        source: ConfigSource,
        files: Vec<FileVersion>,
        intervals: WatchIntervals,
    ) -> Self {
        let manager = Arc::default();
        Self { live, source, intervals, tried: files, set_level: None, manager }
    }

    /// Lets a reload change `log.level` too.
    #[must_use]
    pub fn with_level(self, set_level: SetLevel) -> Self {
        Self { set_level: Some(set_level), ..self }
    }

    /// Tells this service manager about reloads.
    #[must_use]
    pub fn with_manager(self, manager: Arc<ServiceManager>) -> Self {
        Self { manager, ..self }
    }

    /// Reloads on each signal and on each change of a file, for as long as the runtime lives. Files
    /// are read and snapshots are built on a thread for blocking work.
    pub async fn run(mut self, mut hangup: Signal) {
        loop {
            let hung_up = tokio::select! {
                told = hangup.recv() => told.is_some(),
                () = sleep(self.intervals.interval) => false,
            };
            let live = self.live.clone();
            let work = tokio::task::spawn_blocking(move || {
                if hung_up {
                    self.reload(true);
                } else {
                    self.check();
                }
                self
            });
            match work.await {
                Ok(reloader) => self = reloader,
                Err(error) => {
                    let ended = "the reload task has failed; restart the gate to change its config";
                    live.refused(vec![ended.to_owned()]);
                    tracing::error!("{ended}: {error}");
                    return;
                }
            }
        }
    }

    /// Reloads if a file has changed since the latest attempt. Returns whether there was an
    /// attempt.
    pub fn check(&mut self) -> bool {
        let seen = now(&self.tried);
        if seen == self.tried {
            return false;
        }
        settle(seen, || std::thread::sleep(self.intervals.settle));
        self.reload(false);
        true
    }

    /// Reads the configuration and applies it if it has no problems. Reports the outcome in the log
    /// and in `config_reload_success`, and returns whether the configuration was applied. If
    /// `reopen_logs` is `true`, log files are reopened in any case, because a program such as
    /// logrotate may have moved them.
    pub fn reload(&mut self, reopen_logs: bool) -> bool {
        let begun = Instant::now();
        let manager = self.manager.clone();
        let report = manager.reloading();
        let environment = self.source.environment.iter().cloned();
        let LoadAttempt { loaded, files } =
            config::attempt_again(&self.source.path, environment, &self.live.open_logs());
        self.tried = files;
        let applied = match loaded {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    tracing::warn!("{warning}");
                }
                let level = loaded.config.log.level;
                let applied = self.live.apply(loaded);
                if let (Some(set_level), Ok(_)) = (&self.set_level, &applied) {
                    set_level(level);
                }
                applied.map_err(|error| vec![ReloadError::from_system(&error)])
            }
            Err(problems) => Err(problems.iter().map(ReloadError::from_config).collect()),
        };
        // The logs are reopened even if the config is bad, because the program that moved the files
        // does not know about the config.
        if reopen_logs {
            self.live.reopen_logs();
        }
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &applied {
            Ok(change) => {
                self.live.reloaded(change);
                if !change.need_restart.is_empty() {
                    tracing::warn!(
                        "these keys take effect only with a restart: {}",
                        change.need_restart.join(", ")
                    );
                }
                let changed = if change.keys.is_empty() {
                    "nothing".to_owned()
                } else {
                    change.keys.join(", ")
                };
                tracing::info!(took_ms, "reloaded; changed: {changed}");
            }
            Err(problems) => {
                self.live.refused(problems.iter().map(|problem| problem.shown.clone()).collect());
                for ReloadError { logged, .. } in problems {
                    tracing::error!("not reloaded: {logged}");
                }
                tracing::error!(
                    took_ms,
                    problems = problems.len(),
                    "not reloaded: the running config stays in use"
                );
            }
        }
        report.end(applied.is_ok());
        applied.is_ok()
    }
}

/// The reason why nothing was reloaded.
struct ReloadError {
    logged: String,
    /// The error without any value of the config, because a value may be a secret in the wrong
    /// place.
    shown: String,
}

impl ReloadError {
    fn from_config(problem: &Problem) -> Self {
        Self { logged: problem.to_string(), shown: problem.place.to_string() }
    }

    /// Creates an error about the system. Its text contains keys and no values.
    fn from_system(error: &anyhow::Error) -> Self {
        let text = format!("{error:#}");
        Self { logged: text.clone(), shown: text }
    }
}

/// Waits until the files stop changing.
fn settle(mut seen: Vec<FileVersion>, mut wait: impl FnMut()) {
    for _ in 0..SETTLE_AT_MOST {
        wait();
        let again = now(&seen);
        if again == seen {
            return;
        }
        seen = again;
    }
}

fn now(files: &[FileVersion]) -> Vec<FileVersion> {
    files.iter().map(FileVersion::now).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_being_written_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("half");
        let seen = || config::attempt(&path, []).files;
        let mut waits = 0;
        settle(seen(), || {
            waits += 1;
            write("whole");
        });
        assert_eq!(waits, 2, "the second wait saw no change");
        waits = 0;
        settle(seen(), || {
            waits += 1;
            write(&waits.to_string());
        });
        assert_eq!(waits, SETTLE_AT_MOST, "the number of waits is limited");
    }
}
