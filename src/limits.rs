//! How often callers may come. [`gate`](crate::gate) says when each limit is asked, `limits` of the
//! config how much it is.
//!
//! What callers owe lives as long as the process ([`Accounts`]); what they may owe is that of the
//! newest config ([`Limits`]). A request that a limit refuses does not count in it.

pub mod settings;
pub mod uploads;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::denial::{Denial, Limit};
use crate::identity::Verified;
use crate::net::client_address::client_network;
use crate::rate_limit::{CallerKey, Clock, LONGEST_WAIT, Quota, Table, Taken};
use settings::{IdentityLimits, Settings};
use uploads::{UploadPlace, Uploads};

/// What is known of callers. Shared by all workers, and by all configs of a process.
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

/// What the gate does with a request that comes too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLimit {
    /// Refuses it.
    Reject,
    /// Lets it wait, where that takes less than [`LONGEST_WAIT`]: clients that push do not honour
    /// `Retry-After`.
    Wait,
}

/// The limits of one caller.
pub struct CallerLimits<'a> {
    limits: IdentityLimits,
    accounts: &'a Accounts,
    key: CallerKey,
}

/// What one caller owes of one limit.
#[derive(Clone)]
pub struct Account {
    quota: Quota,
    table: Arc<Table>,
    key: CallerKey,
    clock: Clock,
}

/// One that was taken, and is given back when this is dropped.
#[must_use]
pub struct Charge {
    account: Account,
    taken: Option<Taken>,
}

/// Who is counted: the address where nobody has said who it is.
#[derive(Hash)]
enum Counted<'a> {
    Client(IpAddr),
    Identity { provider: &'a str, subject: &'a str },
}

impl Limits {
    /// Limits over what is known of callers so far.
    pub fn new(settings: Settings, accounts: Arc<Accounts>) -> Self {
        Self { settings, accounts }
    }

    /// A request from an address.
    ///
    /// # Errors
    /// [`Limit::PerClient`].
    pub async fn client(&self, address: IpAddr, on_limit: OnLimit) -> Result<(), Denial> {
        match self.client_account(address) {
            Some(account) => account.request(Limit::PerClient, on_limit).await,
            None => Ok(()),
        }
    }

    /// A request from an address that is refused anyway. It counts like any other.
    pub fn count_client(&self, address: IpAddr) {
        if let Some(Ok(charge)) = self.client_account(address).map(Account::take) {
            charge.keep();
        }
    }

    fn client_account(&self, address: IpAddr) -> Option<Account> {
        let (quota, Accounts { clock, clients, .. }) = (self.settings.per_client?, &*self.accounts);
        let key = clients.key(&Counted::Client(client_network(address)));
        Some(Account { quota, table: clients.clone(), key, clock: *clock })
    }

    /// The limits of a caller, where there may be some. Two providers never share a caller,
    /// whatever the names. One without a credential is known by address.
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
    /// A request of the caller's.
    ///
    /// # Errors
    /// [`Limit::PerIdentity`].
    pub async fn request(&self, on_limit: OnLimit) -> Result<(), Denial> {
        match self.limits.per_identity {
            Some(quota) => {
                self.account(quota, &self.accounts.identities)
                    .request(Limit::PerIdentity, on_limit)
                    .await
            }
            None => Ok(()),
        }
    }

    /// What the caller owes for pulls; `None` where these have no limit.
    pub fn pulls(&self) -> Option<Account> {
        self.limits.pulls_per_identity.map(|quota| self.account(quota, &self.accounts.pulls))
    }

    /// Waits for a place for an upload; `None` where these have no limit.
    ///
    /// # Errors
    /// [`Limit::ConcurrentUploadsPerIdentity`]. Nobody knows when an upload ends, so it says when
    /// to ask again.
    pub async fn upload(&self) -> Result<Option<UploadPlace>, Denial> {
        let Some(limit) = self.limits.concurrent_uploads_per_identity else { return Ok(None) };
        let place = self.accounts.uploads.enter(self.key, limit).await;
        let limit = Limit::ConcurrentUploadsPerIdentity;
        place.map(Some).ok_or(Denial::Limited { limit, retry_after: LONGEST_WAIT })
    }

    fn account(&self, quota: Quota, table: &Arc<Table>) -> Account {
        Account { quota, table: table.clone(), key: self.key, clock: self.accounts.clock }
    }
}

impl Account {
    /// A pull.
    ///
    /// # Errors
    /// [`Limit::PullsPerIdentity`].
    pub fn pull(&self) -> Result<Charge, Denial> {
        let denied = |retry_after| Denial::Limited { limit: Limit::PullsPerIdentity, retry_after };
        self.clone().take().map_err(denied)
    }

    /// How much it is.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// How many are left.
    pub fn remaining(&self) -> u32 {
        let now = self.clock.now();
        self.table.with(self.key, now, |word| self.quota.remaining(*word, now))
    }

    async fn request(self, limit: Limit, on_limit: OnLimit) -> Result<(), Denial> {
        let patience = match on_limit {
            OnLimit::Reject => Duration::ZERO,
            OnLimit::Wait => LONGEST_WAIT,
        };
        // A client that leaves meanwhile drops the charge.
        let (charge, wait) =
            self.reserve(patience).map_err(|retry_after| Denial::Limited { limit, retry_after })?;
        if wait > Duration::ZERO {
            sleep(wait).await;
        }
        charge.keep();
        Ok(())
    }

    fn take(self) -> Result<Charge, Duration> {
        self.reserve(Duration::ZERO).map(|(charge, _)| charge)
    }

    fn reserve(self, patience: Duration) -> Result<(Charge, Duration), Duration> {
        let now = self.clock.now();
        let (taken, wait) =
            self.table.with(self.key, now, |word| self.quota.reserve(word, now, patience))?;
        Ok((Charge { account: self, taken: Some(taken) }, wait))
    }
}

impl Charge {
    /// It is not given back.
    pub fn keep(mut self) {
        self.taken = None;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let Some(taken) = self.taken.take() else { return };
        let Account { table, key, clock, .. } = &self.account;
        let now = clock.now();
        table.with(*key, now, |word| taken.give_back(word, now));
    }
}

#[cfg(test)]
mod tests;
