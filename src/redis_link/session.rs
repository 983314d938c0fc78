//! The connections of a link that is up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Cmd, RedisError, Value};
use tokio::time::timeout;

use super::cluster::Cluster;
use super::connection::{Dialer, Failure, RedisConnection};
use super::fault::{RedisFault, quoted};
use super::script::RedisScript;
use super::settings::{RedisAddress, RedisSettings, RedisShape};

/// The time after which a key of the probe expires, in milliseconds.
const PROBE_LIVES: &str = "10000";

/// Writes and reads a small key.
const PROBE: &str = include_str!("probe.lua");

/// The connections of a link that is up. Dropping them closes them.
pub(super) struct Session {
    pub(super) settings: Arc<RedisSettings>,
    dialer: Dialer,
    servers: Servers,
    probe: RedisScript,
    probe_key: String,
    /// Connections for questions that take long, while no question uses them.
    idle: Mutex<Vec<RedisConnection>>,
}

enum Servers {
    One(RedisConnection),
    Cluster(Cluster),
}

impl Session {
    /// Connects, logs in, and writes a key. With several addresses each attempt begins with
    /// another one, because one that hangs takes its share of the time.
    pub(super) async fn open(
        dialer: Dialer,
        attempts: &AtomicUsize,
        limit: Duration,
    ) -> Result<Self, RedisFault> {
        let settings = dialer.settings.clone();
        let opened = async {
            let servers = match &settings.shape {
                RedisShape::Single(address) => Servers::One(dialer.connect(address).await?),
                RedisShape::Sentinel { sentinels, master } => {
                    let ask = |at: RedisAddress| {
                        let dialer = &dialer;
                        async move { master_of(dialer, &at, master).await }
                    };
                    let address = first_of(sentinels, attempts, limit, ask).await?;
                    Servers::One(dialer.connect(&address).await?)
                }
                RedisShape::Cluster(nodes) => {
                    let open = |at: RedisAddress| {
                        let dialer = dialer.clone();
                        async move { Cluster::open(dialer, &at).await }
                    };
                    Servers::Cluster(first_of(nodes, attempts, limit, open).await?)
                }
            };
            let session = Self {
                settings: settings.clone(),
                dialer: dialer.clone(),
                servers,
                probe: RedisScript::new(PROBE),
                probe_key: format!("{}:probe:{:016x}", settings.prefix, fastrand::u64(..)),
                idle: Mutex::default(),
            };
            session.probe().await?;
            Ok(session)
        };
        let late =
            || RedisFault::late_connection(&addresses(&settings.shape), settings.tls.is_some());
        timeout(limit, opened).await.unwrap_or_else(|_| Err(late()))
    }

    /// Writes and reads a small key at every master.
    pub(super) async fn probe(&self) -> Result<(), RedisFault> {
        let keys = match &self.servers {
            Servers::One(_) => vec![self.probe_key.clone()],
            Servers::Cluster(cluster) => {
                let key = |tag: String| format!("{}:{tag}", self.probe_key);
                cluster.tags().into_iter().map(key).collect()
            }
        };
        for key in keys {
            let value = format!("{:016x}", fastrand::u64(..)).into_bytes();
            let args = [value.clone(), PROBE_LIVES.into()];
            match self.run(&self.probe, &[key], &args).await {
                Ok(Value::BulkString(read)) if read == value => {}
                Ok(_) => {
                    let what = "a key that was written has another value when it is read";
                    return Err(RedisFault::garbage(&addresses(&self.settings.shape), what));
                }
                Err(Failure::Link(fault)) => return Err(fault),
                Err(Failure::Question(error)) => {
                    let said = quoted(&error, &self.settings);
                    let what = format!("a script that writes and reads a key fails: {said}");
                    return Err(RedisFault::garbage(&addresses(&self.settings.shape), &what));
                }
            }
        }
        Ok(())
    }

    /// Runs a script.
    pub(super) async fn run(
        &self,
        script: &RedisScript,
        keys: &[String],
        args: &[Vec<u8>],
    ) -> Result<Value, Failure> {
        let key = keys.first().map_or("", String::as_str);
        match self.ask(key, &script.by_name(keys, args)).await {
            Err(Failure::Question(error)) if error.code() == Some("NOSCRIPT") => {
                self.ask(key, &script.by_text(keys, args)).await
            }
            answer => answer,
        }
    }

    async fn ask(&self, key: &str, command: &Cmd) -> Result<Value, Failure> {
        match &self.servers {
            Servers::One(connection) => {
                connection.ask(command).await.map_err(|error| connection.failure(error))
            }
            Servers::Cluster(cluster) => cluster.ask(key, command).await,
        }
    }

    /// Learns the slots of a cluster again if that is needed.
    pub(super) async fn follow(&self) -> Result<(), RedisFault> {
        match &self.servers {
            Servers::One(_) => Ok(()),
            Servers::Cluster(cluster) => cluster.follow().await,
        }
    }

    /// Returns the number of servers that take writes.
    pub(super) fn masters(&self) -> u32 {
        match &self.servers {
            Servers::One(_) => 1,
            Servers::Cluster(cluster) => u32::try_from(cluster.masters().len()).unwrap_or(u32::MAX),
        }
    }

    /// Returns a connection to a server that no question uses; `None` if there is none.
    pub(super) fn take_idle(&self, address: &RedisAddress) -> Option<RedisConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // A server closes connections that were idle for long.
        idle.retain(|connection| connection.end().is_none());
        let index = idle.iter().position(|connection| connection.address == *address)?;
        Some(idle.swap_remove(index))
    }

    /// Keeps a connection for the next question that takes long.
    pub(super) fn put_back(&self, connection: RedisConnection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    /// Connects to the server of a key, for questions that take long.
    pub(super) async fn connect_for(&self, key: &str) -> Result<RedisConnection, RedisFault> {
        self.dialer.connect(&self.address_of(key)?).await
    }

    /// Returns the address of the server of a key.
    pub(super) fn address_of(&self, key: &str) -> Result<RedisAddress, RedisFault> {
        match &self.servers {
            Servers::One(connection) => Ok(connection.address.clone()),
            Servers::Cluster(cluster) => cluster.address_of(key),
        }
    }

    /// Notes that a node of a cluster has sent a question about a key on to another one. Returns
    /// whether it has.
    pub(super) fn was_moved(&self, key: &str, error: &RedisError, from: &RedisAddress) -> bool {
        match &self.servers {
            Servers::One(_) => false,
            Servers::Cluster(cluster) => cluster.was_moved(key, error, from),
        }
    }

    /// Returns the reason for which a connection has ended; `None` while all are open.
    pub(super) fn end(&self) -> Option<RedisFault> {
        match &self.servers {
            Servers::One(connection) => connection.end(),
            Servers::Cluster(cluster) => cluster.end(),
        }
    }
}

/// Returns the first success among addresses, or else the last fault.
async fn first_of<T, F: Future<Output = Result<T, RedisFault>>>(
    addresses: &[RedisAddress],
    attempts: &AtomicUsize,
    limit: Duration,
    attempt: impl Fn(RedisAddress) -> F,
) -> Result<T, RedisFault> {
    let mut last = RedisFault::late("there is no server to ask");
    let share = limit / u32::try_from(addresses.len().clamp(1, 3)).unwrap_or(1);
    let begin = attempts.fetch_add(1, Ordering::Relaxed) % addresses.len().max(1);
    for address in addresses.iter().cycle().skip(begin).take(addresses.len()) {
        match timeout(share, attempt(address.clone())).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(fault)) => last = fault,
            Err(_) => last = RedisFault::late(format!("no answer of {address} in time")),
        }
    }
    Err(last)
}

/// Asks a sentinel for the address of the master.
async fn master_of(
    dialer: &Dialer,
    sentinel: &RedisAddress,
    master: &str,
) -> Result<RedisAddress, RedisFault> {
    let connection = dialer.dial(sentinel).await?;
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let mut answer = connection.ask(&ask).await;
    // Many sentinels have no password, and answer an error to one.
    if answer.as_ref().is_err_and(|error| error.code() == Some("NOAUTH")) {
        dialer.log_in(&connection).await?;
        answer = connection.ask(&ask).await;
    }
    let answer = answer.map_err(|error| match connection.failure(error) {
        Failure::Link(fault) => fault,
        Failure::Question(_) => {
            let what = format!("{sentinel} is not a sentinel");
            let remedy = "write the addresses of sentinels in redis.url, or remove redis.sentinel";
            RedisFault::new("no_sentinel", "sentinel", what, remedy)
        }
    })?;
    let address: Option<(String, u16)> = redis::from_redis_value(answer).map_err(|_| {
        RedisFault::garbage(sentinel, "the sentinel names no host and port as the master's")
    })?;
    let (host, port) = address.ok_or_else(|| {
        let what = format!("the sentinel {sentinel} does not know the master `{master}`");
        let remedy = "write the name in `sentinel monitor` of its settings in redis.sentinel";
        RedisFault::new("no_master", "sentinel", what, remedy)
    })?;
    Ok(RedisAddress::Host { host: host.into(), port })
}

/// Returns the configured addresses as a text.
fn addresses(shape: &RedisShape) -> String {
    let list = match shape {
        RedisShape::Single(address) => std::slice::from_ref(address),
        RedisShape::Sentinel { sentinels: list, .. } | RedisShape::Cluster(list) => list,
    };
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
