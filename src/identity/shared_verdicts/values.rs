//! The names and the values under which replicas keep verdicts in Redis. No input or output.

use std::sync::Arc;
use std::time::Duration;

use super::SharedAnswer;
use super::stored::{StoredVerdict, hex};
use crate::identity::cache::CacheLimits;
use crate::identity::model::Verdict;
use crate::identity::model::keyed_hash::SharedQuestionId;
use crate::identity::model::unix_time::unix_micros;
use crate::sealing::{SealedKind, TokenKeys};

/// The longest sealed verdict that is read or kept, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// A verdict as Redis is told of it.
#[derive(Clone)]
pub struct NewValue {
    /// `refusal`, `answer`, or `none` if the verdict is not for others.
    pub kind: &'static str,
    /// The text `FRESH_UNTIL ASKED SEALED`. Redis can read the times, and only what is sealed
    /// counts.
    pub text: String,
    /// The time for which it is kept.
    pub kept: Duration,
    /// The longest time for which any answer is kept.
    pub longest: Duration,
    /// The time of the question by the clock of Redis (Unix time, microseconds).
    pub asked_redis: u64,
}

/// Returns the keys of the refusal, the answer, the lock and the mark of the secret, all in one
/// slot of a cluster.
pub fn names(prefix: &str, id: &SharedQuestionId) -> [String; 4] {
    let base = format!("{prefix}:{{{}}}", hex(id.secret));
    let (provider, question) = (hex(id.provider), hex(id.question));
    [
        format!("{base}:n:{provider}"),
        format!("{base}:v:{question}"),
        format!("{base}:l:{question}"),
        format!("{base}:p:{provider}"),
    ]
}

/// Opens the value of a key.
pub fn unseal(keys: &TokenKeys, key: &str, value: &[u8]) -> Option<StoredVerdict> {
    let value = str::from_utf8(value).ok().filter(|value| value.len() <= MAX_BYTES)?;
    let sealed = value.splitn(3, ' ').nth(2)?;
    StoredVerdict::read(&keys.open_bytes(SealedKind::Verdict, key, sealed)?)
}

/// Returns the meaning of a stored verdict for a question about this credential.
pub fn answer(
    stored: &StoredVerdict,
    is_refusal: bool,
    credential: &[u8; 16],
    provider: &Arc<str>,
) -> Option<SharedAnswer> {
    if is_refusal && stored.credential != *credential {
        return Some(SharedAnswer::OtherRefused);
    }
    stored.verdict(provider).map(SharedAnswer::Verdict)
}

impl NewValue {
    /// Creates the value of a verdict on a question, which was asked at these times (Unix time and
    /// that of Redis, in microseconds).
    pub fn new(
        verdict: &Verdict,
        asked: (u64, u64),
        credential: [u8; 16],
        names: &[String; 4],
        keys: &TokenKeys,
        limits: CacheLimits,
    ) -> Self {
        let is_about_credential = matches!(
            verdict,
            Verdict::NotMine | Verdict::AccountPassword | Verdict::Rejected | Verdict::Unfit
        );
        let [refusal, answer, ..] = names;
        let key = if is_about_credential { refusal } else { answer };
        let sealed = StoredVerdict::new(verdict, asked, credential)
            .and_then(|stored| stored.to_bytes())
            .and_then(|bytes| keys.seal_bytes(SealedKind::Verdict, key, bytes))
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
        let text = format!("{fresh_until} {asked_redis} {}", &**sealed);
        Self { kind, text, kept, longest, asked_redis }
    }

    /// Returns the arguments of the script that keeps the value.
    pub fn arguments(self, owner: String) -> [String; 6] {
        let milliseconds = |time: Duration| time.as_millis().max(1).to_string();
        [
            owner,
            self.kind.to_owned(),
            self.text,
            milliseconds(self.kept),
            milliseconds(self.longest),
            self.asked_redis.to_string(),
        ]
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
