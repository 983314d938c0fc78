//! The section `limits` of the config, and its limits for each caller. This module is pure.

use crate::identity::Verified;
use crate::policy::Who;
use crate::rate_limit::Quota;

/// The section `limits` of the config.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The quota of each address, for all callers behind it together; `None`: no limit.
    pub per_client: Option<Quota>,
    /// The quota of wrong credentials of each address; `None`: no limit.
    pub failed_logins: Option<Quota>,
    /// The limits of every caller that no override matches.
    pub general: IdentityLimits,
    /// The limits of particular callers. Only the first override that matches applies.
    pub overrides: Vec<LimitOverride>,
}

/// The limits of one caller. `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdentityLimits {
    pub per_identity: Option<Quota>,
    pub pulls_per_identity: Option<Quota>,
    pub concurrent_uploads_per_identity: Option<usize>,
}

/// The limits of some callers.
#[derive(Clone, Debug)]
pub struct LimitOverride {
    pub who: Vec<Who>,
    /// The complete limits of these callers. A limit that the config does not set here has the
    /// general value.
    pub limits: IdentityLimits,
}

impl Settings {
    /// Returns the limits of a caller. `None` is a caller that presented no credential and about
    /// which no provider was asked.
    pub fn for_caller(&self, caller: Option<&Verified>) -> IdentityLimits {
        let is_for =
            |who: &Who| caller.map_or(*who == Who::Anonymous, |caller| who.matches(caller));
        let special = self.overrides.iter().find(|special| special.who.iter().any(is_for));
        special.map_or(self.general, |special| special.limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Granted, Principal, Source};

    #[test]
    fn the_first_matching_override_applies() {
        let uploads = |count| IdentityLimits {
            concurrent_uploads_per_identity: Some(count),
            ..Default::default()
        };
        let special = |who, limits| LimitOverride { who: vec![who], limits };
        let settings = Settings {
            per_client: None,
            failed_logins: None,
            general: uploads(1),
            overrides: vec![
                special(Who::Provider("sso".into()), uploads(2)),
                special(Who::Authenticated, uploads(3)),
                special(Who::Anonymous, uploads(4)),
                special(Who::Provider("gitlab".into()), uploads(5)),
            ],
        };
        let caller = |provider: &str, subject: &str| {
            let source =
                Source { provider: provider.into(), credential_type: None, folds_case: false }
                    .into();
            let principal = Principal { source, subject: subject.into() };
            Verified { principal, granted: Granted::Nothing, attributes: None }
        };
        assert_eq!(settings.for_caller(Some(&caller("sso", "alice"))), uploads(2));
        assert_eq!(settings.for_caller(Some(&caller("gitlab", "alice"))), uploads(3));
        assert_eq!(settings.for_caller(Some(&caller("gitlab", ""))), uploads(4));
        assert_eq!(settings.for_caller(None), uploads(4));
        assert_eq!(Settings { overrides: Vec::new(), ..settings }.for_caller(None), uploads(1));
    }
}
