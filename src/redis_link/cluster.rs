//! A cluster: each key is in one of 16384 slots, and each slot at one node.
//!
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::connection::{Dialer, Failure, RedisConnection};
use super::fault::RedisFault;
use super::settings::RedisAddress;

/// The number of slots of every cluster.
const SLOTS: u16 = 16384;

/// The largest number of nodes with a connection. A hostile server could name any number.
const MAX_NODES: usize = 1000;

/// The largest number of times that a question is sent on to another node.
const REDIRECTIONS: usize = 3;

/// The nodes of a cluster, and the slots of each.
pub(super) struct Cluster {
    dialer: Dialer,
    map: Mutex<Map>,
    /// `true` after a node has sent a question on to another one.
    outdated: AtomicBool,
}

#[derive(Default)]
struct Map {
    /// The first and the last slot of each range, with its master.
    ranges: Vec<(u16, u16, RedisAddress)>,
    nodes: HashMap<RedisAddress, Arc<RedisConnection>>,
}

/// The instruction of a node to ask another one.
enum Redirection {
    /// For this and all later questions about the slot.
    Moved(RedisAddress),
    /// For this question only.
    Ask(RedisAddress),
}

impl Cluster {
    /// Asks a node for the slots, and connects to all masters.
    pub(super) async fn open(dialer: Dialer, seed: &RedisAddress) -> Result<Self, RedisFault> {
        let map = Mutex::default();
        let cluster = Self { dialer, map, outdated: AtomicBool::new(false) };
        let seed = Arc::new(cluster.dialer.connect(seed).await?);
        cluster.learn(&seed).await?;
        cluster.map().nodes.insert(seed.address.clone(), seed);
        for master in cluster.masters() {
            cluster.node(&master).await?;
        }
        Ok(cluster)
    }

    /// Learns the slots again if a node has sent a question on since the last time.
    pub(super) async fn follow(&self) -> Result<(), RedisFault> {
        if !self.outdated.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let node = self.map().nodes.values().next().cloned();
        if let Some(node) = node {
            self.learn(&node).await?;
        }
        let masters = self.masters();
        self.map().nodes.retain(|address, _| masters.contains(address));
        Ok(())
    }

    /// Asks a node for the slots.
    async fn learn(&self, node: &RedisConnection) -> Result<(), RedisFault> {
        let mut slots = redis::cmd("CLUSTER");
        slots.arg("SLOTS");
        let answer = node.demand(&slots).await?;
        let ranges = ranges(&answer, &node.address).ok_or_else(|| {
            RedisFault::garbage(&node.address, "the list of the slots of the cluster is malformed")
        })?;
        if ranges.is_empty() {
            return Err(no_node());
        }
        self.map().ranges = ranges;
        Ok(())
    }

    /// Returns every master once.
    pub(super) fn masters(&self) -> Vec<RedisAddress> {
        let mut masters: Vec<RedisAddress> = Vec::new();
        for (.., master) in &self.map().ranges {
            if !masters.contains(master) {
                masters.push(master.clone());
            }
        }
        masters
    }

    /// Returns for each master the beginning of keys that are in one of its slots.
    pub(super) fn tags(&self) -> Vec<String> {
        let masters = self.masters();
        let tag_of = |master: &RedisAddress| {
            let tags = (0..u32::from(SLOTS)).map(|number| format!("{{{number}}}"));
            tags.into_iter().find(|tag| self.master_of(slot(tag)).as_ref() == Some(master))
        };
        masters.iter().filter_map(tag_of).collect()
    }

    fn master_of(&self, slot: u16) -> Option<RedisAddress> {
        let map = self.map();
        let mut ranges = map.ranges.iter();
        let range = ranges.find(|(first, last, _)| (*first..=*last).contains(&slot));
        range.map(|(.., master)| master.clone())
    }

    /// Returns the connection to a node, which is made if there is none.
    async fn node(&self, address: &RedisAddress) -> Result<Arc<RedisConnection>, RedisFault> {
        if let Some(node) = self.map().nodes.get(address) {
            return Ok(node.clone());
        }
        if self.map().nodes.len() >= MAX_NODES {
            let what = "the cluster has more masters than the gate connects to";
            return Err(RedisFault::garbage(address, what));
        }
        let node = Arc::new(self.dialer.connect(address).await?);
        self.map().nodes.insert(address.clone(), node.clone());
        Ok(node)
    }

    /// Asks the node of a key.
    pub(super) async fn ask(&self, key: &str, command: &Cmd) -> Result<Value, Failure> {
        let node = self.node(&self.master_of(slot(key)).ok_or_else(no_node)?).await?;
        match node.ask(command).await {
            Ok(value) => Ok(value),
            Err(error) => self.ask_on(key, command, node, error).await,
        }
    }

    /// Asks other nodes, as long as they send the question on.
    async fn ask_on(
        &self,
        key: &str,
        command: &Cmd,
        mut node: Arc<RedisConnection>,
        mut error: RedisError,
    ) -> Result<Value, Failure> {
        for _ in 0..REDIRECTIONS {
            let answer = match redirection(&error, &node.address) {
                None => break,
                Some(Redirection::Moved(to)) => {
                    self.moved(slot(key), &to);
                    node = self.node(&to).await?;
                    node.ask(command).await
                }
                Some(Redirection::Ask(to)) => {
                    node = self.node(&to).await?;
                    let mut asking = redis::pipe();
                    asking.cmd("ASKING").ignore().add_command(command.clone());
                    node.ask_all(&asking).await
                }
            };
            match answer {
                Ok(value) => return Ok(value),
                Err(next) => error = next,
            }
        }
        Err(node.failure(error))
    }

    /// Returns the address of the node of a key.
    pub(super) fn address_of(&self, key: &str) -> Result<RedisAddress, RedisFault> {
        self.master_of(slot(key)).ok_or_else(no_node)
    }

    /// Follows the instruction of an error about a key, for questions on other connections.
    /// Returns whether there was one.
    pub(super) fn was_moved(&self, key: &str, error: &RedisError, from: &RedisAddress) -> bool {
        match redirection(error, from) {
            Some(Redirection::Moved(to)) => {
                self.moved(slot(key), &to);
                true
            }
            _ => false,
        }
    }

    fn moved(&self, slot: u16, to: &RedisAddress) {
        self.outdated.store(true, Ordering::Relaxed);
        let mut map = self.map();
        // The first range that has the slot counts.
        map.ranges.retain(|(first, last, _)| (*first, *last) != (slot, slot));
        map.ranges.insert(0, (slot, slot, to.clone()));
    }

    /// Returns the reason for which a connection has ended; `None` while all are open.
    pub(super) fn end(&self) -> Option<RedisFault> {
        self.map().nodes.values().find_map(|node| node.end())
    }

    fn map(&self) -> std::sync::MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_node() -> RedisFault {
    let what = "the cluster has no node for a part of the keys";
    RedisFault::new("cluster_down", "url", what, "see `redis-cli cluster info` at its nodes")
}

/// Reads the answer to `CLUSTER SLOTS`. `of` is the node that gave it, whose own host may be
/// missing in it.
fn ranges(answer: &Value, of: &RedisAddress) -> Option<Vec<(u16, u16, RedisAddress)>> {
    let Value::Array(ranges) = answer else { return None };
    let range = |range: &Value| {
        let Value::Array(range) = range else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = range.as_slice()
        else {
            return None;
        };
        let [host, Value::Int(port), ..] = master.as_slice() else { return None };
        let host = match host {
            Value::BulkString(host) => str::from_utf8(host).ok()?,
            Value::Nil => "",
            _ => return None,
        };
        let slot = |slot: &i64| u16::try_from(*slot).ok().filter(|slot| *slot < SLOTS);
        Some((slot(first)?, slot(last)?, node_address(host, u16::try_from(*port).ok()?, of)?))
    };
    ranges.iter().map(range).collect()
}

/// Returns the instruction of an error; `None` if it has none.
fn redirection(error: &RedisError, of: &RedisAddress) -> Option<Redirection> {
    let kind = error.kind();
    if !matches!(kind, ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask)) {
        return None;
    }
    let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let to = node_address(host, port.parse().ok()?, of)?;
    Some(match kind {
        ErrorKind::Server(ServerErrorKind::Ask) => Redirection::Ask(to),
        _ => Redirection::Moved(to),
    })
}

/// Returns the address of a node. A node that does not know a host means that of `of`, which was
/// asked.
fn node_address(host: &str, port: u16, of: &RedisAddress) -> Option<RedisAddress> {
    let host = match (host, of) {
        ("", RedisAddress::Host { host, .. }) => host.clone(),
        ("" | "?", _) => return None,
        (host, _) => host.into(),
    };
    Some(RedisAddress::Host { host, port })
}

/// Returns the slot of a key: of what is between its first braces, or else of the whole key.
pub(super) fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let hashed = tag.map(|(tag, _)| tag).filter(|tag| !tag.is_empty()).unwrap_or(key);
    crc16(hashed.as_bytes()) % SLOTS
}

/// The CRC-16 of the specification (XMODEM).
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, same) in [
            ("{user1000}.following", "user1000"),
            ("foo{bar}{zap}", "bar"),
            ("foo{{bar}}zap", "{bar"),
        ] {
            assert_eq!(slot(key), slot(same), "{key}");
        }
        for whole in ["foo{}{bar}", "foo}{", "foo{bar"] {
            assert_eq!(slot(whole), crc16(whole.as_bytes()) % SLOTS, "{whole}");
        }
        assert_eq!(slot("foo"), 12182);
    }

    #[test]
    fn a_node_without_a_host_is_the_one_that_was_asked() {
        let of = RedisAddress::Host { host: "a".into(), port: 1 };
        let text = |text: &str| Value::BulkString(text.into());
        let range = |host: Value, port| {
            let master = Value::Array(vec![host, Value::Int(port), text("id")]);
            Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(16383), master])])
        };
        let at = |host: &str, port| {
            Some(vec![(0, 16383, RedisAddress::Host { host: host.into(), port })])
        };
        assert_eq!(ranges(&range(text("b"), 2), &of), at("b", 2));
        assert_eq!(ranges(&range(text(""), 2), &of), at("a", 2));
        assert_eq!(ranges(&range(Value::Nil, 2), &of), at("a", 2));
        for wrong in [range(text("?"), 2), range(text("b"), 70_000), range(Value::Int(1), 2)] {
            assert_eq!(ranges(&wrong, &of), None, "{wrong:?}");
        }
        assert_eq!(ranges(&Value::Okay, &of), None);
    }
}
