//! `moorgate serve`

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::check_config::EXIT_BAD_CONFIG;
use super::{environment, failed, logging};
use crate::config::{self, FileVersion, LoadAttempt, Loaded};
use crate::net::open_files::raise_limit;
use crate::run::{
    ConfigSource, Listeners, PassedSockets, Reloader, Running, ServiceManager, SetLevel,
    WatchIntervals, access_log,
};

/// Runs the gate of a config file until a signal ends it.
pub(super) fn serve(path: &Path) -> ExitCode {
    let source = ConfigSource { path: path.to_owned(), environment: environment().collect() };
    let LoadAttempt { loaded, files } =
        config::attempt(&source.path, source.environment.iter().cloned());
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(EXIT_BAD_CONFIG);
        }
    };
    let set_level = logging::start(loaded.config.log.level, loaded.config.log.format);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let passed = match PassedSockets::from_environment() {
        Ok(passed) => passed,
        Err(error) => return failed(&error),
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    match runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(loaded, passed, source, files, set_level)))
    {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

async fn run(
    loaded: Loaded,
    passed: PassedSockets,
    source: ConfigSource,
    files: Vec<FileVersion>,
    set_level: SetLevel,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let hangup = signal(SignalKind::hangup())?;
    let config = &loaded.config;
    raise_limit(config.http.max_connections);
    let from_systemd = passed.addresses();
    let listeners = Listeners::open(config, passed)?;
    let access_log = access_log(&config.log)?;
    let (addr, admin) = (config.http.addr, config.admin.addr);
    let tls = config.http.tls.is_some();
    let running = Running::start(loaded, listeners, access_log)?;
    let manager = Arc::new(ServiceManager::default());
    let reloader = Reloader::new(running.live(), source, files, WatchIntervals::default())
        .with_level(set_level)
        .with_manager(manager.clone());
    tokio::spawn(reloader.run(hangup));
    tokio::spawn(ServiceManager::tell_watchdog(running.pulse()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %addr, tls, %admin, "moorgate serves");
    if !from_systemd.is_empty() {
        tracing::info!("systemd passed the sockets: {from_systemd:?}");
    }

    let name = tokio::select! {
        name = signals.next() => name,
        () = running.serves() => {
            manager.serving();
            signals.next().await
        }
    };
    manager.stopping();
    tracing::info!("{name} received; the gate drains, and requests in progress may finish");
    let left = tokio::select! {
        left = running.drain() => left,
        name = signals.next() => {
            tracing::warn!("{name} received during the drain; the gate ends at once");
            return Ok(ExitCode::FAILURE);
        }
    };
    if left > 0 {
        tracing::warn!(
            connections = left,
            "http.drain_timeout has passed: connections were cut off"
        );
    }
    tracing::info!("moorgate has ended");
    Ok(ExitCode::SUCCESS)
}

/// The signals that end the gate.
struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and returns its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
