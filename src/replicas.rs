//! The replicas of a gate: which there are, and what an operator told one of them.
//!
//! Each replica says once a second that it is there (a beat). An operator's revocation goes into a
//! stream, numbered by its replica, and all others read it. If a number is missing, a replica drops
//! what it has cached and asks all to publish again what still matters. While Redis is away,
//! revocations wait.

pub mod journal;
pub mod message;
mod tasks;
pub mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::{timeout, timeout_at};

use crate::identity::authenticator::Revoker;
use crate::identity::guard::shared_guards::SharedGuards;
use crate::identity::model::keyed_hash::HashKey;
use crate::identity::model::revocation::Revoked;
use crate::identity::shared_verdicts::SharedVerdicts;
use crate::limits::Accounts;
use crate::limits::exchange::LeaseExchange;
use crate::redis_link::{RedisLink, RedisScript, RedisSeen};
use crate::sealing::TokenKeys;
use message::{Beat, Message, ReplicaId, RevocationMessage};
use view::View;

/// The longest time that a revocation waits for the confirmations of other replicas.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(1);

/// The time between two looks at the confirmations.
const LOOK: Duration = Duration::from_millis(20);

/// The parts of the gate that replicas share.
pub struct Shared {
    pub link: Arc<RedisLink>,
    pub verdicts: Arc<SharedVerdicts>,
    pub exchange: Arc<LeaseExchange>,
    pub accounts: Arc<Accounts>,
    pub guards: Arc<SharedGuards>,
}

/// This replica among the others.
pub struct Replicas {
    shared: Shared,
    keys: RwLock<Arc<TokenKeys>>,
    revoker: Revoker,
    me: ReplicaId,
    view: Mutex<View>,
    /// Notified when there is something to tell the others at once.
    news: Notify,
    /// The number of beats so far.
    beats: watch::Sender<u64>,
    /// `true` once the others were told that the replica ends. Locked during a beat, so that none
    /// arrives after that.
    has_left: tokio::sync::Mutex<bool>,
    /// `true` once the stream of revocations was read to its end.
    caught_up: watch::Sender<bool>,
    scripts: Scripts,
}

struct Scripts {
    beat: RedisScript,
    publish: RedisScript,
}

/// A replica as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSeen {
    pub id: String,
    pub version: String,
    pub seen: SystemTime,
}

/// The state of the replicas as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicasSeen {
    /// The state of Redis.
    pub redis: RedisSeen,
    /// The replicas, this one included.
    pub replicas: Vec<ReplicaSeen>,
    /// The number of revocations that the others have not been told yet.
    pub waiting: usize,
}

/// Creates the id of a replica.
pub fn new_id() -> String {
    format!("{:016x}", fastrand::u64(..))
}

impl Replicas {
    /// Creates this replica, with this id. [`run`](Self::run) connects it with the others.
    pub fn new(shared: Shared, keys: Arc<TokenKeys>, revoker: Revoker, me: String) -> Self {
        let view = View::new(me.clone(), Instant::now());
        Self {
            shared,
            keys: RwLock::new(keys),
            revoker,
            me,
            view: Mutex::new(view),
            news: Notify::new(),
            beats: watch::Sender::new(0),
            has_left: tokio::sync::Mutex::default(),
            caught_up: watch::Sender::new(false),
            scripts: Scripts {
                beat: RedisScript::new(include_str!("replicas/beat.lua")),
                publish: RedisScript::new(include_str!("replicas/publish.lua")),
            },
        }
    }

    /// Returns the connection to Redis.
    pub fn link(&self) -> &Arc<RedisLink> {
        &self.shared.link
    }

    /// Waits until the replica knows what was revoked before it started, but not longer than this.
    pub async fn has_caught_up(&self, limit: Duration) {
        let mut caught_up = self.caught_up.subscribe();
        let _ = timeout(limit, caught_up.wait_for(|caught_up| *caught_up)).await;
    }

    /// Replaces the keys, after a rotation of their file.
    pub fn set_keys(&self, keys: &Arc<TokenKeys>) {
        self.revoker.set_hash_keys(keys.hash_keys().map(HashKey::new));
        self.shared.verdicts.set_keys(keys.clone());
        if let Some(key) = keys.caller_key() {
            self.shared.accounts.set_key(key);
        }
        if let Some(key) = keys.shared_hash_key() {
            self.shared.guards.set_key(HashKey::new(key));
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.clone();
        self.view().keys_changed();
        self.news.notify_one();
    }

    /// Tells the other replicas of a revocation at this Unix time, in microseconds. Returns the
    /// number of replicas that have confirmed it, this one included: as soon as all have, and after
    /// a second at the latest.
    pub async fn publish(&self, what: &[Revoked], at: u64) -> usize {
        let revocations = what.iter().map(|what| RevocationMessage::new(*what, at)).collect();
        let number = self.view().journal().publish(Message::Revoked(revocations));
        self.news.notify_one();
        if !self.shared.link.is_up() {
            tracing::warn!(
                "redis is away; the other replicas are told of the revocation when it is back"
            );
            return 1;
        }
        let deadline = tokio::time::Instant::now() + CONFIRMED_WITHIN;
        let mut beats = self.beats.subscribe();
        loop {
            let (confirmed, alive) = self.view().confirmed(number);
            if confirmed >= alive {
                return confirmed;
            }
            let next = deadline.min(tokio::time::Instant::now() + LOOK);
            if timeout_at(next, beats.changed()).await.is_err() {
                if tokio::time::Instant::now() >= deadline || !self.shared.link.is_up() {
                    let (confirmed, alive) = self.view().confirmed(number);
                    tracing::warn!(
                        confirmed,
                        replicas = alive,
                        "not every replica has confirmed the revocation yet"
                    );
                    return confirmed;
                }
                self.news.notify_one();
            }
        }
    }

    /// Returns what operators see of the replicas.
    pub fn seen(&self) -> ReplicasSeen {
        let (mut view, now) = (self.view(), SystemTime::now());
        let seen = |(beat, age): (&Beat, Duration)| ReplicaSeen {
            id: beat.from.clone(),
            version: beat.version.clone(),
            seen: now.checked_sub(age).unwrap_or(now),
        };
        let me = ReplicaSeen {
            id: self.me.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seen: now,
        };
        let others = view.others(Instant::now()).map(seen);
        ReplicasSeen {
            redis: self.shared.link.seen(),
            replicas: [me].into_iter().chain(others).collect(),
            waiting: view.journal().waiting(),
        }
    }

    fn keys(&self) -> Arc<TokenKeys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what is cached, because a revocation may have been missed.
    fn drop_verdicts(&self, why: &str) {
        self.revoker.drop_verdicts();
        tracing::info!("{why}; cached verdicts are dropped, and every provider is asked anew");
    }
}
