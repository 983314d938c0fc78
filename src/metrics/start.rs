//! The series that exist from the start, at 0. A rate or an increase of a series does not count its
//! first value, so an alert would miss the first event of a series that begins with it.
//!
//! The labels of some metrics have too many combinations to start them all. Those start that an
//! alert could be about.

use std::sync::Arc;

use super::labels::{
    AnswerLabels, CacheLabels, CodeLabels, DecisionLabels, LimitLabels, OperationLabels,
    RequestLabels,
};
use super::{LIMITS, Metrics};
use crate::denial::Reason;
use crate::registry::Operation;

/// The words for the use of the verdict cache.
pub(crate) const CACHE_RESULTS: [&str; 7] =
    ["hit", "miss", "negative", "stale", "coalesced", "shared", "none"];

/// The words for the verdicts of providers.
pub(crate) const VERDICTS: [&str; 6] =
    ["verified", "not_mine", "rejected", "unfit", "not_now", "unavailable"];

/// The statuses of the gate that an alert could be about, for every operation.
const ALERTING: [u16; 7] = [401, 403, 429, 500, 502, 503, 504];

/// The statuses of the registry.
const OF_THE_REGISTRY: [u16; 14] =
    [200, 201, 202, 204, 206, 304, 307, 400, 404, 429, 500, 502, 503, 504];

/// The decisions about credentials that no provider vouches for.
const WITHOUT_PROVIDER: [(&str, Reason); 6] = [
    ("allowed", Reason::Allowed),
    ("denied", Reason::NoCredential),
    ("denied", Reason::MalformedCredential),
    ("denied", Reason::InvalidToken),
    ("denied", Reason::WrongCredential),
    ("denied", Reason::OverFailedLogins),
];

/// The decisions about credentials of a provider.
const OF_A_PROVIDER: [(&str, Reason); 8] = [
    ("allowed", Reason::Allowed),
    ("allowed", Reason::ShadowDenied),
    ("denied", Reason::InsufficientRights),
    ("denied", Reason::InsufficientScope),
    ("denied", Reason::DeniedByPolicy),
    ("denied", Reason::FailureBudgetSpent),
    ("error", Reason::ProviderUnavailable),
    ("error", Reason::AuditFailed),
];

/// Returns the methods of an operation and the status of its success.
fn requests(operation: Operation) -> (&'static [&'static str], u16) {
    use Operation as O;
    match operation {
        O::Ping | O::Tags | O::Referrers | O::ManifestGet | O::BlobGet => (&["GET", "HEAD"], 200),
        O::Catalog => (&["GET"], 200),
        O::ManifestPut | O::UploadFinish => (&["PUT"], 201),
        O::ManifestDelete | O::BlobDelete => (&["DELETE"], 202),
        O::UploadStart => (&["POST"], 202),
        O::UploadChunk => (&["PATCH"], 202),
        O::UploadStatus => (&["GET"], 204),
        O::UploadCancel => (&["DELETE"], 204),
        O::Token => (&["GET", "POST"], 200),
        O::Unknown => (&["GET", "POST"], 404),
    }
}

impl Metrics {
    /// Starts the series of everything but providers.
    pub(super) fn start_series(&self) {
        for operation in Operation::ALL {
            let (methods, success) = requests(operation);
            for method in methods.iter().copied() {
                for code in ALERTING.into_iter().chain([success]) {
                    let labels = RequestLabels { method, operation: operation.as_str(), code };
                    let _ = self.http_requests.get_or_create(&labels);
                }
            }
            let labels = OperationLabels { operation: operation.as_str() };
            let _ = self.http_request_duration.get_or_create(&labels);
            // The gate itself answers the other operations.
            if !matches!(operation, Operation::Ping | Operation::Token | Operation::Unknown) {
                let _ = self.upstream_duration.get_or_create(&labels);
            }
        }
        for limit in LIMITS {
            let _ = self.limited.get_or_create(&LimitLabels { limit });
        }
        for result in CACHE_RESULTS {
            let _ = self.cache_requests.get_or_create(&CacheLabels { result });
        }
        for code in OF_THE_REGISTRY {
            let _ = self.upstream_requests.get_or_create(&CodeLabels { code });
        }
        self.start_decisions(&Arc::from(""), &WITHOUT_PROVIDER);
    }

    /// Starts the series of a provider.
    pub(super) fn start_provider(&self, provider: &Arc<str>) {
        for result in VERDICTS {
            let labels = AnswerLabels { provider: provider.clone(), result };
            let _ = self.introspection_duration.get_or_create(&labels);
        }
        self.start_decisions(provider, &OF_A_PROVIDER);
    }

    fn start_decisions(&self, provider: &Arc<str>, decisions: &[(&'static str, Reason)]) {
        for (result, reason) in decisions {
            let (provider, reason) = (provider.clone(), reason.as_str());
            let _ = self.auth_decisions.get_or_create(&DecisionLabels { provider, result, reason });
        }
    }
}
