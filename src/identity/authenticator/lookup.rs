//! A question to one provider, answered from the cache, by an identical question under way, or by
//! the provider.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{sleep, timeout, timeout_at};

use super::{CacheUse, ManagedProvider};
use crate::identity::cache::{Answered, Awaited, CacheKey, Coalesced, InFlight, VerdictCache};
use crate::identity::guard::breaker::{Admission, BreakerChange, OPEN_FOR, QuestionOutcome};
use crate::identity::guard::failed_logins::{FailedLogins, LoginAttempt, Search};
use crate::identity::guard::question_rate::QuestionRate;
use crate::identity::model::credential::Credential;
use crate::identity::model::keyed_hash::{DependsOn, HashKey, QuestionId};
use crate::identity::model::revocation::Revocations;
use crate::identity::model::{Lifetime, NotNow, Question, Verdict};
use crate::identity::provider::common::log_topic::LogTopic;
use crate::identity::shared_verdicts::{Claim, Learned, SharedProvider, SharedVerdicts};
use crate::metrics::Metrics;
use crate::registry::{Access, Action};

/// The time after which a caller should try again if the gate itself has too many open questions.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// The limit on a question under way, as a multiple of the provider's `timeout`. Each exchange with
/// a server may take the whole `timeout`; the rest is for the steps before it, such as reserving a
/// place in a failure budget.
const DEADLINE_FACTOR: f64 = 1.5;

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
    /// The keys of the key file besides `key`. Other replicas may hash credentials with them, after
    /// a rotation of the file.
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
                    let _ = sender.send(Some(Answered { verdict, is_shared: false }));
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
                let Answered { verdict, is_shared } = answer(awaited).await;
                if is_shared {
                    *cache_use = CacheUse::Shared;
                }
                verdict
            }
        }
    }

    /// Asks the question in a task of its own.
    fn spawn(
        self: &Arc<Self>,
        (provider, asked, admission, search): (
            Arc<ManagedProvider>,
            CacheKey,
            Option<Admission>,
            Option<Arc<Search>>,
        ),
        question: Question,
        last: bool,
        sender: watch::Sender<Option<Answered>>,
        place: OwnedSemaphorePermit,
    ) {
        let shared = self.clone();
        // The future is large. In a box of its own, it takes the memory of an earlier one. Without
        // the box, it would be part of the task, whose memory is aligned to a cache line: the
        // allocator of glibc seldom reuses such a piece, and would leave a hole for each question.
        self.runtime.spawn(Box::pin(async move {
            // Dropping this value settles the question even if the task panics, so that no caller
            // waits forever.
            let mut asking = Asking {
                shared: &shared,
                provider: &provider,
                asked,
                admission,
                search,
                sender: &sender,
                begun: Instant::now(),
                outcome: QuestionOutcome::Failed(question.secret),
                answer: Some(Answered { verdict: Verdict::Unavailable, is_shared: false }),
                is_kept: true,
            };
            let claim = asking.learn(&question).await;
            if let Some(claim) = claim {
                asking.ask(&question, last).await;
                // No caller waits until the other replicas know.
                let verdict = asking.answer.as_ref().map(|answer| answer.verdict.clone());
                drop((asking, place));
                if let Some(claim) = claim {
                    let verdict = verdict.unwrap_or(Verdict::Unavailable);
                    claim.put(&verdict, shared.cache.limits()).await;
                }
            }
        }));
    }
}

/// A question that is being asked. Dropping it caches the verdict and hands it to all callers that
/// wait.
struct Asking<'a> {
    shared: &'a SharedState,
    provider: &'a Arc<ManagedProvider>,
    asked: CacheKey,
    /// `None` if the breaker does not let the provider be asked.
    admission: Option<Admission>,
    search: Option<Arc<Search>>,
    sender: &'a watch::Sender<Option<Answered>>,
    begun: Instant,
    outcome: QuestionOutcome,
    /// `None` if the question was abandoned. It may have been opened again since.
    answer: Option<Answered>,
    /// `true` if the verdict comes from the provider.
    is_kept: bool,
}

impl Asking<'_> {
    /// Looks for a verdict that another replica has asked for. Returns `None` if there is one, or
    /// else the claim of this replica on the question, if there are replicas.
    async fn learn(&mut self, question: &Question) -> Option<Option<Claim>> {
        let (cache, asked) = (&self.shared.cache, &self.asked);
        let (Some(shared), Some(id)) = (&self.shared.shared_verdicts, &self.provider.shared_id)
        else {
            return Some(None);
        };
        let depends = self.provider.depends_on();
        let provider = SharedProvider { id, name: &self.provider.name, depends };
        let learn = |learned, at| {
            match learned {
                Learned::Verdict(verdict) => cache.learn(asked, at, &verdict),
                Learned::OtherRefused => cache.learn_other_refused(asked, at),
            }
            cache.look_up(asked).is_some()
        };
        let claim = shared.claim(provider, question, learn).await;
        if claim.is_some() {
            return claim;
        }
        let Some(verdict) = cache.look_up(asked) else { return Some(None) };
        self.outcome = QuestionOutcome::NotAsked;
        self.answer = Some(Answered { verdict, is_shared: true });
        None
    }

    async fn ask(&mut self, question: &Question, last: bool) {
        let provider = self.provider;
        if self.admission.is_none() {
            (self.outcome, self.is_kept) = (QuestionOutcome::NotAsked, false);
            return;
        }
        // A caller that waits for a turn longer than half the timeout is told to come back.
        let turn_by = self.begun + provider.timeout / 2;
        match self.shared.question_rate.turn(provider.number, question, provider.timeout / 2) {
            Ok(Duration::ZERO) => {}
            Ok(wait) => sleep(wait).await,
            Err(verdict) => {
                self.outcome = QuestionOutcome::NotAsked;
                self.came_to(verdict);
                return;
            }
        }
        let Ok(Ok(_turn)) =
            timeout_at(turn_by.into(), provider.room(&question.credential).turns.acquire()).await
        else {
            if let Some(left_out) = provider.log_line(LogTopic::Busy) {
                tracing::warn!(
                    provider = %provider.name,
                    left_out,
                    "the gate has more questions than the provider answers in time"
                );
            }
            let verdict = Verdict::NotNow(NotNow::NoTurn, BUSY_FOR);
            provider.health.came_to(
                (question.secret, question.kind()),
                &verdict,
                None,
                false,
                SystemTime::now(),
            );
            self.outcome = QuestionOutcome::NotAsked;
            self.came_to(verdict);
            return;
        };
        if self.shared.in_flight.abandon(&self.asked.question, self.sender) {
            self.outcome = QuestionOutcome::NotAsked;
            self.answer = None;
            return;
        }
        // The time of the question starts here: the answer does not cover later changes at the
        // provider, such as a revocation. The wait for the turn is not counted against the time to
        // answer; otherwise, a caller could cause an outage by asking so much that others have to
        // wait.
        self.begun = Instant::now();
        let deadline = self.begun + provider.timeout.mul_f64(DEADLINE_FACTOR);
        let known = self.asked.secret.and_then(|secret| self.shared.cache.known(secret));
        let known = known.is_some_and(|known| known.has_answered(self.asked.provider));
        let answered = timeout_at(deadline.into(), provider.ask(question, known, last)).await;
        let (verdict, more) = answered.unwrap_or_else(|_| {
            if let Some(left_out) = provider.log_line(LogTopic::NoAnswer) {
                tracing::warn!(
                    provider = %provider.name,
                    request_id = %question.request_id,
                    left_out,
                    "the provider gave no answer within {:?}",
                    provider.timeout
                );
            }
            (Verdict::Unavailable, 0)
        });
        self.shared.question_rate.charge(provider.number, question, more);
        self.outcome = match verdict {
            Verdict::Unavailable => QuestionOutcome::Failed(question.secret),
            Verdict::NotNow(NotNow::FailureBudgetSpent | NotNow::NoTurn | NotNow::Crowded, _) => {
                QuestionOutcome::NotAsked
            }
            _ => QuestionOutcome::Answered,
        };
        // A provider that was not asked has not shown that it is up.
        let took = (self.outcome != QuestionOutcome::NotAsked).then(|| self.begun.elapsed());
        if let Some(took) = took {
            let is_up = verdict != Verdict::Unavailable;
            self.shared.metrics.question_answered(&provider.name, verdict.as_str(), is_up, took);
        }
        let timed_out = took.is_some_and(|took| took >= provider.timeout);
        provider.health.came_to(
            (question.secret, question.kind()),
            &verdict,
            took,
            timed_out,
            SystemTime::now(),
        );
        // Recorded before the verdict is published, so that it counts even if no caller waits for
        // it.
        if let Some(search) = &self.search {
            search.heard(&verdict);
        }
        self.came_to(verdict);
    }

    fn came_to(&mut self, verdict: Verdict) {
        self.answer = Some(Answered { verdict, is_shared: false });
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let breaker = &self.provider.breaker;
        let report = |admission| breaker.report(admission, self.outcome, Instant::now());
        match self.admission.take().and_then(report) {
            Some(BreakerChange::Suspected) => {
                drop(self.shared.runtime.spawn(check(self.provider.clone())))
            }
            change => say(&self.provider.name, change),
        }
        if let Some(answer) = self.answer.take() {
            // A verdict of another replica is in the cache already.
            if !answer.is_shared && self.is_kept {
                self.shared.cache.keep(&self.asked, self.begun, &answer.verdict);
            }
            self.shared.in_flight.close(&self.asked.question);
            let _ = self.sender.send(Some(answer));
        }
    }
}

/// Asks the gate's own question, whose answer tells a provider that is down from callers that make
/// their questions fail.
async fn check(provider: Arc<ManagedProvider>) {
    let asked = provider.clone();
    // A panic in this task counts as no answer. The breaker waits for an outcome.
    let up = tokio::spawn(async move { asked.is_up().await }).await.unwrap_or(false);
    say(&provider.name, provider.breaker.checked(up, Instant::now()));
}

fn say(provider: &str, change: Option<BreakerChange>) {
    match change {
        Some(BreakerChange::Opened) => {
            tracing::warn!(
                provider,
                "the provider does not answer; the gate stops asking it except for one question \
                 every {OPEN_FOR:?}"
            );
        }
        Some(BreakerChange::Closed) => tracing::info!(provider, "the provider answers again"),
        Some(BreakerChange::Suspected) | None => {}
    }
}

async fn answer(mut awaited: Awaited) -> Answered {
    let answered = awaited.wait_for(Option::is_some).await;
    let unavailable = Answered { verdict: Verdict::Unavailable, is_shared: false };
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
