//! A provider from the view of the chain: the credentials that it may be shown, and the questions
//! to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use secrecy::ExposeSecret;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::identity::guard::breaker::{Breaker, BreakerState};
use crate::identity::guard::health::{Health, Seen};
use crate::identity::model::credential::Credential;
use crate::identity::model::keyed_hash::DependsOn;
use crate::identity::model::{Question, Verdict};
use crate::identity::provider::AnyProvider;
use crate::identity::provider::common::log_topic::LogTopic;
use crate::identity::shared_verdicts::SharedProvider;
use crate::log_throttle::LogThrottle;

/// The largest number of concurrent questions to one provider. A question goes on when its caller
/// hangs up, and each one uses a connection. Without a limit, callers could cause any number of
/// connections.
const TURNS: usize = 128;

/// The largest number of questions to one provider that are under way or wait for their turn. These
/// questions also remain when their callers hang up.
const MAX_QUESTIONS: usize = 4096;

/// The divisor of both limits for callers without a credential, who have limits of their own. They
/// send no credential that could be wrong and count against them, so no other limit stops callers
/// that ask about one repository after the other.
const ANONYMOUS_SHARE: usize = 4;

/// A provider with its name in the config.
pub struct ManagedProvider {
    /// The number of the provider, unique in the process. A verdict of one provider is therefore
    /// never taken for one of another provider, or of the same provider with other settings.
    pub(super) number: u32,
    pub(super) name: Arc<str>,
    pub(super) provider: AnyProvider,
    /// The time for one question, including the wait for its turn.
    pub(super) timeout: Duration,
    of_credentials: Room,
    of_anonymous: Room,
    pub(super) breaker: Breaker,
    pub(super) health: Health,
    log_throttle: LogThrottle,
    accepts: Option<Accepts>,
    /// The hash of the provider's settings, under which replicas share its verdicts. `None` if it
    /// decides without asking a server, or if the gate has no replicas.
    pub(super) shared_id: Option<[u8; 16]>,
}

/// The limits on concurrent questions.
pub(super) struct Room {
    pub(super) questions: Arc<Semaphore>,
    pub(super) turns: Semaphore,
}

/// The credentials that a provider is shown: a listed user or a listed prefix suffices. At least
/// one of the lists has an entry, and no entry is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepts {
    /// The user names of Basic credentials, compared exactly.
    pub users: Vec<String>,
    /// The prefixes of passwords and Bearer tokens.
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

impl ManagedProvider {
    /// Creates a provider with its name in the config. `timeout` is the time for one question.
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
            of_anonymous: Room::new(ANONYMOUS_SHARE),
            breaker: Breaker::default(),
            health: Health::default(),
            log_throttle: LogThrottle::default(),
            accepts,
            shared_id: None,
        }
    }

    /// Lets replicas share the verdicts of this provider, under this hash of its settings.
    #[must_use]
    pub fn shared_as(self, id: [u8; 16]) -> Self {
        Self { shared_id: Some(id), ..self }
    }

    /// Returns the provider's name in the config.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the provider's `type` in the config.
    pub fn type_name(&self) -> &'static str {
        self.provider.type_name()
    }

    /// Returns what was observed of the provider so far.
    pub fn seen(&self, now: SystemTime) -> Seen {
        self.health.seen(now)
    }

    /// Returns the state of the provider's breaker.
    pub fn breaker_state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Returns the number of left-out lines on this topic if a line may be logged now.
    pub(super) fn log_line(&self, topic: LogTopic) -> Option<u64> {
        self.log_throttle.line(&topic, Instant::now()).map(|left_out| left_out.same)
    }

    /// Returns the provider as all replicas know it. `None` if they do not share its verdicts.
    pub(super) fn shared(&self) -> Option<SharedProvider<'_>> {
        let id = self.shared_id.as_ref()?;
        Some(SharedProvider { id, name: &self.name, depends: self.depends_on() })
    }

    /// Returns whether the provider may be shown this credential. Without a list, it may be shown
    /// every credential.
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

    /// Returns the limits that apply to a question about this credential.
    pub(super) fn room(&self, credential: &Credential) -> &Room {
        if matches!(credential, Credential::Anonymous) {
            &self.of_anonymous
        } else {
            &self.of_credentials
        }
    }

    /// Returns whether the provider is asked which repositories callers without a credential may
    /// pull. It is shown no credential then, so `accepts` does not apply.
    pub(super) fn answers_anonymous(&self) -> bool {
        self.provider.answers_anonymous()
    }

    /// Returns whether the user is known to be one of this provider's, without asking a server.
    pub(super) fn knows_user(&self, credential: &Credential) -> bool {
        self.provider.knows_user(credential)
    }

    /// Returns whether the provider verifies workload tokens, of any issuer.
    pub(super) fn verifies_jwts(&self) -> bool {
        self.provider.verifies_jwts()
    }

    /// Returns whether a JWT of this issuer goes to this provider and to no other one.
    pub(super) fn is_issuer(&self, issuer: &str) -> bool {
        self.provider.is_issuer(issuer)
    }

    /// Returns what the provider's answers depend on, besides the credential.
    pub(super) fn depends_on(&self) -> DependsOn {
        self.provider.depends_on()
    }

    /// Asks the provider. `known` is `true` if it has verified this secret before. `last` is `true`
    /// if no other provider is asked afterwards. Also returns the number of questions beyond the
    /// first.
    pub(super) async fn ask(&self, question: &Question, known: bool, last: bool) -> (Verdict, u32) {
        self.provider.ask(question, known, last).await
    }

    /// Returns whether the provider answers the gate's own harmless question, which no caller can
    /// make fail. The question has as much time as any other.
    pub(super) async fn is_up(&self) -> bool {
        timeout(self.timeout, self.provider.is_up()).await.unwrap_or(false)
    }
}
