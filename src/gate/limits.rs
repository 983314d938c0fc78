//! The stages that check limits: [`limit_address`](Gate::limit_address) before the credential is
//! read, and [`limit_caller`](Gate::limit_caller) once the request is allowed.

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
    /// Checks `per_client`. A request that is retried with another grant was already counted.
    pub(super) async fn limit_address(
        &self,
        wanted: &RegistryRequest,
        client: &ClientInfo<'_>,
        context: &RequestContext,
    ) -> Result<(), Denial> {
        if context.within_limits {
            return Ok(());
        }
        self.limits.client(client.address, on_limit(wanted)).await
    }

    /// Checks `per_identity`, `pulls_per_identity` and `concurrent_uploads_per_identity`. The
    /// record of the request holds its pull charge and its upload place.
    pub(super) async fn limit_caller(
        &self,
        wanted: &RegistryRequest,
        client: &ClientInfo<'_>,
        context: &mut RequestContext,
        record: &mut Record,
    ) -> Result<(), Denial> {
        if context.within_limits {
            return Ok(());
        }
        if let Some(limits) = self.limits_of(client, record) {
            if let RegistryRequest::ManifestGet { .. } = wanted {
                context.pulls = limits.pulls();
            }
            limits.request(on_limit(wanted)).await?;
            if let (RegistryRequest::ManifestGet { head: false, .. }, Some(account)) =
                (wanted, &context.pulls)
            {
                record.set_pull_charge(account.pull().await?);
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

    /// Checks `per_identity` for a token request.
    pub(super) async fn limit_token(
        &self,
        client: &ClientInfo<'_>,
        record: &Record,
    ) -> Result<(), Denial> {
        match self.limits_of(client, record) {
            Some(limits) => limits.request(OnLimit::Reject).await,
            None => Ok(()),
        }
    }

    fn limits_of(&self, client: &ClientInfo<'_>, record: &Record) -> Option<CallerLimits<'_>> {
        self.limits.for_caller(record.caller().map(Arc::as_ref), client.address)
    }
}

/// Adds the number of remaining pulls to a response, in the format of Docker Hub
/// (<https://docs.docker.com/docker-hub/usage/pulls/>): `5000;w=3600`. The rate limit headers of
/// the upstream are removed, because clients would confuse them with these.
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

/// Returns `true` for a POST, PATCH or PUT under `blobs/uploads/`.
fn is_part_of_upload(wanted: &RegistryRequest) -> bool {
    matches!(
        wanted,
        RegistryRequest::UploadStart { .. }
            | RegistryRequest::UploadChunk { .. }
            | RegistryRequest::UploadFinish { .. }
    )
}
