//! The search for the provider that a credential belongs to.

use std::sync::Arc;
use std::time::Duration;

use super::order::asked_early;
use super::{Authenticator, CacheUse, ManagedProvider, too_many_failures};
use crate::denial::{Denial, Limit};
use crate::identity::guard::failed_logins::LoginAttempt;
use crate::identity::model::{NotNow, Question, ReplicaWaits, Verdict, Verified};
use crate::registry::Access;

/// The time after which a caller should try again if its credential could not be checked.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl Authenticator {
    /// Returns what a caller without a credential may read. The first provider that grants anything
    /// decides, or that gives no answer. The right to anything but reading is never asked for.
    pub(super) async fn verify_anonymous(
        &self,
        question: &Question,
        cache_use: &mut CacheUse,
    ) -> Result<Arc<Verified>, Denial> {
        let access = question.access.reading();
        if access == Access::Login {
            return Ok(self.anonymous.clone());
        }
        let providers = || self.providers.iter().filter(|provider| provider.answers_anonymous());
        // The waits for one provider are bounded by themselves, and most answers are cached.
        let waits = providers().nth(1).and_then(|_| self.shared.waits());
        let question = Question { access, waits, ..question.clone() };
        self.note_order(&question.credential, ManagedProvider::answers_anonymous);
        for provider in providers() {
            let verdict = self.shared.verdict_of(provider, &question, None, false, cache_use).await;
            self.note_verdict(provider, &verdict);
            match outcome(provider, verdict) {
                Some(Ok(verified)) if verified.granted.is_nothing() => {}
                Some(outcome) => return outcome,
                None => {}
            }
        }
        Ok(self.anonymous.clone())
    }

    /// Asks the providers until one recognizes the credential. Asks again if the credential was
    /// revoked in the meantime.
    pub(super) async fn search(
        &self,
        question: &Question,
        waits: Option<Arc<ReplicaWaits>>,
        last: Option<&Arc<ManagedProvider>>,
        mut login: Option<&mut LoginAttempt<'_>>,
        cache_use: &mut CacheUse,
    ) -> Result<Arc<Verified>, Denial> {
        let waits = waits.or_else(|| self.shared.waits());
        let question = &Question { waits: waits.clone(), ..question.clone() };
        let answer = self.search_once(question, last, login.as_deref_mut(), cache_use).await;
        match self.refreshed_if_revoked(question) {
            None => answer,
            Some(question) => Box::pin(self.search(&question, waits, last, login, cache_use)).await,
        }
    }

    async fn search_once(
        &self,
        question: &Question,
        last: Option<&Arc<ManagedProvider>>,
        mut login: Option<&mut LoginAttempt<'_>>,
        cache_use: &mut CacheUse,
    ) -> Result<Arc<Verified>, Denial> {
        let order = self.order(question)?;
        self.note_order(&question.credential, |provider| {
            order.iter().any(|asked| asked.number == provider.number)
        });
        let last = last.or_else(|| self.provider(&question.vouched.as_ref()?.by));
        let mut out_of_turn = Vec::new();
        for provider in asked_early(&order, last, &question.credential) {
            let verdict = self
                .shared
                .verdict_of(provider, question, login.as_deref_mut(), false, cache_use)
                .await;
            self.note_verdict(provider, &verdict);
            match verdict {
                // A refusal counts only at the provider's place in the order, because a provider
                // before it may recognize the credential.
                no @ (Verdict::NotMine
                | Verdict::AccountPassword
                | Verdict::Rejected
                | Verdict::Unfit) => out_of_turn.push((provider.number, no)),
                verdict => {
                    return outcome(provider, verdict).unwrap_or(Err(Denial::WrongCredential));
                }
            }
        }
        let mut refusal = Denial::WrongCredential;
        for (position, provider) in order.iter().enumerate() {
            let verdict = match out_of_turn.iter().find(|(asked, _)| *asked == provider.number) {
                Some((_, verdict)) => verdict.clone(),
                None => {
                    let is_last = position + 1 == order.len();
                    let verdict = self
                        .shared
                        .verdict_of(provider, question, login.as_deref_mut(), is_last, cache_use)
                        .await;
                    self.note_verdict(provider, &verdict);
                    verdict
                }
            };
            if verdict == Verdict::AccountPassword {
                refusal = Denial::AccountPassword;
            }
            if let Some(outcome) = outcome(provider, verdict) {
                return outcome;
            }
        }
        Err(refusal)
    }
}

/// Returns the outcome of a verdict for the request, or `None` if the next provider is asked.
fn outcome(provider: &ManagedProvider, verdict: Verdict) -> Option<Result<Arc<Verified>, Denial>> {
    let provider = || provider.name.clone();
    Some(match verdict {
        Verdict::NotMine | Verdict::AccountPassword => return None,
        Verdict::Verified(verified, _) => Ok(verified),
        Verdict::Rejected | Verdict::Unfit => Err(Denial::WrongCredential),
        Verdict::NotNow(NotNow::FailureBudgetSpent, retry_after) => {
            Err(Denial::FailureBudgetSpent { provider: provider(), retry_after })
        }
        Verdict::NotNow(NotNow::FailedLogins, retry_after) => Err(too_many_failures(retry_after)),
        Verdict::NotNow(NotNow::TooOften, retry_after) => {
            Err(Denial::Limited { limit: Limit::Questions, retry_after })
        }
        Verdict::NotNow(NotNow::Crowded, retry_after) => {
            Err(Denial::Limited { limit: Limit::PasswordChecks, retry_after })
        }
        Verdict::NotNow(_, retry_after) => {
            Err(Denial::ProviderUnavailable { provider: provider(), retry_after })
        }
        Verdict::Unavailable => {
            Err(Denial::ProviderUnavailable { provider: provider(), retry_after: RETRY_AFTER })
        }
    })
}
