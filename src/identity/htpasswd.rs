//! Users of an htpasswd file with bcrypt hashes.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::sync::Semaphore;

use super::credential::Credential;
use super::htpasswd_file::HtpasswdFile;
use super::{Granted, Principal, Question, Verdict, Verified};

/// bcrypt reads no further than this, so a longer password would be as good as its beginning.
pub const MAX_PASSWORD_BYTES: usize = 72;

/// How long a caller waits for its turn to have a password hashed. Longer, and more would pile up than get done.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// The users of one file.
pub struct Htpasswd {
    name: Arc<str>,
    users: Arc<HtpasswdFile>,
    scopes: Arc<[String]>,
    /// A hash that no password has, as dear to check as the dearest of the file.
    nobody: Arc<str>,
    /// A check takes tens of milliseconds of a whole CPU, so only as many run as there are CPUs.
    checks: Semaphore,
}

impl Htpasswd {
    /// The users of `users`, each with the scopes `scopes`.
    ///
    /// # Errors
    /// Where the system has no randomness for a hash.
    pub fn new(name: Arc<str>, users: HtpasswdFile, scopes: Vec<String>) -> Result<Self, bcrypt::BcryptError> {
        let nobody = hash_of_nobody(users.highest_cost())?;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            name,
            users: Arc::new(users),
            scopes: scopes.into(),
            nobody: nobody.into(),
            checks: Semaphore::new(cpus),
        })
    }

    /// Checks user and password. A user not in the file costs what a wrong password costs where `last` says that no
    /// other provider follows, so that time does not tell who is in it.
    pub async fn ask(&self, question: &Question, last: bool) -> Verdict {
        let Credential::Basic { user, password } = &question.credential else { return Verdict::NotMine };
        let hash = self.users.hash_of(user).map(Arc::from);
        let known = hash.is_some();
        if !known && !last {
            return Verdict::NotMine;
        }
        let too_long = password.expose_secret().len() > MAX_PASSWORD_BYTES;
        let hash: Arc<str> = hash.unwrap_or_else(|| self.nobody.clone());
        let Ok(Ok(_turn)) = tokio::time::timeout(QUEUE_TIMEOUT, self.checks.acquire()).await else {
            return Verdict::Unavailable;
        };
        let password = password.clone();
        let check = move || bcrypt::verify(password.expose_secret().as_bytes(), &hash).unwrap_or(false);
        let Ok(right) = tokio::task::spawn_blocking(check).await else { return Verdict::Unavailable };
        match (known, right && !too_long) {
            (false, _) => Verdict::NotMine,
            (true, false) => Verdict::Rejected,
            (true, true) => {
                let principal =
                    Principal { provider: self.name.clone(), subject: user.as_str().into(), credential_type: None };
                let granted = Granted::Scopes(self.scopes.clone());
                Verdict::Verified(Arc::new(Verified { principal, granted }), None)
            }
        }
    }
}

/// A well-formed hash of that cost for a password that nobody can know, without the work of computing a dear one: a
/// cheap hash under another cost is the hash of nothing that anybody could find.
fn hash_of_nobody(cost: u32) -> Result<String, bcrypt::BcryptError> {
    let cheap = bcrypt::hash(format!("{:032x}", fastrand::u128(..)), 4)?;
    Ok(cheap.replacen("$04$", &format!("${cost:02}$"), 1))
}
