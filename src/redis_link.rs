//! The link to a Redis or Valkey, through which several gates act as one.
//!
//! No request waits for a server that does not answer: the first question that is not answered in
//! time takes the link down, and while it is down every question fails at once. A task in the
//! background connects again, and the link is up as soon as a key was written and read.
//!
//! ```text
//! call ─> session ─> one connection, or the nodes of a cluster ─> guarded ─> TLS ─> server
//!            ^ keeper: connects, logs in, writes a key; once a second looks whether all is well
//! ```
//!
//! The link knows servers and their answers, and nothing of what the gate keeps there.

mod cluster;
mod connection;
mod fault;
mod guarded;
mod keeper;
mod scanner;
mod script;
mod session;
mod settings;
mod streams;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use redis::FromRedisValue;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::log_throttle::LogThrottle;
use crate::metrics::Metrics;
use connection::{Dialer, Failure};
use session::Session;

pub use fault::RedisFault;
pub use script::RedisScript;
pub use settings::{RedisAddress, RedisSettings, RedisShape, RedisTls};
pub use streams::StreamEntry;

/// The link to a Redis or Valkey.
pub struct RedisLink {
    settings: Mutex<Arc<RedisSettings>>,
    /// The connections; `None` while the link is down.
    session: Mutex<Option<Arc<Session>>>,
    up: AtomicBool,
    told: watch::Sender<bool>,
    /// Wakes the keeper.
    wake: Arc<Notify>,
    /// `true` if the settings were replaced since the keeper has seen them.
    replaced: AtomicBool,
    begun: Instant,
    /// The time of the last answer, in milliseconds since `begun`.
    answered: AtomicU64,
    attempts: AtomicUsize,
    runtime: Handle,
    metrics: Arc<Metrics>,
    log: LogThrottle,
    seen: Mutex<RedisSeen>,
}

/// The state of the link as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSeen {
    pub is_up: bool,
    /// The time since which it is so.
    pub since: SystemTime,
    /// The last time at which Redis could not be used, and why.
    pub failed: Option<(SystemTime, RedisFault)>,
}

/// Redis has not answered, or not in a way that can be used. The gate goes on alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis gave no answer that can be used")]
pub struct RedisAway;

impl RedisLink {
    /// Creates a link, which connects in the background on `runtime`.
    pub fn start(settings: RedisSettings, metrics: Arc<Metrics>, runtime: &Handle) -> Arc<Self> {
        metrics.redis_up(false);
        let link = Arc::new(Self {
            settings: Mutex::new(Arc::new(settings)),
            session: Mutex::default(),
            up: AtomicBool::new(false),
            told: watch::Sender::new(false),
            wake: Arc::default(),
            replaced: AtomicBool::new(false),
            begun: Instant::now(),
            answered: AtomicU64::new(0),
            attempts: AtomicUsize::new(0),
            runtime: runtime.clone(),
            metrics,
            log: LogThrottle::default(),
            seen: Mutex::new(RedisSeen { is_up: false, since: SystemTime::now(), failed: None }),
        });
        runtime.spawn(keeper::supervise(Arc::downgrade(&link), link.wake.clone()));
        link
    }

    /// Replaces the settings, such as after a change of the password, and connects with them at
    /// once. Until then the old connections are used.
    pub fn replace_settings(&self, settings: RedisSettings) {
        *lock(&self.settings) = Arc::new(settings);
        self.replaced.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Returns the beginning of every key.
    pub fn prefix(&self) -> Arc<str> {
        lock(&self.settings).prefix.clone()
    }

    /// Returns the longest time for one question.
    pub fn timeout(&self) -> Duration {
        lock(&self.settings).timeout
    }

    /// Returns whether the link is up.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Returns the state of the link for operators.
    pub fn seen(&self) -> RedisSeen {
        lock(&self.seen).clone()
    }

    /// Returns a receiver that always knows whether the link is up.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.told.subscribe()
    }

    /// Runs a script. All keys must be in one slot of a cluster. `operation` is the label of the
    /// question in the metrics.
    ///
    /// # Errors
    /// The link is down, which is known at once; Redis has not answered in time, after which the
    /// link is down; or the answer is not a `T`.
    pub async fn call<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &RedisScript,
        keys: &[String],
        args: &[Vec<u8>],
    ) -> Result<T, RedisAway> {
        self.call_within(Duration::MAX, operation, script, keys, args).await
    }

    /// Does the same as [`call`](Self::call), with less time for the answer. The link stays up if
    /// that time has passed.
    ///
    /// # Errors
    /// The same as those of `call`.
    pub async fn call_within<T: FromRedisValue>(
        &self,
        time: Duration,
        operation: &'static str,
        script: &RedisScript,
        keys: &[String],
        args: &[Vec<u8>],
    ) -> Result<T, RedisAway> {
        let session = self.session().ok_or(RedisAway)?;
        let begun = Instant::now();
        let limit = session.settings.timeout;
        if time.is_zero() {
            return Err(RedisAway);
        }
        let answer = match timeout(limit.min(time), session.run(script, keys, args)).await {
            Ok(answer) => answer,
            Err(_) if time < limit => return Err(RedisAway),
            Err(_) => {
                let waited = humantime::format_duration(limit);
                let what = format!("no answer to the question `{operation}` within {waited}");
                self.broke(&session, &RedisFault::late(what));
                return Err(RedisAway);
            }
        };
        match answer {
            Ok(value) => {
                self.metrics.redis_answered(operation, begun.elapsed());
                self.was_answered();
                redis::from_redis_value(value).map_err(|error| {
                    self.log_nonsense(operation, &session, &error.into());
                    RedisAway
                })
            }
            Err(failure) => Err(self.failed(operation, &session, failure)),
        }
    }

    /// Deals with the failure of a question.
    fn failed(
        &self,
        operation: &'static str,
        session: &Arc<Session>,
        failure: Failure,
    ) -> RedisAway {
        match failure {
            Failure::Link(fault) => self.broke(session, &fault),
            Failure::Question(error) => {
                self.was_answered();
                self.log_nonsense(operation, session, &error);
            }
        }
        RedisAway
    }

    /// Returns the connections; `None` while the link is down.
    fn session(&self) -> Option<Arc<Session>> {
        if self.is_up() { lock(&self.session).clone() } else { None }
    }

    /// Takes the link down, unless it has other connections by now.
    fn broke(&self, session: &Arc<Session>, fault: &RedisFault) {
        let mut present = lock(&self.session);
        if !present.as_ref().is_some_and(|present| Arc::ptr_eq(present, session)) {
            return;
        }
        *present = None;
        self.tell(false);
        drop(present);
        self.failed_with(fault);
        self.wake.notify_one();
    }

    /// Takes the link up with these connections, or down.
    fn set_session(&self, session: Option<Arc<Session>>) {
        let mut present = lock(&self.session);
        let up = session.is_some();
        let _old = std::mem::replace(&mut *present, session);
        self.tell(up);
    }

    /// Makes known whether the link is up. The caller holds the lock of the session.
    fn tell(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
        self.metrics.redis_up(up);
        self.told.send_if_modified(|told| std::mem::replace(told, up) != up);
        let mut seen = lock(&self.seen);
        if seen.is_up != up {
            (seen.is_up, seen.since) = (up, SystemTime::now());
        }
    }

    fn was_answered(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.answered.store(now, Ordering::Relaxed);
    }

    /// Returns the time since the last answer.
    fn idle(&self) -> Duration {
        let answered = Duration::from_millis(self.answered.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(answered)
    }

    fn dialer(&self, settings: Arc<RedisSettings>) -> Result<Dialer, RedisFault> {
        Dialer::new(settings, self.runtime.clone(), self.wake.clone())
    }

    fn failed_with(&self, fault: &RedisFault) {
        lock(&self.seen).failed = Some((SystemTime::now(), fault.clone()));
        self.log_down(fault);
    }

    fn log_down(&self, fault: &RedisFault) {
        if let Some(left_out) = self.log.line(&fault.kind, Instant::now()) {
            let repeated = left_out.same;
            tracing::warn!(repeated, "Redis cannot be used, and the gate goes on alone: {fault}");
        }
    }

    fn log_up(&self) {
        if let Some(left_out) = self.log.line(&"up", Instant::now()) {
            tracing::info!(repeated = left_out.same, "Redis can be used");
        }
    }

    fn log_nonsense(&self, operation: &'static str, session: &Session, error: &redis::RedisError) {
        if let Some(left_out) = self.log.line(&(operation, "nonsense"), Instant::now()) {
            let (repeated, error) = (left_out.same, fault::quoted(error, &session.settings));
            tracing::warn!(
                repeated,
                "the answer of Redis to the question `{operation}` cannot be used ({error}); \
                 check that no other program writes keys that begin with redis.prefix"
            );
        }
    }
}

impl Drop for RedisLink {
    fn drop(&mut self) {
        // The keeper ends.
        self.wake.notify_one();
    }
}

/// Connects to Redis once, and writes and reads a key there.
///
/// # Errors
/// The reason for which Redis cannot be used.
pub async fn check(settings: RedisSettings) -> Result<(), RedisFault> {
    let limit = connect_limit(&settings);
    let dialer = Dialer::new(Arc::new(settings), Handle::current(), Arc::default())?;
    Session::open(dialer, &AtomicUsize::new(0), limit).await.map(drop)
}

/// Returns the longest time for connecting, until a key was written.
pub fn connect_limit(settings: &RedisSettings) -> Duration {
    settings.timeout.max(Duration::from_secs(1))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
