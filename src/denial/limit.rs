//! The limits that a request may be over.

/// A limit, by its key in `limits` of the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    PerClient,
    FailedLogins,
    /// Of one secret, or of the address of callers without one. It has no key.
    Questions,
    /// Of one address at the same time. It has no key.
    PasswordChecks,
    PerIdentity,
    PullsPerIdentity,
    ConcurrentUploadsPerIdentity,
}

impl Limit {
    /// Its key in the config, which is its name in metrics too.
    pub const fn key(self) -> &'static str {
        match self {
            Self::PerClient => "per_client",
            Self::FailedLogins => "failed_logins",
            Self::Questions => "questions",
            Self::PasswordChecks => "password_checks",
            Self::PerIdentity => "per_identity",
            Self::PullsPerIdentity => "pulls_per_identity",
            Self::ConcurrentUploadsPerIdentity => "concurrent_uploads_per_identity",
        }
    }

    /// Whether it counts by address, whoever it is.
    pub fn is_by_address(self) -> bool {
        matches!(self, Self::PerClient | Self::FailedLogins | Self::PasswordChecks)
    }

    /// What the person at the client reads before "try again".
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::PerClient => "too many requests come from your address",
            // The same to whoever is right.
            Self::FailedLogins => "too many wrong credentials come from your address",
            Self::Questions => "your credential is used for too much at once",
            Self::PasswordChecks => "too many logins come from your address at once",
            Self::PerIdentity => "too many requests come from you",
            Self::PullsPerIdentity => "you have pulled as much as you may for now",
            Self::ConcurrentUploadsPerIdentity => "you have as many uploads under way as you may",
        }
    }
}
