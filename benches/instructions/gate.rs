//! A gate with every feature on, connected to its client in memory and to its registry over a
//! socket.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use moorgate::config::load;
use moorgate::demo::introspection::{CLIENT_SECRET, Introspection};
use moorgate::record::{AccessLog, LogFormat};
use moorgate::run::{Listeners, Running};
use moorgate::server::{Snapshot, serve_stream};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::client::{Client, Protocol};
use crate::log::{Log, Target};
use crate::redis_servers::{RedisServer, wait_until};
use crate::registry::Registry;

/// The number of requests in each round of the warm-up.
const WARM_UP: u64 = 500;

/// The time limit for the requests of one order. It is longer than any machine takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// A gate that has served some requests.
pub struct Warm {
    /// The orders to the worker: the number of requests, and whether they are counted.
    orders: Sender<(u64, Count)>,
    done: Receiver<()>,
    asked: u64,
    registry: Registry,
    running: Running,
    /// The other replica, and the Redis that both share.
    _others: Option<(Running, RedisServer)>,
    log: Log,
    _introspection: Introspection,
    /// The runtime of the introspection stand-in, the admin listener and the questions to
    /// providers.
    _beside: Runtime,
    _folder: TempDir,
}

/// Whether the gate shares its state with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replica {
    /// It is the only gate, without `redis`.
    Alone,
    /// It is one of two gates that share a Redis.
    OfTwo,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    Yes,
    No,
}

impl Warm {
    /// Starts a gate and sends requests until one takes as many instructions as every later one.
    pub fn start(protocol: Protocol, replica: Replica) -> Self {
        Self::start_with(protocol, replica, "")
    }

    /// Starts a gate with more sections in its config.
    pub fn start_with(protocol: Protocol, replica: Replica, sections: &str) -> Self {
        let registry = Registry::start();
        let redis = (replica == Replica::OfTwo).then(|| RedisServer::start(&[]));
        let folder = tempfile::tempdir().unwrap();
        let beside = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (log, target) = Log::create(&folder.path().join("access.log"));
        let (introspection, running, others) = {
            let _beside = beside.enter();
            let introspection = Introspection::start(listener()).unwrap();
            let port = redis.as_ref().map(|redis| redis.port);
            let path = write_config(folder.path(), registry.address(), &introspection.url(), port);
            let config = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, config + sections).unwrap();
            let running = start_gate(&path, Some(target));
            let others = redis.map(|redis| (start_gate(&path, None), redis));
            (introspection, running, others)
        };
        if let Some((other, _)) = &others {
            wait_until("the replicas know each other", || {
                [&running, other].iter().all(|gate| knows_another(gate))
            });
        }
        let snapshots = running.live().snapshots();
        let (orders, taken) = mpsc::channel();
        let (told, done) = mpsc::channel();
        std::thread::spawn(move || worker(protocol, snapshots, &taken, &told));
        let mut warm = Self {
            orders,
            done,
            asked: 0,
            registry,
            running,
            _others: others,
            log,
            _introspection: introspection,
            _beside: beside,
            _folder: folder,
        };
        warm.up();
        warm
    }

    /// Lets all buffers grow to their final size. Otherwise the allocator would do more work for
    /// some requests than for others. The access log has two buffers: it fills one while it writes
    /// the other.
    fn up(&mut self) {
        for _ in 0..2 {
            self.log.hold();
            self.ask(WARM_UP, Count::No);
            self.log.release();
            self.log.wait(self.asked);
            // The other buffer.
            self.ask(1, Count::No);
            self.log.wait(self.asked);
        }
        self.ask(WARM_UP, Count::No);
        self.log.wait(self.asked);
    }

    /// Sends `requests` requests, each after the answer to the one before, and counts their
    /// instructions.
    pub fn count(&mut self, requests: u64) {
        self.ask(requests, Count::Yes);
    }

    fn ask(&mut self, requests: u64, count: Count) {
        self.asked += requests;
        self.orders.send((requests, count)).unwrap();
        self.done
            .recv_timeout(PATIENCE)
            .expect("the worker is stuck: not every answer was the manifest");
    }

    /// Asserts that every request was allowed by a verdict from the cache and forwarded. Waits
    /// until all of them are in the access log.
    pub fn finish(self) {
        assert_eq!(
            self.registry.answered(),
            self.asked,
            "not every request has reached the registry"
        );
        let metrics = self.running.metrics();
        let hits = format!("moorgate_cache_requests_total{{result=\"hit\"}} {}\n", self.asked - 1);
        assert!(metrics.contains(&hits), "{hits} is not in {metrics}");
        self.log.wait(self.asked);
    }
}

/// Runs a worker of the server on a separate thread, so that it has an arena of the allocator to
/// itself.
fn worker(
    protocol: Protocol,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    orders: &Receiver<(u64, Count)>,
    done: &Sender<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    let (client, stream) = Client::connect(protocol);
    let peer = SocketAddr::from(([192, 0, 2, 1], 40_000));
    local.spawn_local(serve_stream(snapshots, stream, peer, protocol == Protocol::Http2));
    for (requests, count) in orders {
        match count {
            Count::Yes => counted(&runtime, &local, &client, requests),
            Count::No => local.block_on(&runtime, client.ask(requests)),
        }
        done.send(()).unwrap();
    }
}

/// Sends requests. Callgrind counts all instructions inside this function.
#[inline(never)]
fn counted(runtime: &Runtime, local: &LocalSet, client: &Client, requests: u64) {
    local.block_on(runtime, client.ask(requests));
}

fn write_config(
    folder: &Path,
    registry: SocketAddr,
    introspection: &str,
    redis: Option<u16>,
) -> PathBuf {
    let path = folder.join("moorgate.yml");
    let config = CONFIG
        .replace("{registry}", &registry.to_string())
        .replace("{introspection}", introspection);
    // The gate without Redis has the key file too, so that Redis is the only difference.
    let redis = redis.map_or_else(String::new, |port| {
        format!("redis:\n  url: redis://127.0.0.1:{port}\n  timeout: 1s\n")
    });
    std::fs::write(&path, config + &redis).unwrap();
    std::fs::write(folder.join("secret"), CLIENT_SECRET).unwrap();
    std::fs::write(folder.join("key"), KEY).unwrap();
    path
}

fn start_gate(config: &Path, log: Option<Target>) -> Running {
    let loaded = load(config, []).unwrap_or_else(|problems| panic!("{problems}"));
    let access_log = match log {
        Some(log) => AccessLog::to(LogFormat::Json, log),
        None => AccessLog::start(LogFormat::Json, None),
    };
    let listeners = Listeners { public: Vec::new(), admin: listener(), admin_is_shared: false };
    Running::start(loaded, listeners, access_log.unwrap()).unwrap()
}

/// Returns whether a gate has heard from another replica.
fn knows_another(gate: &Running) -> bool {
    let live = gate.live();
    live.replicas().is_some_and(|replicas| replicas.seen().replicas.len() == 2)
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// The key file of the gates.
const KEY: &str = "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=";

const CONFIG: &str = r#"
version: 1
http:
  addr: 127.0.0.1:0
  external_url: https://registry.test
  workers: 1
admin:
  addr: 127.0.0.1:0
upstream:
  urls: ["http://{registry}"]
identity:
  - name: sso
    type: introspection
    url: {introspection}
    client_id: moorgate
    client_secret_file: secret
    timeout: 30s
# The verdict and the first answer hold also where a busy machine takes its time.
cache:
  ttl: 1h
policy:
  rules:
    - name: team
      repositories: ["group/**"]
      who: [authenticated]
      allow: [pull, push]
tokens:
  key_file: key
limits:
  per_identity: { rate: 1000000/s, burst: 1000000 }
"#;
