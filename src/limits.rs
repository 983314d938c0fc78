//! Limits on the request rate, the pull rate and the concurrent uploads of callers.
//! [`gate`](crate::gate) defines when each limit is checked, and the section `limits` of the config
//! defines its size.
//!
//! The usage of callers is kept as long as the process lives ([`Accounts`]); the quotas are those
//! of the newest config ([`Limits`]). A request that a limit refuses does not count towards that
//! limit.

pub mod settings;
pub mod uploads;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::denial::{Denial, Limit};
use crate::identity::Verified;
use crate::net::client_address::client_network;
use crate::rate_limit::{CallerKey, Clock, LONGEST_WAIT, Quota, Table, Taken};
use settings::{IdentityLimits, Settings};
use uploads::{UploadPlace, Uploads};

/// The usage of all callers. All workers and all configs of a process share it.
#[derive(Default)]
pub struct Accounts {
    clock: Clock,
    clients: Arc<Table>,
    identities: Arc<Table>,
    pulls: Arc<Table>,
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
/// table, so that workers do not all write one count of its owners.
#[derive(Clone)]
pub struct Account<T = Arc<Table>> {
    quota: Quota,
    table: T,
    key: CallerKey,
    clock: Clock,
}

/// One unit that was taken from an account. Dropping the charge gives the unit back.
#[must_use]
pub struct Charge<T: Deref<Target = Table> = Arc<Table>> {
    account: Account<T>,
    taken: Option<Taken>,
}

/// The key that usage is counted by: the address if no provider identified the caller.
#[derive(Hash)]
enum Counted<'a> {
    Client(IpAddr),
    Identity { provider: &'a str, subject: &'a str },
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
        if let Some(Ok(charge)) = self.client_account(address).map(Account::take) {
            charge.keep();
        }
    }

    fn client_account(&self, address: IpAddr) -> Option<Account<&Table>> {
        let (quota, Accounts { clock, clients, .. }) = (self.settings.per_client?, &*self.accounts);
        let key = clients.key(&Counted::Client(client_network(address)));
        Some(Account { quota, table: clients, key, clock: *clock })
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

    fn account<T>(&self, quota: Quota, table: T) -> Account<T> {
        Account { quota, table, key: self.key, clock: self.accounts.clock }
    }
}

impl Account {
    /// Takes one pull from the account.
    ///
    /// # Errors
    /// [`Denial::Limited`] with [`Limit::PullsPerIdentity`] if no pull is left.
    pub fn pull(&self) -> Result<Charge, Denial> {
        let denied = |retry_after| Denial::Limited { limit: Limit::PullsPerIdentity, retry_after };
        self.clone().take().map_err(denied)
    }

    /// Returns the quota of the account.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Returns the number of units that are left.
    pub fn remaining(&self) -> u32 {
        let now = self.clock.now();
        self.table.with(self.key, now, |word| self.quota.remaining(*word, now))
    }
}

impl<T: Deref<Target = Table>> Account<T> {
    async fn request(self, limit: Limit, on_limit: OnLimit) -> Result<(), Denial> {
        let patience = match on_limit {
            OnLimit::Reject => Duration::ZERO,
            OnLimit::Wait => LONGEST_WAIT,
        };
        // If the client disconnects during the wait, the charge is dropped and its unit is given
        // back.
        let (charge, wait) =
            self.reserve(patience).map_err(|retry_after| Denial::Limited { limit, retry_after })?;
        if wait > Duration::ZERO {
            sleep(wait).await;
        }
        charge.keep();
        Ok(())
    }

    fn take(self) -> Result<Charge<T>, Duration> {
        self.reserve(Duration::ZERO).map(|(charge, _)| charge)
    }

    fn reserve(self, patience: Duration) -> Result<(Charge<T>, Duration), Duration> {
        let now = self.clock.now();
        let (taken, wait) =
            self.table.with(self.key, now, |word| self.quota.reserve(word, now, patience))?;
        Ok((Charge { account: self, taken: Some(taken) }, wait))
    }
}

impl<T: Deref<Target = Table>> Charge<T> {
    /// Keeps the charge: the unit is not given back.
    pub fn keep(mut self) {
        self.taken = None;
    }
}

impl<T: Deref<Target = Table>> Drop for Charge<T> {
    fn drop(&mut self) {
        let Some(taken) = self.taken.take() else { return };
        let Account { table, key, clock, .. } = &self.account;
        let now = clock.now();
        table.with(*key, now, |word| taken.give_back(word, now));
    }
}

#[cfg(test)]
mod tests;
