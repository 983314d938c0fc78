//! Verdicts kept for a while, and questions under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;
use tokio::sync::watch;

use super::fingerprint::{CredentialId, QuestionId};
use super::{Lifetime, Verdict, Verified};

/// How long verdicts are kept, and how many.
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    /// A valid credential is asked about again after this.
    pub ttl: Duration,
    /// A refused one, or one that was granted nothing, after this.
    pub negative_ttl: Duration,
    /// Entries for valid credentials.
    pub capacity: u64,
    /// Entries for refused ones, kept apart so that a flood of random tokens pushes out no good one.
    pub negative_capacity: u64,
}

/// The verdicts of all providers.
pub struct VerdictCache {
    limits: CacheLimits,
    verified: Cache<QuestionId, Kept<Arc<Verified>>>,
    /// Apart from the good ones, so that no flood of bad questions pushes one of those out.
    refused: Cache<RefusedKey, Kept<Refused>>,
    under_way: Mutex<HashMap<QuestionId, watch::Receiver<Option<Verdict>>>>,
}

/// What a verdict that grants nothing is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum RefusedKey {
    /// To this provider a wrong credential is wrong for every repository.
    Credential(usize, CredentialId),
    /// A good credential, and no right.
    Question(QuestionId),
}

#[derive(Clone)]
enum Refused {
    NotMine,
    Rejected,
    NothingGranted(Arc<Verified>),
}

#[derive(Clone)]
struct Kept<V> {
    value: V,
    until: Instant,
}

/// What became of looking for a question that is under way.
pub enum Coalesced {
    /// Somebody else was faster; this is the answer.
    Answered(Verdict),
    /// Somebody else asks; wait for the answer.
    Wait(watch::Receiver<Option<Verdict>>),
    /// Nobody asks: this caller must, and publish the answer by [`VerdictCache::settle`].
    Ask(watch::Sender<Option<Verdict>>),
}

impl VerdictCache {
    /// An empty cache.
    pub fn new(limits: CacheLimits) -> Self {
        Self {
            limits,
            verified: Cache::builder().max_capacity(limits.capacity).expire_after(UntilExpiry).build(),
            refused: Cache::builder().max_capacity(limits.negative_capacity).expire_after(UntilExpiry).build(),
            under_way: Mutex::new(HashMap::new()),
        }
    }

    /// What is known of a question. Expiry is judged here again, for the cache removes entries late.
    pub fn look_up(&self, question: &QuestionId, provider: usize, credential: CredentialId) -> Option<Verdict> {
        if let Some(verified) = self.verified.get(question).and_then(Kept::fresh) {
            return Some(Verdict::Verified(verified, Lifetime::default()));
        }
        let of_credential = || self.refused.get(&RefusedKey::Credential(provider, credential)).and_then(Kept::fresh);
        let of_question = || self.refused.get(&RefusedKey::Question(*question)).and_then(Kept::fresh);
        of_credential().or_else(of_question).map(|refused| match refused {
            Refused::NotMine => Verdict::NotMine,
            Refused::Rejected => Verdict::Rejected,
            Refused::NothingGranted(verified) => Verdict::Verified(verified, Lifetime::default()),
        })
    }

    /// Joins or opens a question. Only one caller at a time is told to ask.
    pub fn coalesce(&self, question: QuestionId, provider: usize, credential: CredentialId) -> Coalesced {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(receiver) = under_way.get(&question) {
            return Coalesced::Wait(receiver.clone());
        }
        // The answer may have come between the caller's look and this lock.
        if let Some(verdict) = self.look_up(&question, provider, credential) {
            return Coalesced::Answered(verdict);
        }
        let (sender, receiver) = watch::channel(None);
        under_way.insert(question, receiver);
        Coalesced::Ask(sender)
    }

    /// Closes a question that nobody waits for, and says whether that was so. Under the lock under which callers join,
    /// so that none can join a question that is then not asked.
    pub fn abandon(&self, question: &QuestionId, asking: &watch::Sender<Option<Verdict>>) -> bool {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // One listener is the one kept here.
        let abandoned = asking.receiver_count() <= 1;
        if abandoned {
            under_way.remove(question);
        }
        abandoned
    }

    /// Keeps a verdict and hands it to everybody who waits. Called also where the asking task failed, so that no
    /// question stays open for ever.
    pub fn settle(&self, question: QuestionId, provider: usize, credential: CredentialId, verdict: &Verdict) {
        self.keep(question, provider, credential, verdict);
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&question);
    }

    /// Valid entries, roughly.
    pub fn entries(&self) -> u64 {
        self.verified.entry_count() + self.refused.entry_count()
    }

    fn keep(&self, question: QuestionId, provider: usize, credential: CredentialId, verdict: &Verdict) {
        let now = Instant::now();
        let refuse = |key, value| self.refused.insert(key, Kept { value, until: now + self.limits.negative_ttl });
        match verdict {
            Verdict::Unavailable | Verdict::Unfit | Verdict::NotNow(..) => {}
            Verdict::NotMine => refuse(RefusedKey::Credential(provider, credential), Refused::NotMine),
            Verdict::Rejected => refuse(RefusedKey::Credential(provider, credential), Refused::Rejected),
            Verdict::Verified(verified, _) if verified.granted.is_nothing() => {
                refuse(RefusedKey::Question(question), Refused::NothingGranted(verified.clone()));
            }
            Verdict::Verified(verified, lifetime) => {
                let ttl = self.limits.ttl;
                let until = now + lifetime.answer.map_or(ttl, |lifetime| lifetime.min(ttl));
                self.verified.insert(question, Kept { value: verified.clone(), until });
            }
        }
    }
}

impl<V> Kept<V> {
    fn fresh(self) -> Option<V> {
        (Instant::now() < self.until).then_some(self.value)
    }
}

/// Each entry carries its own end.
struct UntilExpiry;

impl<K, V> Expiry<K, Kept<V>> for UntilExpiry {
    fn expire_after_create(&self, _key: &K, kept: &Kept<V>, created_at: Instant) -> Option<Duration> {
        Some(kept.until.saturating_duration_since(created_at))
    }

    fn expire_after_update(&self, _: &K, kept: &Kept<V>, updated_at: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(kept.until.saturating_duration_since(updated_at))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::identity::Question;
    use crate::identity::credential::Credential;
    use crate::identity::fingerprint::{DependsOn, HashKey};
    use crate::registry::Access;

    #[test]
    fn only_what_nobody_waits_for_is_abandoned() {
        let second = Duration::from_secs(1);
        let cache =
            VerdictCache::new(CacheLimits { ttl: second, negative_ttl: second, capacity: 9, negative_capacity: 9 });
        let key = HashKey::random().unwrap();
        let credential = Credential::Bearer(SecretString::from("token"));
        let id = key.credential(&credential);
        let client = std::net::Ipv4Addr::LOCALHOST.into();
        let secret = key.secret(&credential);
        let question = Question { credential, id, secret, access: Access::Login, client, request_id: "id".into() };
        let question = key.question(0, DependsOn::Credential, &question);

        let Coalesced::Ask(sender) = cache.coalesce(question, 0, id) else { panic!("nobody asks yet") };
        let Coalesced::Wait(waiting) = cache.coalesce(question, 0, id) else { panic!("somebody asks") };
        assert!(!cache.abandon(&question, &sender));
        drop(waiting);
        assert!(cache.abandon(&question, &sender));
        assert!(matches!(cache.coalesce(question, 0, id), Coalesced::Ask(_)), "whoever comes next asks anew");
    }
}
