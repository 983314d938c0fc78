//! The places of credentials that providers are being asked about, and what becomes of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::{FailedLogins, LoginSource, PendingLogins};
use crate::identity::guard::shared_guards::SharedLogin;
use crate::identity::model::{NotNow, Verdict};

/// The questions about the credential of one request. The tasks that ask the providers hold it too,
/// so their verdicts count even after the caller has disconnected.
pub struct Search {
    pub(super) attempt: Arc<Attempt>,
    /// `true` if a provider was asked and refused the credential.
    pub(super) refused: AtomicBool,
    /// `true` if a refusal does not settle the question, because a provider verified the
    /// credential or gave no answer.
    pub(super) undecided: AtomicBool,
}

/// A credential from one address that providers are being asked about. It counts once, however many
/// requests present it. If the credential is not known to be good, this value holds its place, and
/// dropping the value gives the place back.
pub(super) struct Attempt {
    pub(super) logins: Arc<FailedLogins>,
    pub(super) who: LoginSource,
    pub(super) counted: AtomicBool,
    /// The place among all replicas.
    pub(super) place: Option<Arc<SharedLogin>>,
}

impl Search {
    /// Records the verdict of a provider that was asked.
    pub fn heard(&self, verdict: &Verdict) {
        match verdict {
            verdict if is_no(verdict) => self.refused.store(true, Ordering::Relaxed),
            // The caller can bring these verdicts about, through the question itself or through
            // other questions. A refusal that came before still counts; otherwise, guesses at the
            // provider that refused would be free. Users of an htpasswd file are not affected: the
            // file is asked about them first.
            Verdict::NotNow(NotNow::Barred | NotNow::FailureBudgetSpent | NotNow::Crowded, _) => {}
            _ => self.undecided.store(true, Ordering::Relaxed),
        }
    }
}

impl Drop for Search {
    /// Counts the credential as wrong if the caller disconnected after a refusal, because the
    /// caller may have learned enough.
    fn drop(&mut self) {
        if *self.refused.get_mut() && !*self.undecided.get_mut() {
            self.attempt.count();
        }
    }
}

impl Attempt {
    /// Counts the credential as wrong.
    pub(super) fn count(&self) {
        if self.counted.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(place) = &self.place {
            place.wrong();
        }
        let (FailedLogins { owed, good, .. }, LoginSource { quota, network, pair, known, .. }) =
            (&*self.logins, self.who);
        let charge = |now| {
            let _kept = owed.with(owed.key(&network), now, |word| quota.take(word, now));
        };
        if known {
            let now = self.logins.now();
            // If several requests present the credential at once, only the first one counts.
            if good.with(pair, now, |until| std::mem::take(until) > now) {
                charge(now);
            }
            return;
        }
        // The place is released and the quota charged under one lock: another request never sees
        // the place counted twice or not at all.
        let mut under_way = self.logins.lock();
        charge(self.logins.now());
        if let Some(changed) = self.leave(&mut under_way) {
            changed.notify_waiters();
        }
    }

    /// Releases the place. Returns the notification for the requests that wait at this address.
    fn leave(&self, under_way: &mut HashMap<IpAddr, PendingLogins>) -> Option<Arc<Notify>> {
        let here = under_way.get_mut(&self.who.network)?;
        // Another attempt may have taken this entry after the last reference to this one was
        // dropped.
        if here
            .attempts
            .get(&self.who.credential)
            .is_some_and(|attempt| ptr::eq(attempt.as_ptr(), self))
        {
            here.attempts.remove(&self.who.credential);
        }
        let changed = here.changed.clone();
        if here.attempts.is_empty() {
            under_way.remove(&self.who.network);
            // Later requests create a new entry with another notification, so the requests that
            // wait on this one must all be woken now.
            changed.notify_waiters();
        }
        Some(changed)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.who.known || *self.counted.get_mut() {
            return;
        }
        let mut under_way = self.logins.lock();
        if let Some(changed) = self.leave(&mut under_way) {
            changed.notify_one();
        }
    }
}

pub(super) fn is_no(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::NotMine | Verdict::AccountPassword | Verdict::Rejected | Verdict::Unfit
    )
}
