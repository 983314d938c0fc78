//! Limits on the request rate, the pull rate and the concurrent uploads of callers.
//! [`gate`](crate::gate) defines when each limit is checked, and the section `limits` of the config
//! defines its size.
//!
//! The usage of callers is kept as long as the process lives ([`Accounts`]); the quotas are those
//! of the newest config ([`Limits`]). A request that a limit refuses does not count towards that
//! limit.

pub mod exchange;
mod ledger;
pub mod settings;
pub mod shared_uploads;
pub mod uploads;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::denial::{Denial, Limit};
use crate::identity::Verified;
use crate::net::client_address::client_network;
use crate::rate_limit::shared::{Bell, SharedTaken};
use crate::rate_limit::{CallerKey, LONGEST_WAIT, Quota};
use exchange::LeaseExchange;
use ledger::Ledger;
use settings::{IdentityLimits, Settings};
use shared_uploads::SharedUploads;
use uploads::{UploadPlace, Uploads};

/// The usage of all callers. All workers and all configs of a process share it, and so do all
/// replicas of the gate.
pub struct Accounts {
    clients: Arc<Ledger>,
    identities: Arc<Ledger>,
    pulls: Arc<Ledger>,
    uploads: Arc<Uploads>,
}

/// The limits of a config.
pub struct Limits {
    settings: Settings,
    accounts: Arc<Accounts>,
}

/// The treatment of a request that exceeds a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLimit {
    /// The request is refused.
    Reject,
    /// The request waits if the wait is shorter than [`LONGEST_WAIT`], because clients that push do
    /// not honour `Retry-After`.
    Wait,
}

/// The limits of one caller.
pub struct CallerLimits<'a> {
    limits: IdentityLimits,
    accounts: &'a Accounts,
    key: CallerKey,
}

/// The usage that one caller has of one limit. An account that only one request needs borrows the
/// ledger, so that workers do not all write one count of its owners.
#[derive(Clone)]
pub struct Account<T = Arc<Ledger>> {
    quota: Quota,
    ledger: T,
    key: CallerKey,
}

/// One unit that was taken from an account. Dropping the charge gives the unit back.
#[must_use]
pub struct Charge<T: Deref<Target = Ledger> = Arc<Ledger>> {
    account: Account<T>,
    taken: Option<SharedTaken>,
}

/// The key that usage is counted by: the address if no provider identified the caller.
#[derive(Hash)]
enum Counted<'a> {
    Client(IpAddr),
    Identity { provider: &'a str, subject: &'a str },
}

impl Default for Accounts {
    /// Creates the accounts of a gate that is alone.
    fn default() -> Self {
        Self::new(None)
    }
}

impl Accounts {
    /// Creates accounts, which are shared with other replicas, if there are any.
    pub fn new(shared: Option<(Arc<LeaseExchange>, Arc<SharedUploads>)>) -> Self {
        let (exchange, uploads) = shared.unzip();
        let ledger = |is_told| Arc::new(Ledger::new(is_told, exchange.clone()));
        Self {
            clients: ledger(false),
            identities: ledger(false),
            pulls: ledger(true),
            uploads: Arc::new(uploads.map_or_else(Uploads::default, Uploads::of_replica)),
        }
    }

    /// Returns the accounts of each limit that replicas share, with the letter that stands for the
    /// limit in Redis.
    fn ledgers(&self) -> [(char, &Ledger); 3] {
        [('c', &self.clients), ('i', &self.identities), ('p', &self.pulls)]
    }

    /// Hands over the share of a caller that is busy at another replica.
    pub fn hear(&self, bell: &Bell) {
        for (_, ledger) in self.ledgers().into_iter().filter(|(limit, _)| *limit == bell.limit) {
            ledger.hear(bell);
        }
    }

    /// Sets the number of replicas that divide each quota.
    pub fn set_replicas(&self, replicas: u32) {
        for (_, ledger) in self.ledgers() {
            ledger.set_replicas(replicas);
        }
        self.uploads.set_replicas(replicas);
    }

    /// Sets the key under which callers are hashed, which all replicas have.
    pub fn set_key(&self, key: [u64; 2]) {
        for (_, ledger) in self.ledgers() {
            ledger.set_key(key);
        }
    }

    /// Returns the number of callers with a lease.
    pub fn leases(&self) -> usize {
        self.ledgers().iter().map(|(_, ledger)| ledger.leases()).sum()
    }
}

impl Limits {
    /// Creates limits over the usage that is known so far.
    pub fn new(settings: Settings, accounts: Arc<Accounts>) -> Self {
        Self { settings, accounts }
    }

    /// Counts a request from an address, and waits for its turn if `on_limit` allows that.
    ///
    /// # Errors
    /// [`Denial::Limited`] with [`Limit::PerClient`] if the address exceeds its limit.
    pub async fn client(&self, address: IpAddr, on_limit: OnLimit) -> Result<(), Denial> {
        match self.client_account(address) {
            Some(account) => account.request(Limit::PerClient, on_limit).await,
            None => Ok(()),
        }
    }

    /// Counts a request from an address that is refused for another reason. It counts like any
    /// other request.
    pub fn count_client(&self, address: IpAddr) {
        if let Some(account) = self.client_account(address) {
            account.ledger.count(account.key, account.quota);
        }
    }

    fn client_account(&self, address: IpAddr) -> Option<Account<&Ledger>> {
        let (quota, ledger) = (self.settings.per_client?, &*self.accounts.clients);
        let key = ledger.key(&Counted::Client(client_network(address)));
        Some(Account { quota, ledger, key })
    }

    /// Returns the limits of a caller; `None` if it has no limits. Callers of two providers are
    /// always counted separately, even if their names are equal. A caller without a credential is
    /// counted by its address.
    pub fn for_caller(
        &self,
        caller: Option<&Verified>,
        address: IpAddr,
    ) -> Option<CallerLimits<'_>> {
        let limits = self.settings.for_caller(caller);
        if limits == IdentityLimits::default() {
            return None;
        }
        let principal =
            caller.map(|caller| &caller.principal).filter(|principal| !principal.is_anonymous());
        let counted = match principal {
            Some(principal) => Counted::Identity {
                provider: &principal.source.provider,
                subject: &principal.subject,
            },
            None => Counted::Client(client_network(address)),
        };
        let accounts = &*self.accounts;
        Some(CallerLimits { limits, accounts, key: accounts.identities.key(&counted) })
    }
}

impl CallerLimits<'_> {
    /// Counts a request of the caller, and waits for its turn if `on_limit` allows that.
    ///
    /// # Errors
    /// [`Denial::Limited`] with [`Limit::PerIdentity`] if the caller exceeds its limit.
    pub async fn request(&self, on_limit: OnLimit) -> Result<(), Denial> {
        match self.limits.per_identity {
            Some(quota) => {
                self.account(quota, &*self.accounts.identities)
                    .request(Limit::PerIdentity, on_limit)
                    .await
            }
            None => Ok(()),
        }
    }

    /// Returns the pull account of the caller; `None` if pulls have no limit.
    pub fn pulls(&self) -> Option<Account> {
        let quota = self.limits.pulls_per_identity?;
        Some(self.account(quota, self.accounts.pulls.clone()))
    }

    /// Waits for a place for an upload; `None` if uploads have no limit.
    ///
    /// # Errors
    /// [`Denial::Limited`] with [`Limit::ConcurrentUploadsPerIdentity`] if no place became free in
    /// time. The end of an upload cannot be predicted, so `retry_after` is always [`LONGEST_WAIT`].
    pub async fn upload(&self) -> Result<Option<UploadPlace>, Denial> {
        let Some(limit) = self.limits.concurrent_uploads_per_identity else { return Ok(None) };
        let place = self.accounts.uploads.enter(self.key, limit).await;
        let limit = Limit::ConcurrentUploadsPerIdentity;
        place.map(Some).ok_or(Denial::Limited { limit, retry_after: LONGEST_WAIT })
    }

    fn account<T>(&self, quota: Quota, ledger: T) -> Account<T> {
        Account { quota, ledger, key: self.key }
    }
}

impl Account {
    /// Takes one pull from the account.
    ///
    /// # Errors
    /// [`Denial::Limited`] with [`Limit::PullsPerIdentity`] if no pull is left.
    pub async fn pull(&self) -> Result<Charge, Denial> {
        let denied = |retry_after| Denial::Limited { limit: Limit::PullsPerIdentity, retry_after };
        let (charge, _) = self.clone().reserve(Duration::ZERO).await.map_err(denied)?;
        Ok(charge)
    }

    /// Returns the quota of the account.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Returns the number of units that are left.
    pub fn remaining(&self) -> u32 {
        self.ledger.remaining(self.key, self.quota)
    }
}

impl<T: Deref<Target = Ledger>> Account<T> {
    async fn request(self, limit: Limit, on_limit: OnLimit) -> Result<(), Denial> {
        let patience = match on_limit {
            OnLimit::Reject => Duration::ZERO,
            OnLimit::Wait => LONGEST_WAIT,
        };
        // If the client disconnects during the wait, the charge is dropped and its unit is given
        // back.
        let denied = |retry_after| Denial::Limited { limit, retry_after };
        let (charge, wait) = self.reserve(patience).await.map_err(denied)?;
        if wait > Duration::ZERO {
            sleep(wait).await;
        }
        charge.keep();
        Ok(())
    }

    async fn reserve(self, patience: Duration) -> Result<(Charge<T>, Duration), Duration> {
        let (taken, wait) = self.ledger.reserve(self.key, self.quota, patience).await?;
        Ok((Charge { account: self, taken: Some(taken) }, wait))
    }
}

impl<T: Deref<Target = Ledger>> Charge<T> {
    /// Keeps the charge: the unit is not given back.
    pub fn keep(mut self) {
        self.taken = None;
    }
}

impl<T: Deref<Target = Ledger>> Drop for Charge<T> {
    fn drop(&mut self) {
        let Some(taken) = self.taken.take() else { return };
        let Account { ledger, key, .. } = &self.account;
        ledger.give_back(*key, taken);
    }
}

#[cfg(test)]
mod tests;
