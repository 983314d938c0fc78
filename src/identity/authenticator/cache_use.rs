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
    /// Another replica of the gate had asked the question.
    Shared,
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
            Self::Shared => "shared",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::identity::model::NotNow;
    use crate::metrics::{CACHE_RESULTS, VERDICTS};

    /// The series of these words exist from the start.
    #[test]
    fn the_metrics_know_every_word() {
        use CacheUse as C;
        let all = [C::None, C::Hit, C::Miss, C::Negative, C::Stale, C::Coalesced, C::Shared];
        assert!(all.iter().all(|it| CACHE_RESULTS.contains(&it.as_str())));
        let not_now = Verdict::NotNow(NotNow::Busy, Duration::ZERO);
        let verdicts =
            [Verdict::NotMine, Verdict::Rejected, Verdict::Unfit, not_now, Verdict::Unavailable];
        assert!(verdicts.iter().all(|verdict| VERDICTS.contains(&verdict.as_str())));
        assert!(VERDICTS.contains(&"verified"));
    }
}
