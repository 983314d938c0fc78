//! A question to one provider, answered from the cache, by an identical question under way, or by
//! the provider.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::{CacheUse, ManagedProvider};
use crate::identity::cache::{
    Awaited, CacheKey, Coalesced, InFlight, QuestionAnswer, VerdictCache,
};
use crate::identity::guard::failed_logins::{FailedLogins, LoginAttempt};
use crate::identity::guard::question_rate::QuestionRate;
use crate::identity::model::credential::Credential;
use crate::identity::model::keyed_hash::{DependsOn, HashKey, QuestionId};
use crate::identity::model::revocation::Revocations;
use crate::identity::model::{Lifetime, NotNow, Question, ReplicaWaits, Verdict};
use crate::identity::shared_verdicts::SharedVerdicts;
use crate::metrics::Metrics;
use crate::registry::{Access, Action};

/// The time after which a caller should try again if the gate itself has too many open questions.
pub(super) const BUSY_FOR: Duration = Duration::from_secs(1);

/// The state that all questions to all providers share. It lasts as long as the process.
pub(super) struct SharedState {
    pub(super) cache: VerdictCache,
    pub(super) in_flight: InFlight,
    pub(super) revocations: Revocations,
    pub(super) logins: Arc<FailedLogins>,
    pub(super) question_rate: QuestionRate,
    pub(super) metrics: Arc<Metrics>,
    pub(super) key: HashKey,
    /// The runtime that asks the questions. It is not the worker of the caller, because a question
    /// must not end when the caller disconnects.
    pub(super) runtime: Handle,
    /// The verdicts of the other replicas; `None` if there are none.
    pub(super) shared_verdicts: Option<Arc<SharedVerdicts>>,
    /// The keys of the key file besides `key`. Other replicas may hash credentials with them,
    /// after a rotation of the file.
    pub(super) other_keys: RwLock<Arc<[HashKey]>>,
}

impl SharedState {
    /// Returns the keyed hash of the question to this provider.
    pub(super) fn question_id(
        &self,
        provider: &ManagedProvider,
        question: &Question,
    ) -> QuestionId {
        self.key.question(provider.number, provider.depends_on(), question)
    }

    /// Creates the waits of a request for other replicas, if there are any.
    pub(super) fn waits(&self) -> Option<Arc<ReplicaWaits>> {
        self.shared_verdicts.is_some().then(Arc::default)
    }

    /// Returns the cache key of the question to this provider.
    pub(super) fn asked(&self, provider: &ManagedProvider, question: &Question) -> CacheKey {
        let id = self.question_id(provider, question);
        let credential = self.key.question(provider.number, DependsOn::Credential, question);
        let secret =
            (!matches!(question.credential, Credential::Anonymous)).then_some(question.secret);
        let floor = question.revocation.floor.map(|floor| floor.at);
        CacheKey { question: id, credential, secret, floor, provider: provider.number }
    }

    /// Returns the verdict of this provider, or its stale answer if the provider cannot be asked.
    /// `login` is the login attempt of the request, if failed logins are limited.
    pub(super) async fn verdict_of(
        self: &Arc<Self>,
        provider: &Arc<ManagedProvider>,
        question: &Question,
        mut login: Option<&mut LoginAttempt<'_>>,
        last: bool,
        cache_use: &mut CacheUse,
    ) -> Verdict {
        let asked = self.asked(provider, question);
        if let Some(verdict) = self.cache.look_up(&asked) {
            *cache_use = CacheUse::from_verdict(&verdict);
            return verdict;
        }
        let verdict = self
            .ask_together(provider, &asked, question, login.as_deref_mut(), last, cache_use)
            .await;
        if let Some(login) = login {
            login.told(&verdict);
        }
        match verdict {
            // Only in an outage: a caller must not keep a credential alive by asking so much that
            // it is throttled.
            Verdict::Unavailable if may_be_stale(&question.access) => {
                let Some(verified) = self.cache.stale(&asked) else { return verdict };
                *cache_use = CacheUse::Stale;
                Verdict::Verified(verified, Lifetime::default())
            }
            verdict => verdict,
        }
    }

    /// Asks the question, or waits for an identical question under way.
    async fn ask_together(
        self: &Arc<Self>,
        provider: &Arc<ManagedProvider>,
        asked: &CacheKey,
        question: &Question,
        login: Option<&mut LoginAttempt<'_>>,
        last: bool,
        cache_use: &mut CacheUse,
    ) -> Verdict {
        *cache_use = CacheUse::Miss;
        if let Some(verdict) = self.cache.resting(&asked.question) {
            return verdict;
        }
        let search = match login {
            None => None,
            // The search waits for other questions, so it gets the time of one question.
            Some(login) => match timeout(provider.timeout, login.search()).await {
                Ok(Ok(search)) => Some(search),
                Ok(Err(wait)) => return Verdict::NotNow(NotNow::FailedLogins, wait),
                Err(_) => return Verdict::NotNow(NotNow::NoTurn, BUSY_FOR),
            },
        };
        match self.in_flight.coalesce(asked.question, || self.cache.look_up(asked)) {
            Coalesced::Answered(verdict) => {
                *cache_use = CacheUse::from_verdict(&verdict);
                verdict
            }
            Coalesced::Wait(awaited) => {
                *cache_use = CacheUse::Coalesced;
                answer(awaited).await.verdict
            }
            Coalesced::Ask(sender) => {
                let unasked = |verdict| {
                    self.in_flight.close(&asked.question);
                    let _ = sender.send(Some(QuestionAnswer { verdict, is_shared: false }));
                };
                let awaited = sender.subscribe();
                match provider.room(&question.credential).questions.clone().try_acquire_owned() {
                    Err(_) => {
                        let verdict = Verdict::NotNow(NotNow::NoTurn, BUSY_FOR);
                        let (asked, now) = ((question.secret, question.kind()), SystemTime::now());
                        provider.health.came_to(asked, &verdict, None, false, now);
                        unasked(verdict);
                    }
                    Ok(place) => match provider.breaker.admit(Instant::now()) {
                        // Another replica may know the answer.
                        None if self.shared_verdicts.is_none() => unasked(Verdict::Unavailable),
                        admission => {
                            let asking = (provider.clone(), *asked, admission, search);
                            self.spawn(asking, question.clone(), last, sender, place);
                        }
                    },
                }
                let QuestionAnswer { verdict, is_shared } = answer(awaited).await;
                if is_shared {
                    *cache_use = CacheUse::Shared;
                }
                verdict
            }
        }
    }
}

async fn answer(mut awaited: Awaited) -> QuestionAnswer {
    let answered = awaited.wait_for(Option::is_some).await;
    let unavailable = QuestionAnswer { verdict: Verdict::Unavailable, is_shared: false };
    answered.ok().and_then(|answer| answer.clone()).unwrap_or(unavailable)
}

/// Returns whether a stale answer may be used: only reads continue while a provider cannot be
/// asked.
fn may_be_stale(access: &Access) -> bool {
    match access {
        Access::Catalog => false,
        Access::Login | Access::Repository(..) | Access::Repositories(_) => {
            access.repositories().all(|(_, actions)| actions == Action::Pull.needs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Actions, RepositoryName};

    #[test]
    fn only_logins_and_pulls_may_use_a_stale_answer() {
        let access = |scopes: &[(&str, &str)]| {
            let wanted = scopes
                .iter()
                .map(|(name, words)| (RepositoryName::parse(name).unwrap(), Actions::asked(words)));
            Access::several(wanted.collect())
        };
        for (access, stale) in [
            (Access::Login, true),
            (Access::Catalog, false),
            (access(&[("a", "pull")]), true),
            (access(&[("a", "pull,push")]), false),
            (access(&[("a", "push")]), false),
            (access(&[("a", "delete")]), false),
            (access(&[("a", "pull"), ("b", "pull")]), true),
            (access(&[("a", "pull"), ("b", "pull,push")]), false),
            (access(&[("a", "pull"), ("b", "delete")]), false),
        ] {
            assert_eq!(may_be_stale(&access), stale, "{access:?}");
        }
    }
}
