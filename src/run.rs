//! The life of a gate: from a checked config to a running gate, its reloads, and its end.

mod assemble;
mod listeners;
mod live;
mod providers;
mod reload;
mod service_manager;
mod telemetry;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use tokio::sync::watch;

use crate::admin::{Admin, Process};
use crate::config::{self, Config, Loaded};
use crate::gate::RuleBook;
use crate::record::{AccessLog, LogFormat, LogTarget, Target};
use crate::replicas::Replicas;
use crate::server::{ListenerHealth, Pulse, Server, Snapshot};
use live::Drain;

pub use assemble::{registry_origins, registry_tokens};
pub use listeners::{Listeners, PassedSockets};
pub use live::{Change, Live};
pub use reload::{ConfigSource, Reloader, SetLevel, WatchIntervals};
pub use service_manager::ServiceManager;

/// The longest time for which a gate that starts waits to hear from other replicas.
const LONGEST_START: Duration = Duration::from_millis(1500);

/// A running gate.
pub struct Running {
    server: Server,
    live: Arc<Live>,
    draining: watch::Sender<bool>,
    ready: watch::Receiver<bool>,
}

impl Running {
    /// Starts a gate. The questions to providers and the admin listener run on the current tokio
    /// runtime.
    ///
    /// # Errors
    /// If the system cannot provide certificate authorities, randomness or threads.
    pub fn start(
        loaded: Loaded,
        listeners: Listeners,
        access_log: AccessLog,
    ) -> anyhow::Result<Self> {
        let live = Arc::new(Live::new(loaded, access_log)?);
        let (draining, told) = watch::channel(false);
        let snapshots = live.snapshots();
        let health = Arc::new(ListenerHealth::default());
        let process = Process {
            workers: listeners.public.len(),
            listener_health: health.clone(),
            connection_limit: live.connection_limit().clone(),
            started: SystemTime::now(),
            running_since: Instant::now(),
        };
        let admin = Admin {
            snapshots: snapshots.clone(),
            draining: told,
            last_reload: live.last_reload(),
            process,
            replicas: live.replicas().cloned(),
        };
        tokio::spawn(admin.serve(listeners.admin, listeners.admin_is_shared));
        let (limit, ready) = (live.connection_limit(), ready(live.replicas()));
        let server = Server::start(listeners.public, limit, &health, &snapshots, &ready)?;
        Ok(Self { server, live, draining, ready })
    }

    /// Returns the live gate, which can be reloaded.
    pub fn live(&self) -> Arc<Live> {
        self.live.clone()
    }

    /// Waits until the workers take connections.
    pub async fn serves(&self) {
        // The sender ends only after it has sent `true`.
        let _ = self.ready.clone().wait_for(|ready| *ready).await;
    }

    /// Returns the pulse of the workers, which shows whether they are alive.
    pub fn pulse(&self) -> Pulse {
        self.server.pulse()
    }

    /// Returns the gate's metrics in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        self.live.metrics()
    }

    /// Continues for `http.drain_delay` with `/readyz` at 503, while responses ask clients to
    /// leave. Then takes no new connections and lets requests under way end, for as long as the
    /// config allows, and sends their spans. Returns the number of connections that had to be cut
    /// off.
    pub async fn drain(self) -> usize {
        let Drain { delay, timeout } = self.live.drain();
        self.draining.send_replace(true);
        self.server.leave();
        tokio::time::sleep(delay).await;
        let cut_off = self.server.drain(timeout).await;
        if let Some(replicas) = self.live.replicas() {
            replicas.leave().await;
        }
        self.live.flush_traces().await;
        cut_off
    }
}

/// Returns a receiver of `true` once the gate may serve: when it knows what an operator has revoked
/// at other replicas, or after a while without Redis.
fn ready(replicas: Option<&Arc<Replicas>>) -> watch::Receiver<bool> {
    let (ready, told) = watch::channel(replicas.is_none());
    if let Some(replicas) = replicas.cloned() {
        tokio::spawn(async move {
            replicas.has_caught_up(LONGEST_START).await;
            ready.send_replace(true);
        });
    }
    told
}

/// Creates a gate that explains requests. It does not listen, and writes no log.
///
/// # Errors
/// If the system cannot provide certificate authorities, randomness or threads.
pub(crate) fn unserved(mut loaded: Loaded) -> anyhow::Result<Arc<Snapshot>> {
    loaded.config.log.audit = None;
    loaded.config.redis = None;
    loaded.config.telemetry = None;
    let access_log = AccessLog::start(LogFormat::Json, None)?;
    let snapshot = Live::new(loaded, access_log)?.snapshots().borrow().clone();
    Ok(snapshot)
}

/// Creates the rules of a config. It reads no file, starts no thread and asks no server.
///
/// # Errors
/// If the system cannot provide randomness.
pub(crate) fn rule_book(config: &Config) -> anyhow::Result<RuleBook> {
    assemble::rule_book(config)
}

/// Opens the access log of the config.
///
/// # Errors
/// If its file cannot be opened, or no thread can be started.
pub fn access_log(log: &config::Log) -> anyhow::Result<AccessLog> {
    Ok(AccessLog::start(log.format, log_target(&log.access)?)?)
}

fn log_target(access: &config::AccessLogTarget) -> anyhow::Result<Target> {
    match access {
        config::AccessLogTarget::Off => Ok(None),
        config::AccessLogTarget::Stdout => {
            // Without the buffer of `io::stdout`, so that it is known which lines were written.
            let stdout = io::stdout().as_fd().try_clone_to_owned();
            let stdout = File::from(stdout.context("log.access: cannot use standard output")?);
            Ok(Some(LogTarget::Other(Box::new(stdout))))
        }
        config::AccessLogTarget::File(path) => {
            AccessLog::open(path).context("log.access: the gate cannot append to this file")
        }
    }
}
