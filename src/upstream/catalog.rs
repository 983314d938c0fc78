//! The list of all repositories, read from the registry page by page until there is a page for the
//! client. Bounded in pages, bytes, time and number; what goes beyond is an error, and never a list
//! that is short without a word.

use std::time::Instant;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{ClientInfo, OutboundRequest, Upstream, location};
use crate::denial::{Denial, UpstreamFault};
use crate::policy::{CatalogFilter, Permit};
use crate::record::Record;
use crate::registry::{CatalogPage, CatalogWalk, RegistryRequest};

/// The most pages of the registry for one page of a client: 100,000 names, where the registry gives
/// 1,000 a page.
const MAX_PAGES: usize = 100;

/// The largest page. A thousand names of the greatest length are a quarter of it; some registries
/// give all names at once.
const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// Lists that a worker reads at the same time; others wait for theirs. Each may hold a page, and
/// one request of a client may be [`MAX_PAGES`] of the gate's own.
pub(super) const MAX_WALKS: usize = 16;

impl Upstream {
    /// A page of the list of all repositories with those names alone that the filter shows.
    ///
    /// # Errors
    /// What the registry did not do as it should, and [`UpstreamFault::CatalogTooLong`].
    pub async fn list_catalog(
        &self,
        permit: &Permit,
        filter: &CatalogFilter,
        caller: &ClientInfo<'_>,
        record: &mut Record,
    ) -> Result<CatalogPage, Denial> {
        let request_id = record.request_id().clone();
        let walk = async {
            // It is never closed.
            let _place = self.walks.acquire().await;
            self.walk(permit, filter, caller, record).await
        };
        // However many pages it takes, the client waits for no more than one answer.
        let page = match tokio::time::timeout(self.settings.response_timeout, walk).await {
            Ok(page) => page,
            Err(_) => Err(UpstreamFault::ResponseTimeout),
        };
        page.map_err(|fault| {
            tracing::error!(
                request_id = &*request_id,
                "no list of repositories: {}",
                fault.message()
            );
            Denial::Upstream(fault)
        })
    }

    async fn walk(
        &self,
        permit: &Permit,
        filter: &CatalogFilter,
        caller: &ClientInfo<'_>,
        record: &mut Record,
    ) -> Result<CatalogPage, UpstreamFault> {
        let RegistryRequest::Catalog { page, .. } = permit.request() else {
            return Err(UpstreamFault::NoCatalog);
        };
        let mut walk = CatalogWalk::new(page, |name| filter.shows(name));
        let begun = Instant::now();
        // Nothing of the client's own request: the registry would compress its answer, or say that
        // nothing has changed.
        let headers =
            HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]);
        for _ in 0..MAX_PAGES {
            let Some(wanted) = walk.next() else { return Ok(walk.finish()) };
            let request_id = record.request_id().clone();
            let outbound = OutboundRequest {
                wanted: &wanted,
                grant: permit.grant(),
                headers: &headers,
                request_id: &request_id,
            };
            let (response, mut exchange) = self.ask(&outbound, caller.address).await?;
            let (mut parts, body) = response.into_parts();
            record.set_upstream_response(begun.elapsed(), parts.status);
            let body = Limited::new(body, MAX_PAGE_BYTES).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    UpstreamFault::Invalid
                } else {
                    UpstreamFault::Unreachable
                }
            })?;
            exchange.finish(true);
            match parts.status {
                StatusCode::OK => {}
                // Distribution, of more names than it is configured to give.
                StatusCode::BAD_REQUEST if walk.any_size() => continue,
                status => {
                    // Its words may name what the caller may not know of.
                    tracing::error!(
                        request_id = &*request_id,
                        status = status.as_u16(),
                        "the registry gives no list of repositories"
                    );
                    return Err(UpstreamFault::NoCatalog);
                }
            }
            location::rewrite(&wanted, parts.status, &mut parts.headers, &self.settings.origins)?;
            let links =
                parts.headers.get_all(header::LINK).iter().filter_map(|link| link.to_str().ok());
            walk.take(&body.to_bytes(), links, |name| filter.shows(name)).map_err(|error| {
                tracing::error!(
                    request_id = &*request_id,
                    "a page of the registry's list of repositories: {error}"
                );
                UpstreamFault::Invalid
            })?;
        }
        match walk.next() {
            None => Ok(walk.finish()),
            Some(_) => Err(UpstreamFault::CatalogTooLong),
        }
    }
}
