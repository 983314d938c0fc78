//! The answer of a provider to a question about a credential.

use std::sync::Arc;
use std::time::Duration;

use super::principal::Verified;

/// What a provider says of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not one of its own: the next provider is asked.
    NotMine,
    /// Valid, for so long.
    Verified(Arc<Verified>, Lifetime),
    /// One of its own, and wrong: no other provider is asked.
    Rejected,
    /// It vouches for the secret, and this is no credential for a registry, such as a refresh
    /// token. Refused like a wrong one, but asked about anew each time.
    Unfit,
    /// It is well, and gives this caller no answer now. Says nothing about the provider, and
    /// nothing is cached.
    NotNow(NotNow, Duration),
    /// It could not be asked or did not make sense. Never cached, never a refusal, and no other
    /// provider is asked.
    Unavailable,
}

impl Verdict {
    /// Returns the word for the verdict in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotMine => "not_mine",
            Self::Verified(..) => "verified",
            Self::Rejected => "rejected",
            Self::Unfit => "unfit",
            Self::NotNow(..) => "not_now",
            Self::Unavailable => "unavailable",
        }
    }
}

/// How long a verdict holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// The answer is not good for longer than this from now on. The credential may well be.
    pub answer: Option<Duration>,
    /// When the credential itself ends (Unix time, seconds).
    pub credential: Option<u64>,
}

/// Why a provider that is well gives one caller no answer. The duration beside it says when to try
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// 429. Known callers pull on.
    Busy,
    /// It was not asked: as many questions as it is asked at the same time have no answer yet.
    /// Known callers pull on.
    NoTurn,
    /// It refuses to be asked by this caller, from this address: a ban.
    Barred,
    /// It does not know what it is asked for: the config names a wrong service or path.
    Misconfigured,
    /// As many wrong credentials as it may be asked about were asked of it.
    FailureBudgetSpent,
    /// It was not asked: too many wrong credentials came from the caller's address.
    FailedLogins,
    /// It was not asked: too many callers of the same address wait for it already.
    Crowded,
    /// It was not asked: the same secret, or the address of a caller without one, was asked about
    /// too often. Known callers pull on.
    TooOften,
}
