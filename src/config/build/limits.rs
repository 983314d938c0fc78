//! Builds the limits: rates and bursts, and the overrides for some callers.

use super::Build;
use super::policy::names;
use crate::config::raw;
use crate::limits::settings::{IdentityLimits, LimitOverride, Settings};
use crate::policy::Who;
use crate::rate_limit::Quota;

impl Build<'_> {
    /// Builds the limits; `None` if an override is wrong.
    pub(super) fn limits(&mut self, raw: &raw::Raw) -> Option<Settings> {
        let limits = &raw.limits;
        let general = IdentityLimits {
            per_identity: quota(limits.per_identity.as_ref()),
            pulls_per_identity: quota(limits.pulls_per_identity.as_ref()),
            concurrent_uploads_per_identity: count(limits.concurrent_uploads_per_identity),
        };
        let names = names(raw.identity.as_deref().unwrap_or_default());
        let mut overrides = Vec::new();
        for (index, special) in limits.overrides.iter().enumerate() {
            let Some(special) = special else { continue };
            let path = format!("limits.overrides[{index}].who");
            let who = self.each(special.who.as_deref(), &path, |text| Who::parse(text, &names));
            overrides.extend(who.map(|who| LimitOverride { who, limits: with(general, special) }));
        }
        (overrides.len() == limits.overrides.len()).then_some(Settings {
            per_client: quota(limits.per_client.as_ref()),
            failed_logins: limits
                .failed_logins
                .as_ref()
                .map(|limit| Quota::new(limit.rate.count, limit.rate.per, limit.burst)),
            general,
            overrides,
        })
    }
}

/// Returns the limits of an override. A limit that it does not set has the general value.
fn with(general: IdentityLimits, special: &raw::LimitOverrideSection) -> IdentityLimits {
    let rate = |special: &Option<Option<raw::RateLimit>>, general| {
        special.as_ref().map_or(general, |special| quota(special.as_ref()))
    };
    let uploads = special.concurrent_uploads_per_identity;
    IdentityLimits {
        per_identity: rate(&special.per_identity, general.per_identity),
        pulls_per_identity: rate(&special.pulls_per_identity, general.pulls_per_identity),
        concurrent_uploads_per_identity: uploads
            .map_or(general.concurrent_uploads_per_identity, count),
    }
}

/// Returns the quota of a limit; `None` without a limit, or if its rate or burst is missing, which
/// was reported.
fn quota(limit: Option<&raw::RateLimit>) -> Option<Quota> {
    let limit = limit?;
    let rate = limit.rate?;
    Some(Quota::new(rate.count, rate.per, limit.burst?))
}

fn count(limit: Option<u32>) -> Option<usize> {
    limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}
