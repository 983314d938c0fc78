//! A limit on wrong credentials by client address, which makes guessing passwords slow at every
//! provider.
//!
//! A request with a credential that is not known to be good from its address reserves a place
//! *before* a provider is asked, so that many wrong credentials sent at once cannot exceed the
//! limit either. The place is given back unless the credential turns out to be wrong. If questions
//! under way hold the remaining places, the next request waits for them: a hundred CI jobs behind
//! one address, each with a new token, all get in. Once wrong credentials have used up all places,
//! every credential that was not verified from this address within the last day is turned away
//! before any lookup, so that an attacker does not learn which other passwords are right.
//!
//! This state lasts as long as the process; a reload does not change it.

mod attempt;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::shared_guards::{Entered, KnownOutcome, SharedGuards, SharedLogin};
use crate::identity::model::keyed_hash::CredentialId;
use crate::identity::model::{Question, ReplicaWaits, Verdict};
use crate::net::client_address::client_network;
use attempt::{Attempt, is_no};

use crate::rate_limit::{CallerKey, Clock, Nanos, Quota, Table, nanos};
pub use attempt::Search;

/// The time for which a verified credential counts as known to be good from an address.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The time for which the other replicas are not asked again about a wrong credential.
const WRONG_FOR: Duration = Duration::from_secs(5);

/// The age after which the entry of a known credential is renewed. Renewing it on every request
/// would be wasteful.
const WRITTEN_AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);

/// The state of all addresses and of the credentials used from them: two tables of fixed size, and
/// the questions under way.
#[derive(Default)]
pub struct FailedLogins {
    clock: Clock,
    /// The used quota of each address.
    owed: Table,
    /// The time until which a credential counts as known to be good from an address. A full table
    /// drops the entry that expires first.
    good: Table,
    /// The time until which the other replicas are not asked about a credential from an address,
    /// because it was wrong just now.
    wrong_lately: Table,
    under_way: Mutex<HashMap<IpAddr, PendingLogins>>,
    /// The counts of all replicas; `None` if the gate is alone.
    shared: Option<Arc<SharedGuards>>,
}

/// The places held by questions from one address. The list is never empty.
#[derive(Default)]
struct PendingLogins {
    attempts: HashMap<CredentialId, Weak<Attempt>>,
    /// Notified when a place is given back, or used up by a wrong credential.
    changed: Arc<Notify>,
}

/// A request with a credential that was admitted.
pub struct LoginAttempt<'a> {
    logins: &'a Arc<FailedLogins>,
    who: LoginSource,
    /// `true` if the credential is known to be good, but its entry is due for renewal.
    aging: bool,
    /// The time when the entry of the credential is due for renewal.
    renewed_at: Nanos,
    search: Option<Arc<Search>>,
    /// The place among all replicas, if the credential is not known to be good.
    place: Option<Arc<SharedLogin>>,
}

/// A credential that is known to be good from an address. Until its entry is due for renewal,
/// admitting it changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct GoodLogin {
    network: IpAddr,
    until: Nanos,
}

/// A credential and the address that it was sent from.
#[derive(Clone, Copy)]
struct LoginSource {
    quota: Quota,
    network: IpAddr,
    credential: CredentialId,
    /// The key of both in [`FailedLogins::good`].
    pair: CallerKey,
    known: bool,
}

/// The reason why no place is available.
enum NoPlace {
    /// Wrong credentials have used up all places. The next place is available after this time.
    Spent(Duration),
    /// Questions under way hold the remaining places, and their answers decide.
    Pending(OwnedNotified),
}

impl FailedLogins {
    /// Admits a request with a credential. `quota` is the number of wrong credentials that one
    /// address may send.
    ///
    /// # Errors
    /// The time until the next place is available, if wrong credentials have used up the quota and
    /// this credential is not known to be good from the address.
    pub fn admit(
        self: &Arc<Self>,
        quota: Quota,
        question: &Question,
    ) -> Result<LoginAttempt<'_>, Duration> {
        self.admit_at(quota, question, self.now())
    }

    fn admit_at(
        self: &Arc<Self>,
        quota: Quota,
        question: &Question,
        now: Nanos,
    ) -> Result<LoginAttempt<'_>, Duration> {
        let quota = self.part(quota);
        let network = client_network(question.client);
        let revocation = &question.revocation;
        // After a revocation, the credential has another key, so it is not known any more.
        let credential = question.credential_by_itself();
        let pair = self.good.key(&(network, credential, revocation.number));
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
        let renewed_at = verified.saturating_add(nanos(WRITTEN_AGAIN_AFTER));
        let aging = known && now > renewed_at;
        let who = LoginSource { quota, network, credential, pair, known };
        Ok(LoginAttempt { logins: self, who, aging, renewed_at, search: None, place: None })
    }

    /// Creates the state of one of several replicas.
    pub fn of_replica(shared: Arc<SharedGuards>) -> Self {
        Self { shared: Some(shared), ..Self::default() }
    }

    /// Returns the part of the quota that this replica counts by itself: all of it, while Redis
    /// counts for all.
    fn part(&self, quota: Quota) -> Quota {
        match self.shared.as_ref().map_or(1, |shared| shared.parts()) {
            1 => quota,
            parts => quota.share(parts),
        }
    }

    /// Returns whether a login from this address needs no admission now.
    pub fn covers(&self, good: &GoodLogin, client: IpAddr, now: Instant) -> bool {
        self.clock.at(now) <= good.until && client_network(client) == good.network
    }

    fn missing(&self, quota: Quota, network: IpAddr, now: Nanos) -> Duration {
        self.owed.with(self.owed.key(&network), now, |word| quota.missing(*word, now))
    }

    fn try_attempt(
        self: &Arc<Self>,
        who: LoginSource,
        place: Option<&Arc<SharedLogin>>,
        now: Nanos,
    ) -> Result<Arc<Attempt>, NoPlace> {
        let attempt = || {
            let (logins, counted) = (self.clone(), AtomicBool::new(false));
            Arc::new(Attempt { logins, who, counted, place: place.cloned() })
        };
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

impl LoginAttempt<'_> {
    /// Returns what is known of the credential, if it is known to be good from the address and its
    /// entry need not be renewed yet.
    pub fn good(&self) -> Option<GoodLogin> {
        let known = self.who.known && !self.aging;
        known.then_some(GoodLogin { network: self.who.network, until: self.renewed_at })
    }

    /// Returns whether the other replicas must be asked: there are any, and the credential is not
    /// known to be good.
    pub fn is_for_others(&self) -> bool {
        !self.who.known && self.logins.shared.is_some()
    }

    /// Asks the other replicas: one may know the credential, or may have counted wrong credentials
    /// from the address.
    ///
    /// # Errors
    /// The time until the next place is available, if wrong credentials have used up all places.
    pub async fn enter(
        &mut self,
        question: &Question,
        waits: &Arc<ReplicaWaits>,
    ) -> Result<(), Duration> {
        let Some(shared) = self.logins.shared.as_ref() else { return Ok(()) };
        let LoginSource { quota, network, pair, .. } = self.who;
        // A caller that repeats a wrong credential learns nothing, and Redis is not asked.
        let now = self.logins.now();
        if self.logins.wrong_lately.with(pair, now, |until| *until > now) {
            return Ok(());
        }
        match shared.enter(quota, question, network, waits).await? {
            Entered::Alone => {}
            Entered::Place(place) => self.place = Some(place),
            Entered::Good(since) => {
                let floor = question.revocation.floor;
                if floor.is_none_or(|floor| since > floor.unix_micros) {
                    self.who.known = true;
                    self.keep_good();
                }
            }
        }
        Ok(())
    }

    fn keep_good(&self) {
        let now = self.logins.now();
        let good_until = now.saturating_add(nanos(KNOWN_FOR));
        self.logins.good.with(self.who.pair, now, |until| *until = good_until);
    }

    /// Returns the value that is needed to ask a provider. Waits as long as questions under way
    /// hold the remaining places; the caller limits that wait.
    ///
    /// # Errors
    /// The time until the next place is available, if wrong credentials have used up all places in
    /// the meantime.
    pub async fn search(&mut self) -> Result<Arc<Search>, Duration> {
        if let Some(search) = &self.search {
            return Ok(search.clone());
        }
        let attempt = loop {
            match self.logins.try_attempt(self.who, self.place.as_ref(), self.logins.now()) {
                Ok(attempt) => break attempt,
                Err(NoPlace::Spent(wait)) => return Err(wait),
                Err(NoPlace::Pending(changed)) => changed.await,
            }
        };
        let search =
            Search { attempt, refused: AtomicBool::new(false), undecided: AtomicBool::new(false) };
        Ok(self.search.insert(search.into()).clone())
    }

    /// Records a verdict about the credential that another request or this one received. Refusals
    /// are not recorded here.
    pub fn told(&self, verdict: &Verdict) {
        if let Some(search) = self.search.as_ref().filter(|_| !is_no(verdict)) {
            search.heard(verdict);
        }
    }

    /// Records that the credential is good.
    pub fn verified(&self, question: &Question) {
        match (&self.place, &self.logins.shared) {
            (Some(place), _) => place.good(),
            (None, Some(shared)) if self.aging => {
                let LoginSource { quota, network, .. } = self.who;
                shared.known(quota, question, network, KnownOutcome::Good);
            }
            _ => {}
        }
        if let Some(search) = &self.search {
            search.undecided.store(true, Ordering::Relaxed);
        }
        if !self.who.known || self.aging {
            self.keep_good();
        }
    }

    /// Records that the credential is wrong. It counts only if a provider was asked, and not if the
    /// cache already knew that it is wrong.
    pub fn wrong(&self, question: &Question) {
        let LoginSource { quota, network, pair, known, .. } = self.who;
        if self.logins.shared.is_some() {
            let now = self.logins.now();
            let until = now.saturating_add(nanos(WRONG_FOR));
            self.logins.wrong_lately.with(pair, now, |wrong_until| *wrong_until = until);
        }
        // Of several requests with the credential at once, only the first one counts.
        let is_first = || self.logins.good.with(pair, self.logins.now(), |until| *until > 0);
        if let Some(shared) = self.logins.shared.as_ref().filter(|_| known && is_first()) {
            let is_refused = |search: &Arc<Search>| search.refused.load(Ordering::Relaxed);
            let outcome = match self.search.as_ref().is_some_and(is_refused) {
                true => KnownOutcome::Refused,
                false => KnownOutcome::Remembered,
            };
            shared.known(quota, question, network, outcome);
        }
        if let Some(search) =
            self.search.as_ref().filter(|search| search.refused.load(Ordering::Relaxed))
        {
            search.attempt.count();
        } else if self.who.known {
            self.logins.good.with(self.who.pair, self.logins.now(), |until| *until = 0);
        }
    }
}

#[cfg(test)]
mod tests;
