//! Where limits are asked, in the order of the stages: [`limit_client`](Gate::limit_client) before
//! anybody looks at the credential, [`limit_caller`](Gate::limit_caller) once the request is
//! allowed.

use std::sync::Arc;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::{Gate, RequestContext};
use crate::denial::Denial;
use crate::limits::{Account, CallerLimits, OnLimit};
use crate::record::Record;
use crate::registry::RegistryRequest;
use crate::upstream::ClientInfo;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");

impl Gate {
    /// `per_client`. A request that comes a second time, with another grant, was counted.
    pub(super) async fn limit_client(
        &self,
        wanted: &RegistryRequest,
        caller: &ClientInfo<'_>,
        context: &RequestContext,
    ) -> Result<(), Denial> {
        if context.within_limits {
            return Ok(());
        }
        self.limits.client(caller.address, on_limit(wanted)).await
    }

    /// `per_identity`, `pulls_per_identity`, `concurrent_uploads_per_identity`. What the request
    /// holds of these goes with its record.
    pub(super) async fn limit_caller(
        &self,
        wanted: &RegistryRequest,
        caller: &ClientInfo<'_>,
        context: &mut RequestContext,
        record: &mut Record,
    ) -> Result<(), Denial> {
        if context.within_limits {
            return Ok(());
        }
        if let Some(limits) = self.limits_of(caller, record) {
            if let RegistryRequest::ManifestGet { .. } = wanted {
                context.pulls = limits.pulls();
            }
            limits.request(on_limit(wanted)).await?;
            if let (RegistryRequest::ManifestGet { head: false, .. }, Some(account)) =
                (wanted, &context.pulls)
            {
                record.set_pull_charge(account.pull()?);
            }
            if is_part_of_upload(wanted)
                && let Some(place) = limits.upload().await?
            {
                record.set_upload_place(place);
            }
        }
        context.within_limits = true;
        Ok(())
    }

    /// The same for a token.
    pub(super) async fn limit_token(
        &self,
        caller: &ClientInfo<'_>,
        record: &Record,
    ) -> Result<(), Denial> {
        match self.limits_of(caller, record) {
            Some(limits) => limits.request(OnLimit::Reject).await,
            None => Ok(()),
        }
    }

    fn limits_of(&self, caller: &ClientInfo<'_>, record: &Record) -> Option<CallerLimits<'_>> {
        self.limits.for_caller(record.caller().map(Arc::as_ref), caller.address)
    }
}

/// Says in an answer how many pulls are left, as Docker Hub does
/// (<https://docs.docker.com/docker-hub/usage/pulls/>): `5000;w=3600`. What the registry says of its own limits goes, for
/// next to these it would be taken for the same.
pub(super) fn tell_remaining(headers: &mut HeaderMap, account: &Account) {
    let is_of_limits = |name: &&HeaderName| {
        ["ratelimit", "x-ratelimit"].iter().any(|it| name.as_str().starts_with(it))
    };
    let of_registry: Vec<_> = headers.keys().filter(is_of_limits).cloned().collect();
    for name in of_registry {
        headers.remove(name);
    }
    let quota = account.quota();
    let window = quota.window();
    let seconds = window.as_secs() + u64::from(window.subsec_nanos() > 0);
    for (name, count) in [(LIMIT, quota.burst()), (REMAINING, account.remaining())] {
        if let Ok(value) = HeaderValue::try_from(format!("{count};w={seconds}")) {
            headers.insert(name, value);
        }
    }
}

fn on_limit(wanted: &RegistryRequest) -> OnLimit {
    if wanted.is_read() { OnLimit::Reject } else { OnLimit::Wait }
}

/// A POST, PATCH or PUT under `blobs/uploads/`.
fn is_part_of_upload(wanted: &RegistryRequest) -> bool {
    matches!(
        wanted,
        RegistryRequest::UploadStart { .. }
            | RegistryRequest::UploadChunk { .. }
            | RegistryRequest::UploadFinish { .. }
    )
}
