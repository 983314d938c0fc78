//! The limits that a request can exceed.

/// A limit, by its key in `limits` of the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    PerClient,
    FailedLogins,
    /// The limit on questions about one secret, or from the address of callers without one. It has
    /// no key in the config.
    Questions,
    /// The limit on concurrent password checks of one address. It has no key in the config.
    PasswordChecks,
    PerIdentity,
    PullsPerIdentity,
    ConcurrentUploadsPerIdentity,
}

impl Limit {
    /// Returns the key in the config, which is also the name in metrics.
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

    /// Returns whether the limit counts by address, regardless of the caller's identity.
    pub fn is_by_address(self) -> bool {
        matches!(self, Self::PerClient | Self::FailedLogins | Self::PasswordChecks)
    }

    /// Returns the message for the user at the client, without "try again".
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::PerClient => "too many requests come from your address",
            // Callers with a valid credential get the same message.
            Self::FailedLogins => "too many wrong credentials come from your address",
            Self::Questions => "your requests need too many access checks at once",
            Self::PasswordChecks => "too many logins come from your address at once",
            Self::PerIdentity => "too many requests come from you",
            Self::PullsPerIdentity => "you have reached your limit of pulls",
            Self::ConcurrentUploadsPerIdentity => "you have too many uploads in progress",
        }
    }
}
