//! `limits`: the limits on requests, wrong credentials, pulls and uploads.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::format::Rate;

/// The limits on requests, wrong credentials, pulls and uploads; null: no limit.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct LimitsSection {
    /// The limit on requests from one address (IPv6: from one /64), checked before the credential.
    pub(in crate::config) per_client: Option<RateLimit>,
    /// The limit on wrong credentials from one address (IPv6: from one /64) that providers are
    /// asked about. Beyond it, only credentials that were valid from that address within the last
    /// day are accepted.
    pub(in crate::config) failed_logins: Option<FailedLoginsSection>,
    /// The limit on requests of one user, or from one address without a credential. Only requests
    /// that are allowed otherwise count.
    pub(in crate::config) per_identity: Option<RateLimit>,
    /// The limit on manifests that one user reads, as registries bill them. RateLimit headers tell
    /// clients how many are left.
    pub(in crate::config) pulls_per_identity: Option<RateLimit>,
    /// The largest number of requests with which one user uploads blobs at the same time, 1 to
    /// 100000. A further request waits up to 2s.
    #[schemars(range(min = 1, max = 100_000))]
    pub(in crate::config) concurrent_uploads_per_identity: Option<u32>,
    /// Other limits for some callers. The first entry that matches applies.
    // An entry is `None` if it is not a section, so that the other entries keep their index.
    #[schemars(with = "Vec<LimitOverrideSection>")]
    pub(in crate::config) overrides: Vec<Option<LimitOverrideSection>>,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            per_client: None,
            failed_logins: Some(FailedLoginsSection::default()),
            per_identity: None,
            pulls_per_identity: None,
            concurrent_uploads_per_identity: None,
            overrides: Vec::new(),
        }
    }
}

/// A limit on how often something may happen.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("examples" = [{ "rate": "100/s", "burst": 200 }]))]
pub(in crate::config) struct RateLimit {
    /// The long-term number per second, minute or hour, such as 100/s.
    #[schemars(required, extend("examples" = ["100/s"]))]
    pub(in crate::config) rate: Option<Rate>,
    /// The largest number at once after a time of rest, 1 to 1000000.
    #[schemars(required, range(min = 1, max = 1_000_000), extend("examples" = [200]))]
    pub(in crate::config) burst: Option<u32>,
}

/// A limit on wrong credentials. Its rate and its burst have defaults of their own.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("examples" = [{ "rate": "60/m", "burst": 200 }]))]
pub(in crate::config) struct FailedLoginsSection {
    /// The long-term number per second, minute or hour, such as 100/s.
    pub(in crate::config) rate: Rate,
    /// The largest number at once after a time of rest, 1 to 1000000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) burst: u32,
}

impl Default for FailedLoginsSection {
    fn default() -> Self {
        // A client sends a wrong password up to twelve times, but a provider is asked about only
        // one of them. An attacker who guesses passwords needs more.
        Self { rate: Rate::per_minute(10), burst: 20 }
    }
}

/// The limits for some callers. An absent key has the general limit; null: no limit.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct LimitOverrideSection {
    /// The callers that the limits are for, written as in policy.rules.
    #[schemars(
        required,
        length(min = 1),
        extend("items" = { "type": "string", "minLength": 1, "examples": ["group:sso/ci"] })
    )]
    pub(in crate::config) who: Option<Vec<String>>,
    /// The limit in place of limits.per_identity.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) per_identity: Option<Option<RateLimit>>,
    /// The limit in place of limits.pulls_per_identity.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) pulls_per_identity: Option<Option<RateLimit>>,
    /// The limit in place of limits.concurrent_uploads_per_identity, 1 to 100000.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) concurrent_uploads_per_identity: Option<Option<u32>>,
}

/// Deserializes a key that is present, so that a written null differs from an absent key.
fn written<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    value: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}
