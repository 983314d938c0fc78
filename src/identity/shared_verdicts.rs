//! The verdicts that the replicas of a gate share through Redis: what one of them has asked, the
//! others need not ask.
//!
//! A verdict is sealed with its question as associated data, and carries the times at which it was
//! asked for. Redis can lose or withhold it, and cannot change it, move it to another question or
//! make it younger. A question without an answer is asked by the replica that gets the lock
//! on it; the others wait for its answer, for the timeout of Redis at most, and then ask too.

pub mod redis_clock;
mod refusals;
pub mod stored;
pub mod values;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::identity::cache::CacheLimits;
use crate::identity::model::keyed_hash::{DependsOn, HashKey, SecretId, SharedQuestionId};
use crate::identity::model::unix_time::unix_micros;
use crate::identity::model::{Question, UpstreamToken, Verdict};
use crate::metrics::Metrics;
use crate::redis_link::{RedisLink, RedisScript};
use crate::sealing::TokenKeys;
use redis_clock::RedisClock;
use stored::StoredVerdict;
use values::NewValue;

/// The time after which the lock of a replica that died ends.
const LOCK: Duration = Duration::from_secs(5);

/// The time between two looks at a question that another replica asks.
const LOOK: Duration = Duration::from_millis(5);

/// The verdicts that replicas share.
pub struct SharedVerdicts {
    link: Arc<RedisLink>,
    keys: RwLock<Arc<TokenKeys>>,
    metrics: Arc<Metrics>,
    clock: Mutex<RedisClock>,
    claim: RedisScript,
    put: RedisScript,
    announce: RedisScript,
    void: RedisScript,
    /// The id of this replica.
    replica: Arc<str>,
}

/// The provider of a question, as all replicas know it.
#[derive(Clone, Copy)]
pub struct SharedProvider<'a> {
    /// The hash of its settings.
    pub id: &'a [u8; 16],
    pub name: &'a Arc<str>,
    pub depends: DependsOn,
}

/// A verdict that another replica has asked for.
pub enum SharedAnswer {
    /// The verdict on this question, or on the credential.
    Verdict(Verdict),
    /// The provider has refused another credential with the same secret.
    OtherRefused,
}

/// The result of a look at the verdicts of the other replicas.
pub enum Lookup {
    /// The question need not be asked.
    Learned,
    /// The question must be asked: without a claim, if Redis does not answer or the gate has no
    /// replicas.
    Ask(Option<Claim>),
}

/// The right to ask a question and to share its answer. If it is dropped, another replica asks
/// after a while.
pub struct Claim {
    shared: Arc<SharedVerdicts>,
    question: SharedQuestionId,
    keys: [String; 4],
    /// The value of the lock, which tells it from later locks on the question.
    owner: String,
    /// The times of the question: Unix time and that of Redis, in microseconds.
    asked: (u64, u64),
}

impl SharedVerdicts {
    /// Creates the shared verdicts of a replica with this id.
    pub fn new(
        link: Arc<RedisLink>,
        keys: Arc<TokenKeys>,
        metrics: Arc<Metrics>,
        replica: Arc<str>,
    ) -> Self {
        Self {
            link,
            keys: RwLock::new(keys),
            metrics,
            clock: Mutex::default(),
            claim: RedisScript::new(include_str!("shared_verdicts/claim.lua")),
            put: RedisScript::new(include_str!("shared_verdicts/put.lua")),
            announce: RedisScript::new(include_str!("shared_verdicts/announce.lua")),
            void: RedisScript::new(include_str!("shared_verdicts/void.lua")),
            replica,
        }
    }

    /// Replaces the keys, after a rotation of their file.
    pub fn set_keys(&self, keys: Arc<TokenKeys>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Makes all verdicts from before now void.
    pub fn forget(&self) {
        self.clock().set_floor(Instant::now());
    }

    /// Calls `learn` with each verdict that is known, and the instant at which it was asked for.
    /// `learn` returns whether the question need not be asked any more. Waits if another replica
    /// asks it, for the timeout of Redis at most.
    pub async fn look_up(
        self: &Arc<Self>,
        provider: SharedProvider<'_>,
        question: &Question,
        mut learn: impl FnMut(SharedAnswer, Instant) -> bool,
    ) -> Lookup {
        let keys = self.keys();
        let Some(hash_key) = keys.shared_hash_key() else { return Lookup::Ask(None) };
        let id = HashKey::new(hash_key).shared_question(provider.id, provider.depends, question);
        let names = values::names(&self.link.prefix(), &id);
        let begun = Instant::now();
        let owner = format!("{}.{:016x}", self.replica, fastrand::u64(..));
        let mut does_not_suffice = false;
        loop {
            let arguments = [
                owner.clone(),
                LOCK.as_millis().to_string(),
                u8::from(does_not_suffice).to_string(),
            ];
            let arguments = arguments.map(String::into_bytes);
            let [refusal, answer, lock, _] = &names;
            let used = [refusal.clone(), answer.clone(), lock.clone()];
            let called = self.link.call("verdict_get", &self.claim, &used, &arguments).await;
            let Ok((refusal, answer, mine, told)) = called else { return Lookup::Ask(None) };
            let (refusal, answer): (Vec<u8>, Vec<u8>) = (refusal, answer);
            let (mine, told): (u8, u64) = (mine, told);
            let now = Instant::now();
            let redis_now = self.clock().told(told, now);
            let [refusal_key, answer_key, ..] = &names;
            let mut suffices = false;
            let has_value = !refusal.is_empty() || !answer.is_empty();
            for (key, value) in [(refusal_key, refusal), (answer_key, answer)] {
                let Some((stored, at)) = self.open(&keys, key, &value, now) else { continue };
                let is_refusal = key == refusal_key;
                let learned = values::answer(&stored, is_refusal, &id.credential, provider.name);
                suffices |= learned.is_some_and(|learned| learn(learned, at));
            }
            does_not_suffice = has_value;
            if suffices {
                self.metrics.shared_verdict("hit");
                if mine == 1 {
                    // The caller does not wait for it.
                    let shared = self.clone();
                    tokio::spawn(async move { shared.put_none(&names, owner).await });
                }
                return Lookup::Learned;
            }
            if mine == 1 || begun.elapsed() >= self.link.timeout() {
                self.metrics.shared_verdict("miss");
                let (shared, asked) = (self.clone(), (unix_micros(), redis_now));
                return Lookup::Ask(Some(Claim {
                    shared,
                    question: id,
                    keys: names,
                    owner,
                    asked,
                }));
            }
            sleep(LOOK).await;
        }
    }

    /// Drops the answer to a question if it carries this token, because the registry refuses it.
    pub async fn void(
        &self,
        provider: SharedProvider<'_>,
        question: &Question,
        refused: &UpstreamToken,
    ) {
        let keys = self.keys();
        let Some(hash_key) = keys.shared_hash_key() else { return };
        let id = HashKey::new(hash_key).shared_question(provider.id, provider.depends, question);
        let [_, name, ..] = values::names(&self.link.prefix(), &id);
        let call = async |value: Vec<u8>| {
            self.link.call("verdict_void", &self.void, std::slice::from_ref(&name), &[value]).await
        };
        let Ok(value) = call(Vec::new()).await else { return };
        let value: Vec<u8> = value;
        let stored = values::unseal(&keys, &name, &value);
        let verdict = stored.and_then(|stored| stored.verdict(provider.name));
        if let Some(Verdict::Verified(verified, _)) = verdict
            && verified.granted.token().is_some_and(|token| token.has_text_of(refused))
        {
            let _: Result<Vec<u8>, _> = call(value).await;
        }
    }

    /// Ends the lock of a question that need not be asked.
    async fn put_none(&self, names: &[String; 4], owner: String) {
        let arguments = [&*owner, "none", "", "1", "1", "0"].map(|text| text.as_bytes().to_vec());
        let _: Result<i64, _> = self.link.call("verdict_put", &self.put, names, &arguments).await;
    }

    /// Opens the value of a key, and returns it with the instant at which it was asked for.
    fn open(
        &self,
        keys: &TokenKeys,
        key: &str,
        value: &[u8],
        now: Instant,
    ) -> Option<(StoredVerdict, Instant)> {
        let stored = values::unseal(keys, key, value)?;
        let asked = (stored.asked_redis, stored.asked_unix);
        let age = self.clock().age(asked, now, unix_micros())?;
        Some((stored, now.checked_sub(age)?))
    }

    fn keys(&self) -> Arc<TokenKeys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn clock(&self) -> MutexGuard<'_, RedisClock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Shares the verdict. A verdict that is not for others ends the lock alone. `limits` are those
    /// of the cache of this replica; `secrets` returns the secret, as each replica may know it.
    /// Returns `false` if another replica was told a later refusal.
    pub async fn put(
        self,
        verdict: &Verdict,
        limits: CacheLimits,
        secrets: impl FnOnce() -> Vec<SecretId>,
    ) -> bool {
        let Self { shared, question, keys, owner, asked } = self;
        let sealing = shared.keys();
        let value = NewValue::new(verdict, asked, question.credential, &keys, &sealing, limits);
        let kind = value.kind;
        let arguments = value.arguments(owner).map(String::into_bytes);
        let done: Result<i64, _> =
            shared.link.call("verdict_put", &shared.put, &keys, &arguments).await;
        let Ok(found) = done else { return true };
        if kind != "none" {
            shared.metrics.shared_verdict("put");
        }
        if found == 2 {
            shared.announce_refusal(&secrets(), asked).await;
        }
        found != 3
    }
}
