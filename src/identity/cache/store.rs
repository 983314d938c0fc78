//! Two stores: one for the rights of verified credentials, one for credentials that were refused or
//! granted nothing. A flood of wrong credentials thus cannot evict a good one.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::buckets::{AnswersVersion, Buckets};
use super::entry::{CachedAnswers, CachedVerdict, NegativeVerdict, Validity};
use super::{CacheKey, CacheLimits, weight};
use crate::identity::model::keyed_hash::{QuestionId, SecretId};
use crate::identity::model::unix_time::unix_now;
use crate::identity::model::{Lifetime, Verdict, Verified};

/// The answers about each secret.
pub(super) struct Stores {
    /// Read when an answer is added, never on a lookup.
    limits: RwLock<CacheLimits>,
    verified: Buckets<Arc<Verified>>,
    refused: Buckets<NegativeVerdict>,
}

impl Stores {
    pub(super) fn new(limits: CacheLimits) -> Self {
        Self {
            limits: RwLock::new(limits),
            verified: Buckets::new(limits.capacity, weight::of_verified),
            refused: Buckets::new(limits.negative_capacity, weight::of_refused),
        }
    }

    /// Returns the answers about verified credentials with this secret.
    pub(super) fn known(&self, secret: SecretId) -> Option<CachedAnswers<Arc<Verified>>> {
        self.verified.with(secret, CachedAnswers::clone)
    }

    /// Returns the version of the answers about verified credentials with this secret.
    pub(super) fn version(&self, secret: SecretId) -> AnswersVersion {
        self.verified.version(secret)
    }

    /// Returns whether the answers are still of this version.
    pub(super) fn is_current(&self, secret: SecretId, version: AnswersVersion) -> bool {
        self.verified.is_current(secret, version)
    }

    /// Returns the fresh verdict, if the question need not be asked.
    pub(super) fn look_up(&self, asked: &CacheKey) -> Option<Verdict> {
        let verified = |verified: Arc<Verified>| Verdict::Verified(verified, Lifetime::default());
        let fresh = self.verified.with(asked.key(), |known| {
            known.fresh(&asked.question, asked.floor).map(|answer| answer.value().clone())
        });
        if let Some(value) = fresh.flatten() {
            return Some(verified(value));
        }
        let refused = self.refused.with(asked.key(), |known| {
            let fresh =
                |question| known.fresh(question, asked.floor).map(|answer| answer.value().clone());
            fresh(&asked.credential).or_else(|| fresh(&asked.question))
        });
        refused.flatten().map(|refused| match refused {
            NegativeVerdict::NotMine => Verdict::NotMine,
            NegativeVerdict::AccountPassword => Verdict::AccountPassword,
            NegativeVerdict::Rejected => Verdict::Rejected,
            NegativeVerdict::NothingGranted(value) => verified(value),
        })
    }

    /// Returns the stale answer, to be used while the provider cannot be asked.
    pub(super) fn stale(&self, asked: &CacheKey) -> Option<Arc<Verified>> {
        let stale = |known: &CachedAnswers<_>| known.stale(&asked.question, asked.floor).cloned();
        self.verified.with(asked.key(), stale).flatten()
    }

    pub(super) fn verify(
        &self,
        asked: &CacheKey,
        at: Instant,
        verified: &Arc<Verified>,
        lifetime: Lifetime,
    ) {
        // If two questions overlap, the answer to the earlier one may arrive later. It is outdated
        // by then.
        let about = [asked.question, asked.credential];
        if self.refused.with(asked.key(), |known| known.is_newer(&about, at)) == Some(true) {
            return;
        }
        // The provider refused the same secret with another user name. With this user name, the
        // secret may still be valid, but the answer must not be used in an outage.
        let refused_since = self.refused.with(asked.key(), |known| {
            known.has_answered_since(asked.provider, at, |refused| {
                !matches!(refused, NegativeVerdict::NothingGranted(_))
            })
        });
        let CacheLimits { ttl, stale_if_error, .. } = self.limits();
        let left = lifetime.credential.map_or(Duration::MAX, |ends| {
            Duration::from_secs(ends.saturating_sub(unix_now())).saturating_add(at.elapsed())
        });
        let answer = lifetime.answer.unwrap_or(Duration::MAX);
        // An issued token that is sent upstream is worthless after its expiry, even in an outage.
        let stale_at_most =
            if verified.granted.token().is_some() { left.min(answer) } else { left };
        let good = Validity {
            fresh: answer.min(ttl).min(left),
            stale: if stale_if_error.is_zero() || refused_since == Some(true) {
                Duration::ZERO
            } else {
                (ttl + stale_if_error).min(stale_at_most)
            },
            ends: lifetime.credential,
        };
        let answer = CachedVerdict::new(asked.question, asked.provider, verified.clone(), at, good);
        self.verified.change(asked.key(), |known| Some(CachedAnswers::with(known, answer)));
    }

    pub(super) fn refuse(
        &self,
        question: QuestionId,
        asked: &CacheKey,
        at: Instant,
        refused: NegativeVerdict,
    ) {
        // Earlier answers of the provider are void, even in an outage.
        match refused {
            NegativeVerdict::NothingGranted(_) => {
                self.forget(asked, |answer| answer.question() == asked.question)
            }
            NegativeVerdict::NotMine
            | NegativeVerdict::AccountPassword
            | NegativeVerdict::Rejected => self.forget_refused(asked),
        }
        let good =
            Validity { fresh: self.limits().negative_ttl, stale: Duration::ZERO, ends: None };
        let answer = CachedVerdict::new(question, asked.provider, refused, at, good);
        self.refused.change(asked.key(), |known| Some(CachedAnswers::with(known, answer)));
    }

    /// Drops the positive answers that `gone` selects.
    pub(super) fn forget(
        &self,
        asked: &CacheKey,
        gone: impl Fn(&CachedVerdict<Arc<Verified>>) -> bool,
    ) {
        self.change(asked, |answer| if gone(&answer) { None } else { Some(answer) });
    }

    /// Drops the positive answers about a credential that its provider now refuses. With another
    /// user name, the same secret may still be valid, or it may have been revoked too. Those
    /// answers are kept but never served in an outage, until the provider confirms them again.
    pub(super) fn forget_refused(&self, asked: &CacheKey) {
        self.change(asked, |answer| match answer.provider() {
            _ if asked.is_about(&answer) => None,
            provider if provider == asked.provider => Some(answer.never_stale()),
            _ => Some(answer),
        });
    }

    /// Returns whether the provider verified this credential, or answered this question, after
    /// `at`.
    pub(super) fn knows_later(&self, asked: &CacheKey, at: Instant) -> bool {
        let is_later = |known: &CachedAnswers<_>| known.is_about_later(asked, at);
        self.verified.with(asked.key(), is_later) == Some(true)
            || self
                .refused
                .with(asked.key(), |known| known.is_newer(&[asked.question, asked.credential], at))
                == Some(true)
    }

    /// Records that the provider refused the same secret with another user name at `at`.
    pub(super) fn other_refused(&self, asked: &CacheKey, at: Instant) {
        self.change(asked, |answer| {
            let is_outdated = answer.provider() == asked.provider && !answer.is_newer_than(at);
            Some(if is_outdated { answer.never_stale() } else { answer })
        });
    }

    /// Drops the positive answers about the secret to questions up to `at`.
    pub(super) fn forget_before(&self, secret: SecretId, at: Instant) {
        if self.verified.with(secret, |_| ()).is_some() {
            self.verified
                .change(secret, |known| known?.without(|answer| !answer.is_newer_than(at)));
        }
    }

    /// Drops all answers.
    pub(super) fn clear(&self) {
        self.verified.change_all(|_| None);
        self.refused.change_all(|_| None);
    }

    /// Replaces positive answers, and drops the entry if none is left.
    fn change(
        &self,
        asked: &CacheKey,
        change: impl Fn(CachedVerdict<Arc<Verified>>) -> Option<CachedVerdict<Arc<Verified>>>,
    ) {
        if self.verified.with(asked.key(), |_| ()).is_some() {
            self.verified.change(asked.key(), |known| known?.changed(change));
        }
    }

    /// Drops all answers of this provider.
    pub(super) fn forget_provider(&self, provider: u32) {
        self.verified.change_all(|known| known.without(|answer| answer.provider() == provider));
        self.refused.change_all(|known| known.without(|answer| answer.provider() == provider));
    }

    /// Sets the lifetimes of answers that are added from now on. The capacities do not change.
    pub(super) fn set_limits(&self, limits: CacheLimits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    pub(super) fn limits(&self) -> CacheLimits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of secrets with answers.
    pub(super) fn entries(&self) -> u64 {
        self.verified.len() + self.refused.len()
    }
}
