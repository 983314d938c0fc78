//! `limits`: how often callers may come.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::format::Rate;

/// How often callers may come. Null is no limit.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Limits {
    /// Requests from one address (IPv6: from one /64), before anybody looks at the credential.
    pub(in crate::config) per_client: Option<RateLimit>,
    /// Wrong credentials from one address (IPv6: from one /64) that providers are asked about.
    /// When they are spent, only credentials that were good from there within a day go on.
    pub(in crate::config) failed_logins: Option<FailedLogins>,
    /// Requests of one user, or from one address without a credential, that are allowed otherwise.
    pub(in crate::config) per_identity: Option<RateLimit>,
    /// Manifests read by one user, as registries bill them. Clients are told in RateLimit headers
    /// how many are left.
    pub(in crate::config) pulls_per_identity: Option<RateLimit>,
    /// Requests with which one user uploads blobs at the same time. One more waits up to 2s.
    #[schemars(range(min = 1, max = 100_000))]
    pub(in crate::config) concurrent_uploads_per_identity: Option<u32>,
    /// Other limits for some callers: the first entry that matches holds.
    // An entry is `None` where it is no section, so that the others keep their place in the list.
    #[schemars(with = "Vec<LimitOverride>")]
    pub(in crate::config) overrides: Vec<Option<LimitOverride>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_client: None,
            failed_logins: Some(FailedLogins::default()),
            per_identity: None,
            pulls_per_identity: None,
            concurrent_uploads_per_identity: None,
            overrides: Vec::new(),
        }
    }
}

/// How often something may happen.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("examples" = [{ "rate": "100/s", "burst": 200 }]))]
pub(in crate::config) struct RateLimit {
    /// How many in a second, a minute or an hour, in the long run.
    #[schemars(required, extend("examples" = ["100/s"]))]
    pub(in crate::config) rate: Option<Rate>,
    /// How many at once, after a time of rest.
    #[schemars(required, range(min = 1, max = 1_000_000), extend("examples" = [200]))]
    pub(in crate::config) burst: Option<u32>,
}

/// The same of wrong credentials. Each of the two has a default of its own.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("examples" = [{ "rate": "60/m", "burst": 200 }]))]
pub(in crate::config) struct FailedLogins {
    /// How many in a second, a minute or an hour, in the long run.
    pub(in crate::config) rate: Rate,
    /// How many at once, after a time of rest.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) burst: u32,
}

impl Default for FailedLogins {
    fn default() -> Self {
        // A client sends a wrong password up to twelve times, of which one is asked about; a
        // guesser needs more.
        Self { rate: Rate::per_minute(10), burst: 20 }
    }
}

/// Limits for some callers. A key that is absent is as for everybody, and null is no limit.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct LimitOverride {
    /// Whom it is for, as in policy.rules.
    #[schemars(required, length(min = 1), extend("items" = { "type": "string", "minLength": 1, "examples": ["group:sso/ci"] }))]
    pub(in crate::config) who: Option<Vec<String>>,
    /// In place of limits.per_identity.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) per_identity: Option<Option<RateLimit>>,
    /// In place of limits.pulls_per_identity.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) pulls_per_identity: Option<Option<RateLimit>>,
    /// In place of limits.concurrent_uploads_per_identity.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) concurrent_uploads_per_identity: Option<Option<u32>>,
}

/// Tells a null that is written from a key that is not.
fn written<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    value: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}
