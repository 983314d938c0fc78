//! Users of an htpasswd file with bcrypt hashes.

pub mod file;

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::common::sources::Sources;
use crate::identity::guard::fair_queue::{Crowded, FairQueue};
use crate::identity::model::credential::Credential;
use crate::identity::model::{
    Granted, Lifetime, NotNow, PackedScopes, Principal, Question, Verdict, Verified,
};
use crate::net::client_address::client_network;
use file::HtpasswdFile;

/// The largest length of a password, in bytes. bcrypt ignores all further bytes, so a longer
/// password would be no stronger than its beginning.
pub const MAX_PASSWORD_BYTES: usize = 72;

/// The lowest cost of bcrypt.
const LOWEST_COST: u32 = 4;

/// The longest time that a caller waits for its turn to have a password hashed. With a longer wait,
/// more checks would pile up than are completed, or a check would begin too late to end within the
/// time of the question. Half of that time may have passed before the wait.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(3);

/// The settings of a provider with `type: htpasswd`.
#[derive(Clone, Debug)]
pub struct HtpasswdSettings {
    /// The users.
    pub users: HtpasswdFile,
    /// The scopes that each user has.
    pub scopes: Vec<String>,
}

/// The users of one file.
pub struct Htpasswd {
    sources: Sources,
    users: Arc<HtpasswdFile>,
    scopes: PackedScopes,
    /// A hash of cost 4 that no password matches.
    nobody: Arc<str>,
    /// The limit on concurrent checks, shared fairly by client network. One check takes tens of
    /// milliseconds of a whole CPU.
    checks: FairQueue,
}

impl Htpasswd {
    /// Creates a provider with the users of `users`, each with the scopes `scopes`.
    ///
    /// # Errors
    /// If the system cannot provide randomness for a hash.
    pub fn new(
        name: Arc<str>,
        users: HtpasswdFile,
        scopes: Vec<String>,
    ) -> Result<Self, bcrypt::BcryptError> {
        let nobody = bcrypt::hash(format!("{:032x}", fastrand::u128(..)), LOWEST_COST)?;
        // One CPU stays free for all other work.
        let cpus =
            std::thread::available_parallelism().map_or(1, usize::from).saturating_sub(1).max(1);
        Ok(Self {
            sources: Sources::new(name),
            users: Arc::new(users),
            scopes: scopes.iter().collect(),
            nobody: nobody.into(),
            checks: FairQueue::new(cpus),
        })
    }

    /// Returns whether the file has this user.
    pub fn knows(&self, user: &str) -> bool {
        self.users.hash_of(user).is_some()
    }

    /// Checks the user name and the password. If `last` says that no other provider follows, an
    /// unknown user takes as long as a wrong password, so that the time does not reveal which users
    /// exist.
    pub async fn ask(&self, question: &Question, last: bool) -> Verdict {
        let Credential::Basic { user, password } = &question.credential else {
            return Verdict::NotMine;
        };
        let hash = self.users.hash_of(user).map(str::to_owned);
        let known = hash.is_some();
        if !known && !last {
            return Verdict::NotMine;
        }
        let too_long = password.expose_secret().len() > MAX_PASSWORD_BYTES;
        let turn = self.checks.turn(client_network(question.client));
        let _turn = match tokio::time::timeout(QUEUE_TIMEOUT, turn).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(Crowded)) => return Verdict::NotNow(NotNow::Crowded, QUEUE_TIMEOUT),
            Err(_) => return Verdict::NotNow(NotNow::NoTurn, QUEUE_TIMEOUT),
        };
        let (password, nobody, highest) =
            (password.clone(), self.nobody.clone(), self.users.highest_cost());
        let check = move || {
            let is = |hash: &str| {
                bcrypt::verify(password.expose_secret().as_bytes(), hash).unwrap_or(false)
            };
            let right = hash.as_deref().is_some_and(is);
            if !right {
                for cost in extra_costs(hash.as_deref(), highest) {
                    is(&nobody.replacen("$04$", &format!("${cost:02}$"), 1));
                }
            }
            right
        };
        let Ok(right) = tokio::task::spawn_blocking(check).await else {
            return Verdict::Unavailable;
        };
        match (known, right && !too_long) {
            (false, _) => Verdict::NotMine,
            (true, false) => Verdict::Rejected,
            (true, true) => {
                let principal =
                    Principal { source: self.sources.typed(None), subject: user.as_str().into() };
                let granted = Granted::Scopes(self.scopes.clone());
                let verified = Verified { principal, granted, attributes: None };
                Verdict::Verified(Arc::new(verified), Lifetime::default())
            }
        }
    }
}

/// Returns the costs at which a hash that no password matches is checked in addition. Every refusal
/// then takes as long as a check of the most expensive hash of the file. Each step doubles the
/// work, so a check at cost c and further ones at c, c + 1, … up to one below the highest cost take
/// as long as one check at the highest.
fn extra_costs(hash: Option<&str>, highest: u32) -> std::ops::RangeInclusive<u32> {
    match hash.and_then(cost_of) {
        // No hash was checked yet.
        None => highest..=highest,
        Some(cost) => cost..=highest.saturating_sub(1),
    }
}

/// Returns the cost in a hash: `$2b$10$…`.
fn cost_of(hash: &str) -> Option<u32> {
    hash.split('$').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the work of all checks of a refusal, in units of 2 to the power of the cost.
    fn work(hash: Option<&str>, highest: u32) -> u32 {
        let first = hash.and_then(cost_of).map_or(0, |cost| 1 << cost);
        first + extra_costs(hash, highest).map(|cost| 1 << cost).sum::<u32>()
    }

    #[test]
    fn every_refusal_takes_the_same_work() {
        for hash in [None, Some("$2b$04$x"), Some("$2y$09$x"), Some("$2a$12$x")] {
            assert_eq!(work(hash, 12), 1 << 12, "{hash:?}");
        }
    }
}
