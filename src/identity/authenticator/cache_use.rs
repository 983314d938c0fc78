//! The use of the cache for a request, as logs and metrics show it.

use crate::identity::model::Verdict;

/// The use of the cache for a request (`cache` in the access log).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheUse {
    /// The cache was not used.
    #[default]
    None,
    Hit,
    Miss,
    Negative,
    /// The provider could not be asked, and an earlier answer was used.
    Stale,
    /// Another caller was asking the same question.
    Coalesced,
}

impl CacheUse {
    /// Returns the value to log for a verdict from the cache.
    pub(super) fn from_verdict(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Verified(verified, _) if !verified.granted.is_nothing() => Self::Hit,
            _ => Self::Negative,
        }
    }

    /// Returns the word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Negative => "negative",
            Self::Stale => "stale",
            Self::Coalesced => "coalesced",
        }
    }
}
