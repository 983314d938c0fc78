//! The statements of the providers of the chain about one credential, for `moorgate explain`.

use std::sync::Arc;

use super::{NotNow, Verdict};

/// A provider of the config, and its part in a search for the provider of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consulted {
    /// The provider's name in the config.
    pub provider: Arc<str>,
    /// The provider's `type` in the config.
    pub type_name: &'static str,
    /// The answer of the provider, or the reason why it was not asked.
    pub statement: Statement,
}

/// The answer of a provider, or the reason why it was not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// The provider verified the credential, or granted a public pull.
    Verified,
    /// The provider grants callers without a credential nothing here.
    NothingPublic,
    /// The verdict [`Verdict::NotMine`]. The next five are the verdicts of the same names.
    NotMine,
    AccountPassword,
    Rejected,
    Unfit,
    NotNow(NotNow),
    Unavailable,
    /// Not asked: the provider's `accepts` does not list the credential.
    NotAccepted,
    /// Not asked: the credential is a JWT of the issuer of this provider.
    JwtOf(Arc<str>),
    /// Not asked: the provider is not asked about callers without a credential.
    OnlyCredentials,
    /// Not asked: another provider decided.
    NotReached,
}

impl Statement {
    /// Returns the statement that a verdict makes.
    pub fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::NotMine => Self::NotMine,
            Verdict::AccountPassword => Self::AccountPassword,
            Verdict::Verified(verified, _)
                if verified.principal.is_anonymous() && verified.granted.is_nothing() =>
            {
                Self::NothingPublic
            }
            Verdict::Verified(..) => Self::Verified,
            Verdict::Rejected => Self::Rejected,
            Verdict::Unfit => Self::Unfit,
            Verdict::NotNow(why, _) => Self::NotNow(*why),
            Verdict::Unavailable => Self::Unavailable,
        }
    }

    /// Returns whether the statement ends a search at the provider's place in the order.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Verified | Self::Rejected | Self::Unfit | Self::NotNow(_) | Self::Unavailable => {
                true
            }
            Self::NothingPublic
            | Self::NotMine
            | Self::AccountPassword
            | Self::NotAccepted
            | Self::JwtOf(_)
            | Self::OnlyCredentials
            | Self::NotReached => false,
        }
    }
}
