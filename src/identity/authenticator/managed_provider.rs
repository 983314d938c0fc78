//! A provider as the chain sees it: what it may be shown, and how it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::identity::guard::breaker::{Breaker, BreakerState};
use crate::identity::guard::health::{Health, Seen};
use crate::identity::log_pace::LogPace;
use crate::identity::model::credential::Credential;
use crate::identity::model::keyed_hash::DependsOn;
use crate::identity::model::{Question, Verdict};
use crate::identity::provider::AnyProvider;

/// Questions that one provider is asked at the same time. Callers who hang up leave theirs behind,
/// and each is a connection: without a bound they would be as many as somebody cares to send.
const TURNS: usize = 128;

/// Questions to one provider that are under way or wait for their turn. Callers who hang up leave
/// theirs behind here too.
const MAX_QUESTIONS: usize = 4096;

/// Callers without a credential have so much less room than the others, and their own: nothing that
/// they send could be wrong and be held against them, so nobody stops those who ask about one
/// repository after the other.
const ANONYMOUS_SHARE: usize = 4;

/// A provider with its name in the config.
pub struct Provider {
    /// No two of a process share one, so that no verdict of a provider is ever taken for one of
    /// another, nor for one of the same with other settings.
    pub(super) number: u32,
    pub(super) name: Arc<str>,
    pub(super) provider: AnyProvider,
    /// How long a question may take, the wait for its turn included.
    pub(super) timeout: Duration,
    of_credentials: Room,
    of_nobody: Room,
    pub(super) breaker: Breaker,
    pub(super) health: Health,
    pub(super) log_pace: LogPace,
    accepts: Option<Accepts>,
}

/// How much may be asked at the same time.
pub(super) struct Room {
    pub(super) questions: Arc<Semaphore>,
    pub(super) turns: Semaphore,
}

/// Credentials that a provider is shown: a listed user or a listed prefix suffices. Not both are
/// empty, and no text in them is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepts {
    /// User names of Basic credentials, exactly.
    pub users: Vec<String>,
    /// What passwords and Bearer tokens begin with.
    pub prefixes: Vec<String>,
}

impl Room {
    fn new(share: usize) -> Self {
        Self {
            questions: Arc::new(Semaphore::new(MAX_QUESTIONS / share)),
            turns: Semaphore::new(TURNS / share),
        }
    }
}

impl Provider {
    /// A provider under its name in the config. `timeout` is for one question.
    pub fn new(
        name: Arc<str>,
        provider: AnyProvider,
        timeout: Duration,
        accepts: Option<Accepts>,
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            name,
            provider,
            timeout,
            of_credentials: Room::new(1),
            of_nobody: Room::new(ANONYMOUS_SHARE),
            breaker: Breaker::default(),
            health: Health::default(),
            log_pace: LogPace::default(),
            accepts,
        }
    }

    /// Its name in the config.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its `type` in the config.
    pub fn type_name(&self) -> &'static str {
        self.provider.type_name()
    }

    /// What was seen of it so far.
    pub fn seen(&self) -> Seen {
        self.health.seen()
    }

    /// How its breaker stands.
    pub fn breaker_state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Whether it may be shown this credential. Without a list it may be shown all.
    pub(super) fn accepts(&self, credential: &Credential) -> bool {
        let Some(Accepts { users, prefixes }) = &self.accepts else { return true };
        let begins = |secret: &str| prefixes.iter().any(|prefix| secret.starts_with(&**prefix));
        match credential {
            Credential::Anonymous => false,
            Credential::Basic { user, password } => {
                users.contains(user) || begins(password.expose_secret())
            }
            Credential::Bearer(token) => begins(token.expose_secret()),
        }
    }

    /// Where there must be room for a question about this credential.
    pub(super) fn room(&self, credential: &Credential) -> &Room {
        if matches!(credential, Credential::Anonymous) {
            &self.of_nobody
        } else {
            &self.of_credentials
        }
    }

    /// Whether it is asked what callers without a credential may pull. It is shown nothing then, so
    /// what it accepts is no matter.
    pub(super) fn answers_anonymous(&self) -> bool {
        self.provider.answers_anonymous()
    }

    /// Whether it can tell without asking anybody that the user is one of its own.
    pub(super) fn knows_user(&self, credential: &Credential) -> bool {
        self.provider.knows_user(credential)
    }

    /// Whether it verifies workload tokens, of whichever issuer.
    pub(super) fn verifies_jwts(&self) -> bool {
        self.provider.verifies_jwts()
    }

    /// Whether a JWT of this issuer goes to it, and to nobody else.
    pub(super) fn is_issuer(&self, issuer: &str) -> bool {
        self.provider.is_issuer(issuer)
    }

    /// What its answers depend on, besides the credential.
    pub(super) fn depends_on(&self) -> DependsOn {
        self.provider.depends_on()
    }

    /// Asks it. `known`: it has verified this secret before. `last`: nobody else is asked
    /// afterwards. Returns also how many questions it took besides the first.
    pub(super) async fn ask(&self, question: &Question, known: bool, last: bool) -> (Verdict, u32) {
        self.provider.ask(question, known, last).await
    }

    /// Returns whether it answers the gate's own harmless question, which no caller can make fail.
    /// It has as much time as any question.
    pub(super) async fn is_up(&self) -> bool {
        timeout(self.timeout, self.provider.is_up()).await.unwrap_or(false)
    }
}
