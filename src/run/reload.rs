//! Reads the configuration again: when told to, and when a file that it names has another content.
//!
//! Contents are compared every few seconds: Kubernetes swaps the files of a pod by a symbolic link,
//! which a watch on a file does not see, and a file may come by a rename, or be written in place.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::Signal;
use tokio::time::sleep;

use super::Live;
use crate::config::{self, FileVersion, LoadAttempt, Problem};

/// How many times a file that keeps changing is waited for. Then it is read as it is.
const SETTLE_AT_MOST: usize = 10;

/// Where the configuration is.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    /// Its file.
    pub path: PathBuf,
    /// The variables that override it.
    pub environment: Vec<(String, String)>,
}

/// How often files are looked at.
#[derive(Clone, Copy, Debug)]
pub struct WatchIntervals {
    /// Between two looks.
    pub interval: Duration,
    /// What has changed must stay the same for so long: whoever writes it may not be done.
    pub settle: Duration,
}

impl Default for WatchIntervals {
    fn default() -> Self {
        Self { interval: Duration::from_secs(3), settle: Duration::from_millis(200) }
    }
}

/// Reloads a gate.
pub struct Reloader {
    live: Arc<Live>,
    source: ConfigSource,
    intervals: WatchIntervals,
    /// The files as they were when they were tried last, whatever came of it: a bad one is tried
    /// and told of once.
    tried: Vec<FileVersion>,
    set_level: Option<SetLevel>,
}

/// Makes the program's own log tell more or less.
pub type SetLevel = Box<dyn Fn(tracing::Level) + Send + Sync>;

impl Reloader {
    /// Reloads `live`, which was started with what was read from `source`; `files` are the files of
    /// that reading.
    pub fn new(
        live: Arc<Live>,
        source: ConfigSource,
        files: Vec<FileVersion>,
        intervals: WatchIntervals,
    ) -> Self {
        Self { live, source, intervals, tried: files, set_level: None }
    }

    /// Lets a reload change `log.level` too.
    #[must_use]
    pub fn with_level(self, set_level: SetLevel) -> Self {
        Self { set_level: Some(set_level), ..self }
    }

    /// Reloads whenever there is a reason to, for as long as the runtime lives. Files are read, and
    /// what is made of them is built, on a thread for such things.
    pub async fn run(mut self, mut hangup: Signal) {
        loop {
            let hung_up = tokio::select! {
                told = hangup.recv() => told.is_some(),
                () = sleep(self.intervals.interval) => false,
            };
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
                    tracing::error!("no reload is possible any more: {error}");
                    return;
                }
            }
        }
    }

    /// Reloads if a file has changed since the last try, and says whether it tried.
    pub fn check(&mut self) -> bool {
        let seen = now(&self.tried);
        if seen == self.tried {
            return false;
        }
        settle(seen, || std::thread::sleep(self.intervals.settle));
        self.reload(false);
        true
    }

    /// Reads the configuration, and replaces what is running if nothing is wrong with it. Says so
    /// in the log and in `config_reload_success`. `reopen_logs`: log files are opened anew, as
    /// logrotate wants it, whatever else.
    pub fn reload(&mut self, reopen_logs: bool) -> bool {
        let begun = Instant::now();
        let LoadAttempt { loaded, files } =
            config::attempt(&self.source.path, self.source.environment.iter().cloned());
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
        // Whatever became of the config: whoever has moved the files away knows nothing of it.
        if reopen_logs {
            self.live.reopen_logs();
        }
        let shown = |errors: &Vec<ReloadError>| {
            errors.iter().map(|refusal| refusal.shown.clone()).collect()
        };
        self.live.tried(applied.as_ref().err().map(shown).unwrap_or_default());
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &applied {
            Ok(change) => {
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
                for ReloadError { logged, .. } in problems {
                    tracing::error!("not reloaded: {logged}");
                }
                tracing::error!(
                    took_ms,
                    problems = problems.len(),
                    "not reloaded: what was running goes on"
                );
            }
        }
        applied.is_ok()
    }
}

/// Why nothing was reloaded.
struct ReloadError {
    logged: String,
    /// The same without any value of the config, which may be a secret that stands in the wrong
    /// place.
    shown: String,
}

impl ReloadError {
    fn from_config(problem: &Problem) -> Self {
        Self { logged: problem.to_string(), shown: problem.place.to_string() }
    }

    /// It names keys and files.
    fn from_system(error: &anyhow::Error) -> Self {
        let text = format!("{error:#}");
        Self { logged: text.clone(), shown: text }
    }
}

/// Waits until files stay as they are.
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
        assert_eq!(waits, 2, "the second saw no change");
        waits = 0;
        settle(seen(), || {
            waits += 1;
            write(&waits.to_string());
        });
        assert_eq!(waits, SETTLE_AT_MOST, "not for ever");
    }
}
