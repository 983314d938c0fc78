//! The answer of a provider to a question about a credential.

use std::sync::Arc;
use std::time::Duration;

use super::principal::Verified;

/// The answer of a provider about a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The provider does not know the credential: the next provider is asked.
    NotMine,
    /// The credential is the password of an account, and the gate accepts only tokens of this
    /// provider. The next provider is asked; if none accepts the credential, the caller is told.
    AccountPassword,
    /// The credential is valid; the verdict holds for this lifetime.
    Verified(Arc<Verified>, Lifetime),
    /// The credential belongs to this provider and is wrong: no other provider is asked.
    Rejected,
    /// The provider vouches for the secret, but it is not usable at a registry, such as a refresh
    /// token. It is refused like a wrong credential, but the provider is asked again each time.
    Unfit,
    /// The provider is healthy but gives this caller no answer now. The verdict says nothing about
    /// the health of the provider. It is not cached as an answer.
    NotNow(NotNow, Duration),
    /// The provider could not be reached, or its answer made no sense. The verdict is never cached
    /// and never counts as a refusal, and no other provider is asked.
    Unavailable,
}

impl Verdict {
    /// Returns the name of the verdict in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotMine | Self::AccountPassword => "not_mine",
            Self::Verified(..) => "verified",
            Self::Rejected => "rejected",
            Self::Unfit => "unfit",
            Self::NotNow(..) => "not_now",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The time for which a verdict holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// The longest time, from now on, for which the answer is valid. The credential itself may be
    /// valid for longer.
    pub answer: Option<Duration>,
    /// The expiry of the credential itself (Unix time, seconds).
    pub credential: Option<u64>,
}

/// The reason why a healthy provider gives one caller no answer. The duration next to it in the
/// verdict says when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// The provider answered 429. Callers whose verdict is cached are still served.
    Busy,
    /// The provider was not asked: the largest number of concurrent questions to it is reached.
    /// Callers whose verdict is cached are still served.
    NoTurn,
    /// The provider refuses questions from this caller or its address: a ban.
    Barred,
    /// The provider does not know the service or path that it was asked for: the config names a
    /// wrong one.
    Misconfigured,
    /// The provider was already asked about as many wrong credentials as its failure budget allows.
    FailureBudgetSpent,
    /// The provider was not asked: too many wrong credentials came from the address of the caller.
    FailedLogins,
    /// The provider was not asked: too many callers from the same address already wait for it.
    Crowded,
    /// The provider was not asked: there were too many questions about the same secret, or from the
    /// address of a caller without a credential. Callers whose verdict is cached are still served.
    TooOften,
}
