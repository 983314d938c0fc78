//! The gate with its current configuration. [`Live::apply`] is the only place where a reload
//! changes what is running.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::assemble::{self, Lasting, Sharing};
use super::log_target;
use crate::admin::LastReload;
use crate::config::{self, Config, Loaded, Outline};
use crate::identity::guard::shared_guards::SharedGuards;
use crate::identity::model::keyed_hash::HashKey;
use crate::identity::shared_verdicts::SharedVerdicts;
use crate::limits::Accounts;
use crate::limits::exchange::LeaseExchange;
use crate::limits::shared_uploads::SharedUploads;
use crate::metrics::{Metrics, MetricsFormat};
use crate::record::{AccessLog, Recorder};
use crate::redis_link::RedisLink;
use crate::replicas::{self, Replicas, Shared};
use crate::sealing::TokenKeys;
use crate::server::{ConnectionLimit, Snapshot};

/// The keys of settings that are bound, started or sized at the start and do not change later.
const NEEDS_RESTART: [&str; 8] = [
    "http.addr",
    "http.workers",
    "admin.addr",
    "cache.capacity",
    "cache.negative_capacity",
    "log.format",
    "redis",
    "redis.prefix",
];

/// The longest time for sending the last spans before the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// A gate whose configuration can be replaced while it serves.
pub struct Live {
    newest: watch::Sender<Arc<Snapshot>>,
    last_reload: watch::Sender<Option<Arc<LastReload>>>,
    lasting: Lasting,
    /// The other replicas; `None` without Redis.
    replicas: Option<Arc<Replicas>>,
    connection_limit: Arc<ConnectionLimit>,
    /// The outline of the config with which the process started.
    started: Outline,
    /// The applied configuration. The lock is held for a whole reload, so that there is only one
    /// at a time.
    applied: Mutex<Applied>,
}

/// The configuration that was applied last.
struct Applied {
    running: assemble::RunningSnapshot,
    access: config::AccessLogTarget,
    drain: Drain,
}

/// The durations of a drain.
#[derive(Clone, Copy)]
pub(super) struct Drain {
    /// The time for which the gate continues as before, except for `/readyz`.
    pub(super) delay: Duration,
    /// The time after that within which requests under way must end.
    pub(super) timeout: Duration,
}

/// The changes of a reload: names of keys, never their values.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// The keys whose value has changed, or whose file has other content.
    pub keys: Vec<String>,
    /// The keys whose value differs from the one at the start, and takes effect only after a
    /// restart.
    pub need_restart: Vec<String>,
}

impl Live {
    pub(super) fn new(loaded: Loaded, access_log: AccessLog) -> anyhow::Result<Self> {
        let recorder = Arc::new(Recorder::new(Arc::new(Metrics::new()), access_log));
        let own_key =
            Arc::new(TokenKeys::random().context("no key for gate tokens can be created")?);
        let sharing = sharing(&loaded.config, &recorder);
        let shared = |sharing: &Sharing| {
            let uploads = SharedUploads::new(sharing.link.clone(), Handle::current());
            (sharing.exchange.clone(), uploads)
        };
        let accounts = Arc::new(Accounts::new(sharing.as_ref().map(shared)));
        let lasting = Lasting { recorder, own_key, accounts, sharing };
        let snapshot = Arc::new(assemble::snapshot(&loaded, &lasting, None)?);
        let replicas = replicas(&loaded.config, &lasting, &snapshot);
        lasting
            .recorder
            .metrics
            .certificate_ends(loaded.config.http.tls.as_ref().map(|tls| tls.not_after));
        let newest = watch::Sender::new(snapshot.clone());
        let connection_limit = Arc::new(ConnectionLimit::new(loaded.config.http.max_connections));
        let started = loaded.outline.clone();
        let last_reload = watch::Sender::new(None);
        let applied = Mutex::new(Applied::new(loaded, snapshot));
        Ok(Self { newest, last_reload, lasting, replicas, connection_limit, started, applied })
    }

    /// Replaces the running configuration by `loaded`, completely or not at all. Requests under way
    /// end with the configuration with which they began.
    ///
    /// This takes milliseconds of CPU and reads the system's certificate authorities. The caller
    /// must be within a runtime, but not on a worker.
    ///
    /// # Errors
    /// If the system cannot provide certificate authorities, randomness or a new log file. Nothing
    /// is changed then.
    pub fn apply(&self, loaded: Loaded) -> anyhow::Result<Change> {
        let mut applied = self.lock();
        let old = &applied.running;
        let snapshot = Arc::new(assemble::snapshot(&loaded, &self.lasting, Some(old))?);
        let config = &loaded.config;
        let new_log = if config.log.access == applied.access {
            None
        } else {
            Some(log_target(&config.log.access)?)
        };

        // No step fails from here on.
        let Recorder { metrics, access_log, .. } = &*self.lasting.recorder;
        if let Some(target) = new_log {
            access_log.switch(target);
        }
        metrics.certificate_ends(config.http.tls.as_ref().map(|tls| tls.not_after));
        self.connection_limit.set(config.http.max_connections, &Handle::current());
        self.newest.send_replace(snapshot.clone());
        snapshot.gate.identity.take_over(&old.snapshot.gate.identity, config.cache);

        if let (Some(replicas), Some(keys)) = (&self.replicas, &config.tokens.keys) {
            replicas.set_keys(keys);
        }
        let is_same_redis = old.outline.is_same("redis", &loaded.outline, "redis");
        if let (Some(replicas), Some(redis), false) = (&self.replicas, &config.redis, is_same_redis)
        {
            replicas.link().replace_settings(redis.clone());
        }

        let mut keys = old.outline.changed(&loaded.outline);
        let need_restart: Vec<_> = self.started.changed(&loaded.outline);
        let need_restart: Vec<_> =
            need_restart.into_iter().filter(|key| NEEDS_RESTART.contains(&&**key)).collect();
        keys.retain(|key| !NEEDS_RESTART.contains(&&**key));
        *applied = Applied::new(loaded, snapshot);
        Ok(Change { keys, need_restart })
    }

    /// Reopens the log files, because a program such as logrotate may have moved them. If a file
    /// cannot be opened, the lines still go to the one that is open.
    pub fn reopen_logs(&self) {
        let applied = self.lock();
        if let config::AccessLogTarget::File(_) = applied.access {
            match log_target(&applied.access) {
                Ok(target) => self.lasting.recorder.access_log.switch(target),
                Err(error) => {
                    tracing::error!(
                        "the access log cannot be reopened and stays on the earlier file: {error:#}"
                    );
                }
            }
        }
        applied.running.snapshot.gate.audit.reopen();
    }

    /// Returns the log files that are open.
    pub(super) fn open_logs(&self) -> Vec<PathBuf> {
        let applied = self.lock();
        let access = match &applied.access {
            config::AccessLogTarget::File(path) => Some(path.clone()),
            config::AccessLogTarget::Stdout | config::AccessLogTarget::Off => None,
        };
        let audit = applied.running.snapshot.gate.audit.path().map(Path::to_owned);
        access.into_iter().chain(audit).collect()
    }

    /// Returns the gate's metrics in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        self.newest.borrow().gate.metrics(MetricsFormat::Text)
    }

    /// Waits until the collector has the spans of all requests that have ended, for a few seconds
    /// at most.
    pub(super) async fn flush_traces(&self) {
        let tracer = self.newest.borrow().gate.tracer.clone();
        if let Some(tracer) = tracer {
            tracer.flush(FLUSH_TIMEOUT).await;
        }
    }

    /// Returns a receiver that has the newest snapshot, and is notified of each later one.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.newest.subscribe()
    }

    /// Returns the replicas of the gate, this one among them; `None` without Redis.
    pub fn replicas(&self) -> Option<&Arc<Replicas>> {
        self.replicas.as_ref()
    }

    pub(super) fn connection_limit(&self) -> &Arc<ConnectionLimit> {
        &self.connection_limit
    }

    /// Returns a receiver of the latest attempt to reload; `None` before the first.
    pub(super) fn last_reload(&self) -> watch::Receiver<Option<Arc<LastReload>>> {
        self.last_reload.subscribe()
    }

    /// Records an attempt to reload that has failed, with its problems. Nothing was changed. The
    /// keys of an earlier reload still wait for a restart.
    pub(super) fn refused(&self, problems: Vec<String>) {
        let need_restart = self.last_reload.borrow().as_ref().map(|last| last.need_restart.clone());
        self.tried(problems, need_restart.unwrap_or_default());
    }

    /// Records a reload.
    pub(super) fn reloaded(&self, change: &Change) {
        self.tried(Vec::new(), change.need_restart.clone());
    }

    fn tried(&self, problems: Vec<String>, need_restart: Vec<String>) {
        self.lasting.recorder.metrics.reloaded(problems.is_empty());
        let last = LastReload { at: SystemTime::now(), problems, need_restart };
        self.last_reload.send_replace(Some(Arc::new(last)));
    }

    pub(super) fn drain(&self) -> Drain {
        self.lock().drain
    }

    fn lock(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts to connect to Redis, if the config names one.
fn sharing(config: &Config, recorder: &Arc<Recorder>) -> Option<Sharing> {
    let (redis, keys) = (config.redis.clone()?, config.tokens.keys.clone()?);
    let (metrics, shared_key) = (recorder.metrics.clone(), HashKey::new(keys.shared_hash_key()?));
    let link = RedisLink::start(redis, metrics.clone(), &Handle::current());
    let id = replicas::new_id();
    let exchange = Arc::new(LeaseExchange::new(link.clone()));
    let verdicts = SharedVerdicts::new(link.clone(), keys, metrics, id.as_str().into());
    let guards = SharedGuards::new(link.clone(), shared_key, Handle::current());
    Some(Sharing { id, link, exchange, verdicts: Arc::new(verdicts), guards })
}

/// Joins the other replicas, if there is a Redis.
fn replicas(config: &Config, lasting: &Lasting, snapshot: &Snapshot) -> Option<Arc<Replicas>> {
    let (sharing, keys) = (lasting.sharing.as_ref()?, config.tokens.keys.as_ref()?);
    let shared = Shared {
        link: sharing.link.clone(),
        verdicts: sharing.verdicts.clone(),
        exchange: sharing.exchange.clone(),
        accounts: lasting.accounts.clone(),
        guards: sharing.guards.clone(),
    };
    let revoker = snapshot.gate.identity.revoker();
    let replicas = Arc::new(Replicas::new(shared, keys.clone(), revoker, sharing.id.clone()));
    replicas.set_keys(keys);
    replicas.run(lasting.recorder.metrics.clone());
    Some(replicas)
}

impl Applied {
    fn new(loaded: Loaded, snapshot: Arc<Snapshot>) -> Self {
        let Loaded { config: Config { http, log, .. }, outline, .. } = loaded;
        Self {
            running: assemble::RunningSnapshot { snapshot, outline },
            access: log.access,
            drain: Drain { delay: http.drain_delay, timeout: http.drain_timeout },
        }
    }
}
