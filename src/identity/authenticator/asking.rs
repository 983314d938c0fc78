//! A question to a provider that is being asked, in a task of its own: first whether another
//! replica knows the answer, then the provider.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{sleep, timeout_at};

use super::ManagedProvider;
use super::lookup::{BUSY_FOR, SharedState};
use crate::identity::cache::{CacheKey, QuestionAnswer};
use crate::identity::guard::breaker::{Admission, BreakerChange, OPEN_FOR, QuestionOutcome};
use crate::identity::guard::failed_logins::Search;
use crate::identity::model::{NotNow, Question, Verdict};
use crate::identity::provider::common::log_topic::LogTopic;
use crate::identity::shared_verdicts::{Lookup, SharedAnswer};
use crate::telemetry::{QuestionTrace, SpanError, SpanKind};

/// The limit on a question under way, as a multiple of the provider's `timeout`. Each exchange with
/// a server may take the whole `timeout`; the rest is for the steps before it, such as reserving a
/// place in a failure budget.
const DEADLINE_FACTOR: f64 = 1.5;

impl SharedState {
    /// Asks the question in a task of its own.
    pub(super) fn spawn(
        self: &Arc<Self>,
        (provider, asked, admission, search): (
            Arc<ManagedProvider>,
            CacheKey,
            Option<Admission>,
            Option<Arc<Search>>,
        ),
        question: Question,
        last: bool,
        sender: watch::Sender<Option<QuestionAnswer>>,
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
                answer: Some(QuestionAnswer { verdict: Verdict::Unavailable, is_shared: false }),
                is_kept: true,
            };
            if let Lookup::Ask(claim) = asking.learn(&question).await {
                asking.ask(&question, last).await;
                // No caller waits until the other replicas know.
                let verdict = asking.answer.as_ref().map(|answer| answer.verdict.clone());
                let begun = asking.begun;
                drop((asking, place));
                if let Some(claim) = claim {
                    let verdict = verdict.unwrap_or(Verdict::Unavailable);
                    let secrets = || shared.secrets(&question.credential);
                    if !claim.put(&verdict, shared.cache.limits(), secrets).await {
                        shared.cache.forget_before(question.secret, begun);
                    }
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
    sender: &'a watch::Sender<Option<QuestionAnswer>>,
    begun: Instant,
    outcome: QuestionOutcome,
    /// `None` if the question was abandoned. It may have been opened again since.
    answer: Option<QuestionAnswer>,
    /// `true` if the verdict comes from the provider.
    is_kept: bool,
}

impl Asking<'_> {
    /// Looks for a verdict that another replica has asked for.
    async fn learn(&mut self, question: &Question) -> Lookup {
        let (cache, asked) = (&self.shared.cache, &self.asked);
        let (Some(shared), Some(provider)) = (&self.shared.shared_verdicts, self.provider.shared())
        else {
            return Lookup::Ask(None);
        };
        let revoked = question.revocation.moment.map(|moment| moment.at);
        let learn = |learned, at| {
            // Replicas hear of a revocation one after the other.
            if revoked.is_some_and(|revoked| at <= revoked) {
                return false;
            }
            match learned {
                SharedAnswer::Verdict(verdict) => cache.learn(asked, at, &verdict),
                SharedAnswer::OtherRefused => cache.learn_other_refused(asked, at),
            }
            cache.look_up(asked).is_some()
        };
        let found = shared.look_up(provider, question, learn).await;
        if let Lookup::Ask(_) = found {
            return found;
        }
        let Some(verdict) = cache.look_up(asked) else { return Lookup::Ask(None) };
        self.outcome = QuestionOutcome::NotAsked;
        self.answer = Some(QuestionAnswer { verdict, is_shared: true });
        found
    }

    async fn ask(&mut self, question: &Question, last: bool) {
        let provider = self.provider;
        // The wait for other replicas takes nothing from the time for this question.
        self.begun = Instant::now();
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
        let why = match &answered {
            Ok((Verdict::Unavailable | Verdict::NotNow(..), _)) => {
                provider.provider.fault_since(self.begun)
            }
            Ok(_) => None,
            Err(_) => Some(format!("no answer within {:?}", provider.timeout)),
        };
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
            if let Some(trace) = &question.trace {
                trace_answer(trace, self.begun, provider, &verdict);
            }
        }
        let timed_out = took.is_some_and(|took| took >= provider.timeout);
        provider.health.came_to(
            (question.secret, question.kind()),
            &verdict,
            took,
            timed_out,
            SystemTime::now(),
        );
        if let Some(why) = why {
            provider.health.because(why);
        }
        // Recorded before the verdict is published, so that it counts even if no caller waits for
        // it.
        if let Some(search) = &self.search {
            search.heard(&verdict);
        }
        self.came_to(verdict);
    }

    fn came_to(&mut self, verdict: Verdict) {
        self.answer = Some(QuestionAnswer { verdict, is_shared: false });
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

/// Hands over the span of an answered question.
fn trace_answer(
    trace: &QuestionTrace,
    begun: Instant,
    provider: &ManagedProvider,
    verdict: &Verdict,
) {
    let kind =
        if provider.provider.asks_a_server() { SpanKind::Client } else { SpanKind::Internal };
    let attributes = vec![
        ("moorgate.provider", provider.name.clone().into()),
        ("moorgate.provider.type", provider.type_name().into()),
        ("moorgate.verdict", verdict.as_str().into()),
    ];
    let is_error = *verdict == Verdict::Unavailable;
    let error = is_error.then(|| SpanError::Reason(verdict.as_str()));
    trace.answered(begun, kind, attributes, error);
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
