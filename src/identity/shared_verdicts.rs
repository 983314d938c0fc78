//! The verdicts that the replicas of a gate share through Redis: what one of them has asked, the
//! others need not ask.
//!
//! A verdict is sealed with its question as associated data, and carries the times at which it was
//! asked for. Redis can lose or withhold it, and cannot change it, move it to another question or
//! make it younger. A question without an answer is asked by the replica that gets the lock
//! on it; the others wait for its answer, for the timeout of Redis at most, and then ask too.

mod redis_clock;
mod refusals;
mod stored;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::identity::cache::CacheLimits;
use crate::identity::model::keyed_hash::{DependsOn, HashKey, SecretId, SharedQuestionId};
use crate::identity::model::unix_time::unix_micros;
use crate::identity::model::{Question, UpstreamToken, Verdict};
use crate::metrics::Metrics;
use crate::redis_link::{RedisLink, RedisScript};
use crate::sealing::{SealedKind, TokenKeys};
use redis_clock::RedisClock;
use stored::{StoredVerdict, hex};

/// The time after which the lock of a replica that died ends.
const LOCK: Duration = Duration::from_secs(5);

/// The time between two looks at a question that another replica asks.
const LOOK: Duration = Duration::from_millis(5);

/// The longest sealed verdict that is read or kept, in bytes.
const MAX_BYTES: usize = 64 * 1024;

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
        let names = self.names(provider.id, &id);
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
                let is_other = key == refusal_key && stored.credential != id.credential;
                let learned = match (is_other, stored.verdict(provider.name)) {
                    (true, _) => SharedAnswer::OtherRefused,
                    (false, Some(verdict)) => SharedAnswer::Verdict(verdict),
                    (false, None) => continue,
                };
                suffices |= learn(learned, at);
            }
            does_not_suffice = has_value;
            if suffices {
                self.metrics.shared_verdict("hit");
                if mine == 1 {
                    self.put_none(&names, owner).await;
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
        let [_, name, ..] = self.names(provider.id, &id);
        let call = async |value: Vec<u8>| {
            self.link.call("verdict_void", &self.void, std::slice::from_ref(&name), &[value]).await
        };
        let Ok(value) = call(Vec::new()).await else { return };
        let value: Vec<u8> = value;
        let stored = self.unseal(&keys, &name, &value);
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

    /// Returns the keys of the refusal, the answer, the lock and the mark of the secret, all in one
    /// slot of a cluster.
    fn names(&self, provider: &[u8; 16], id: &SharedQuestionId) -> [String; 4] {
        let base = format!("{}:{{{}}}", self.link.prefix(), hex(id.secret));
        let question = hex(id.question);
        [
            format!("{base}:n:{}", hex(*provider)),
            format!("{base}:v:{question}"),
            format!("{base}:l:{question}"),
            format!("{base}:p:{}", hex(*provider)),
        ]
    }

    /// Opens a value of the form `FRESH_UNTIL ASKED SEALED`. Only what is sealed counts.
    fn open(
        &self,
        keys: &TokenKeys,
        key: &str,
        value: &[u8],
        now: Instant,
    ) -> Option<(StoredVerdict, Instant)> {
        let stored = self.unseal(keys, key, value)?;
        let asked = (stored.asked_redis, stored.asked_unix);
        let age = self.clock().age(asked, now, unix_micros())?;
        Some((stored, now.checked_sub(age)?))
    }

    fn unseal(&self, keys: &TokenKeys, key: &str, value: &[u8]) -> Option<StoredVerdict> {
        let value = str::from_utf8(value).ok().filter(|value| value.len() <= MAX_BYTES)?;
        let sealed = value.splitn(3, ' ').nth(2)?;
        StoredVerdict::read(&keys.open_bytes(SealedKind::Verdict, key, sealed)?)
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
        let [refusal, answer, ..] = &keys;
        let is_about_credential = matches!(
            verdict,
            Verdict::NotMine | Verdict::AccountPassword | Verdict::Rejected | Verdict::Unfit
        );
        let key = if is_about_credential { refusal } else { answer };
        let sealing = shared.keys();
        let sealed = StoredVerdict::new(verdict, asked, question.credential)
            .and_then(|stored| stored.to_bytes())
            .and_then(|bytes| sealing.seal_bytes(SealedKind::Verdict, key, bytes))
            .filter(|sealed| sealed.len() < MAX_BYTES - 64);
        let (fresh, kept, longest) = lifetimes(verdict, limits);
        let kind = match &sealed {
            None => "none",
            Some(_) if is_about_credential => "refusal",
            Some(_) => "answer",
        };
        let (_, asked_redis) = asked;
        let fresh_until = asked_redis.saturating_add(micros(fresh));
        let sealed = sealed.unwrap_or_default();
        let milliseconds = |time: Duration| time.as_millis().max(1).to_string();
        let arguments = [
            owner,
            kind.to_owned(),
            format!("{fresh_until} {asked_redis} {}", &**sealed),
            milliseconds(kept),
            milliseconds(longest),
            asked_redis.to_string(),
        ];
        let arguments = arguments.map(String::into_bytes);
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

/// Returns the time for which a verdict is fresh, the time for which it is kept, and the longest
/// time for which any answer is kept.
fn lifetimes(verdict: &Verdict, limits: CacheLimits) -> (Duration, Duration, Duration) {
    let CacheLimits { ttl, negative_ttl, stale_if_error, .. } = limits;
    let longest = ttl + stale_if_error;
    match verdict {
        Verdict::Verified(verified, lifetime) if !verified.granted.is_nothing() => {
            let seconds =
                |unix: u64| Duration::from_secs(unix.saturating_sub(unix_micros() / 1_000_000));
            let left = lifetime.credential.map_or(Duration::MAX, seconds);
            let answer = lifetime.answer.unwrap_or(Duration::MAX);
            let has_token = verified.granted.token().is_some();
            let kept = if has_token { longest.min(left).min(answer) } else { longest.min(left) };
            (ttl.min(left).min(answer), kept, longest)
        }
        // The next request asks again, and earlier answers are void all the same.
        Verdict::Unfit => (Duration::ZERO, negative_ttl, longest),
        _ => (negative_ttl, negative_ttl, longest),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
