//! A bound on wrong credentials, by address: guessing passwords takes long, wherever they are
//! checked.
//!
//! Who shows a credential that is not known to be good from there takes a place *before* a provider
//! is asked, so that many wrong ones at once are not more than the bound either, and gives it back
//! unless it turns out to be wrong. Where places are held only by questions under way, the next one
//! waits for these: a hundred CI jobs behind one address, each with a new token, all get in. Once
//! wrong ones have taken all places, whoever was not verified from there within a day
//! is turned away before anything is looked up, so that nobody learns which other passwords
//! are right.
//!
//! All of it lives as long as the process, whatever is reloaded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::identity::model::keyed_hash::CredentialId;
use crate::identity::model::{NotNow, Question, Verdict};
use crate::net::client_address::client_network;
use crate::rate_limit::{CallerKey, Clock, Nanos, Quota, Table, nanos};

/// For so long a credential that was verified from an address is known to be good from there.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// It is written down again only when that is so long ago, and not for each request.
const WRITTEN_AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);

/// What is known of addresses and of credentials from there: two tables of a fixed size, and what
/// is under way.
#[derive(Default)]
pub struct FailedLogins {
    clock: Clock,
    /// What each address owes.
    owed: Table,
    /// Until when a credential is known to be good from an address. The one that ends first goes
    /// first.
    good: Table,
    under_way: Mutex<HashMap<IpAddr, PendingLogins>>,
}

/// The places that are held at one address. There is at least one.
#[derive(Default)]
struct PendingLogins {
    attempts: HashMap<CredentialId, Weak<Attempt>>,
    /// A place was given back, or lost.
    changed: Arc<Notify>,
}

/// A caller who shows a credential, and may.
pub struct Login<'a> {
    logins: &'a Arc<FailedLogins>,
    who: LoginSource,
    /// Known to be good, and that was not written down just now.
    aging: bool,
    search: Option<Arc<Search>>,
}

/// A credential from an address.
#[derive(Clone, Copy)]
struct LoginSource {
    quota: Quota,
    network: IpAddr,
    credential: CredentialId,
    /// Both, in [`FailedLogins::good`].
    pair: CallerKey,
    known: bool,
}

/// The questions about one request's credential. The tasks that ask hold it too, so that what they
/// hear counts also when the caller has gone.
pub struct Search {
    attempt: Arc<Attempt>,
    /// A provider was asked, and said no.
    refused: AtomicBool,
    /// It is not over for that: somebody verified it, or gave no answer.
    undecided: AtomicBool,
}

/// A credential from an address that is being asked about, and counts once however many requests
/// show it. Unless it is known, this is its place; dropping it gives it back.
struct Attempt {
    logins: Arc<FailedLogins>,
    who: LoginSource,
    counted: AtomicBool,
}

/// Why there is no place.
enum NoPlace {
    /// Wrong credentials have taken all. There is one after this.
    Spent(Duration),
    /// Questions under way hold the rest: their answers decide.
    Pending(OwnedNotified),
}

impl FailedLogins {
    /// Lets in whoever shows a credential. `quota`: how many wrong ones an address has.
    ///
    /// # Errors
    /// Where these are spent, and the credential is not known to be good from there: when there is
    /// the next.
    pub fn admit(
        self: &Arc<Self>,
        quota: Quota,
        question: &Question,
    ) -> Result<Login<'_>, Duration> {
        self.admit_at(quota, question, self.now())
    }

    fn admit_at(
        self: &Arc<Self>,
        quota: Quota,
        question: &Question,
        now: Nanos,
    ) -> Result<Login<'_>, Duration> {
        let network = client_network(question.client);
        let revocation = &question.revocation;
        // What was revoked is another one from then on.
        let pair = self.good.key(&(network, question.id, revocation.number));
        let until = self.good.with(pair, now, |until| *until);
        let verified = until.saturating_sub(nanos(KNOWN_FOR));
        let floor = revocation.floor.map(|floor| self.clock.at(floor.at));
        let known = until > now && floor.is_none_or(|floor| verified > floor);
        if !known {
            match self.missing(quota, network, now) {
                Duration::ZERO => {}
                wait => return Err(wait),
            }
        }
        let aging = known && now.saturating_sub(verified) > nanos(WRITTEN_AGAIN_AFTER);
        let who = LoginSource { quota, network, credential: question.id, pair, known };
        Ok(Login { logins: self, who, aging, search: None })
    }

    fn missing(&self, quota: Quota, network: IpAddr, now: Nanos) -> Duration {
        self.owed.with(self.owed.key(&network), now, |word| quota.missing(*word, now))
    }

    fn try_attempt(
        self: &Arc<Self>,
        who: LoginSource,
        now: Nanos,
    ) -> Result<Arc<Attempt>, NoPlace> {
        let attempt =
            || Arc::new(Attempt { logins: self.clone(), who, counted: AtomicBool::new(false) });
        if who.known {
            return Ok(attempt());
        }
        let mut under_way = self.lock();
        let remaining = self
            .owed
            .with(self.owed.key(&who.network), now, |word| who.quota.remaining(*word, now));
        if remaining == 0 {
            return Err(NoPlace::Spent(self.missing(who.quota, who.network, now)));
        }
        let here = under_way.entry(who.network).or_default();
        if let Some(attempt) = here.attempts.get(&who.credential).and_then(Weak::upgrade) {
            return Ok(attempt);
        }
        if here.attempts.len() >= usize::try_from(remaining).unwrap_or(usize::MAX) {
            return Err(NoPlace::Pending(here.changed.clone().notified_owned()));
        }
        let attempt = attempt();
        here.attempts.insert(who.credential, Arc::downgrade(&attempt));
        Ok(attempt)
    }

    fn now(&self) -> Nanos {
        self.clock.now()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, PendingLogins>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Login<'_> {
    /// What is needed to ask a provider. It waits as long as that depends on questions under way;
    /// the caller bounds the wait.
    ///
    /// # Errors
    /// Where wrong credentials have taken all places meanwhile: when there is the next.
    pub async fn search(&mut self) -> Result<Arc<Search>, Duration> {
        if let Some(search) = &self.search {
            return Ok(search.clone());
        }
        let attempt = loop {
            match self.logins.try_attempt(self.who, self.logins.now()) {
                Ok(attempt) => break attempt,
                Err(NoPlace::Spent(wait)) => return Err(wait),
                Err(NoPlace::Pending(changed)) => changed.await,
            }
        };
        let search =
            Search { attempt, refused: AtomicBool::new(false), undecided: AtomicBool::new(false) };
        Ok(self.search.insert(search.into()).clone())
    }

    /// A provider said this of the credential, to this caller or to another.
    pub fn told(&self, verdict: &Verdict) {
        if let Some(search) = self.search.as_ref().filter(|_| !is_no(verdict)) {
            search.heard(verdict);
        }
    }

    /// The credential is good.
    pub fn verified(&self) {
        if let Some(search) = &self.search {
            search.undecided.store(true, Ordering::Relaxed);
        }
        if !self.who.known || self.aging {
            let now = self.logins.now();
            self.logins
                .good
                .with(self.who.pair, now, |until| *until = now.saturating_add(nanos(KNOWN_FOR)));
        }
    }

    /// The credential is wrong. It counts where a provider was asked for that, and not where it was
    /// known to be wrong.
    pub fn wrong(&self) {
        if let Some(search) =
            self.search.as_ref().filter(|search| search.refused.load(Ordering::Relaxed))
        {
            search.attempt.count();
        } else if self.who.known {
            self.logins.good.with(self.who.pair, self.logins.now(), |until| *until = 0);
        }
    }
}

impl Search {
    /// A provider was asked, and said this.
    pub fn heard(&self, verdict: &Verdict) {
        match verdict {
            verdict if is_no(verdict) => self.refused.store(true, Ordering::Relaxed),
            // Brought about by the question itself, or by others of whoever guesses: a no that was
            // heard before stays one, or guesses at the provider before would be free.
            // Users of a file were asked about there first.
            Verdict::NotNow(NotNow::Barred | NotNow::FailureBudgetSpent | NotNow::Crowded, _) => {}
            _ => self.undecided.store(true, Ordering::Relaxed),
        }
    }
}

impl Drop for Search {
    /// The caller left when somebody had said no: he may have seen enough.
    fn drop(&mut self) {
        if *self.refused.get_mut() && !*self.undecided.get_mut() {
            self.attempt.count();
        }
    }
}

impl Attempt {
    /// It was wrong.
    fn count(&self) {
        if self.counted.swap(true, Ordering::Relaxed) {
            return;
        }
        let (FailedLogins { owed, good, .. }, LoginSource { quota, network, pair, known, .. }) =
            (&*self.logins, self.who);
        let charge = |now| {
            let _kept = owed.with(owed.key(&network), now, |word| quota.take(word, now));
        };
        if known {
            let now = self.logins.now();
            // Of those who show it at once, the first one counts.
            if good.with(pair, now, |until| std::mem::take(until) > now) {
                charge(now);
            }
            return;
        }
        // The place goes as the word is written: nobody sees it taken twice, or not at all.
        let mut under_way = self.logins.lock();
        charge(self.logins.now());
        if let Some(changed) = self.leave(&mut under_way) {
            changed.notify_waiters();
        }
    }

    /// Leaves its place; who waits there is to be told.
    fn leave(&self, under_way: &mut HashMap<IpAddr, PendingLogins>) -> Option<Arc<Notify>> {
        let here = under_way.get_mut(&self.who.network)?;
        // Another one may have come in its place since nobody held it any more.
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
            // Those who come find nobody to wait for, so those who wait must not wait for them.
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

fn is_no(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::NotMine | Verdict::Rejected | Verdict::Unfit)
}

#[cfg(test)]
mod tests;
