//! The list of all repositories, read from the registry page by page until there is a page for the
//! client. The pages, their bytes, the time and the number of reads at once are bounded. A list
//! beyond these bounds is an error, and never a silently shortened list.

use std::fmt;
use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::location::LeadsElsewhere;
use super::{ClientInfo, OutboundRequest, Upstream, Work, caller_of, location};
use crate::denial::{Denial, UpstreamFault};
use crate::policy::{CatalogFilter, Permit};
use crate::record::Record;
use crate::registry::{CatalogPage, CatalogWalk, Operation, RegistryRequest};

/// The largest number of pages of the registry for one page of a client: 100,000 names, if the
/// registry gives 1,000 per page.
const MAX_PAGES: usize = 100;

/// The largest page, in bytes. A thousand names of the greatest length take a quarter of it. Some
/// registries give all names at once.
const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// The largest number of lists that a worker reads at the same time; other requests wait. Each may
/// hold a page, and one request of a client may cause [`MAX_PAGES`] requests of the gate's own.
pub(super) const MAX_WALKS: usize = 16;

impl Upstream {
    /// Returns a page of the list of all repositories, with only the names that the filter shows.
    ///
    /// # Errors
    /// - [`UpstreamFault::CatalogTooLong`] if the list has more pages than the gate reads.
    /// - [`Denial::Upstream`] with another fault if the registry fails.
    pub async fn list_catalog(
        &self,
        permit: &Permit,
        filter: &CatalogFilter,
        client: &ClientInfo<'_>,
        record: &mut Record,
    ) -> Result<CatalogPage, Denial> {
        let (request_id, begun) = (record.request_id().clone(), Instant::now());
        let walk = async {
            // The semaphore is never closed, so this cannot fail.
            let _place = self.catalog_slots.acquire().await;
            self.walk(permit, filter, client, record).await
        };
        // The client waits no longer than for one response, even if the list takes many pages.
        let page = match tokio::time::timeout(self.settings.response_timeout, walk).await {
            Ok(page) => page,
            Err(_) => Err(UpstreamFault::ResponseTimeout),
        };
        let health = &self.settings.health;
        let work = Work::Of(Operation::Catalog);
        if page.is_ok() {
            health.answered(work, StatusCode::OK, begun.elapsed(), SystemTime::now());
            health.completed(work, StatusCode::OK);
        }
        page.map_err(|fault| {
            health.failed(work, fault, SystemTime::now());
            self.log_fault(
                &request_id,
                fault,
                format_args!("the list of repositories cannot be read: {}", fault.message()),
            );
            Denial::Upstream(fault)
        })
    }

    async fn walk(
        &self,
        permit: &Permit,
        filter: &CatalogFilter,
        client: &ClientInfo<'_>,
        record: &mut Record,
    ) -> Result<CatalogPage, UpstreamFault> {
        let RegistryRequest::Catalog { page, .. } = permit.request() else {
            return Err(UpstreamFault::NoCatalog);
        };
        let mut walk = CatalogWalk::new(page, |name| filter.shows(name));
        let begun = Instant::now();
        // Nothing of the client's request is used: the registry would compress its response, or
        // answer that nothing has changed.
        let headers =
            HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]);
        for _ in 0..MAX_PAGES {
            let Some(wanted) = walk.next() else { return Ok(walk.finish()) };
            let request_id = record.request_id().clone();
            let outbound = OutboundRequest::to_registry(
                &wanted,
                permit.upstream_token(),
                &headers,
                &request_id,
            );
            let (caller, trace) = (caller_of(record), record.trace());
            let outbound = OutboundRequest { caller, trace, ..outbound };
            let (response, mut exchange) =
                self.ask(&outbound, client.address).await.map_err(|denial| match denial {
                    Denial::Upstream(fault) => fault,
                    _ => UpstreamFault::NoCatalog,
                })?;
            let (parts, body) = response.into_parts();
            record.set_upstream_response(begun.elapsed(), parts.status);
            let body = Limited::new(body, MAX_PAGE_BYTES).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    UpstreamFault::Invalid
                } else {
                    UpstreamFault::NoAnswer
                }
            })?;
            exchange.finish(true);
            match parts.status {
                StatusCode::OK => {}
                // Distribution answers this if the page is larger than its configuration allows.
                StatusCode::BAD_REQUEST if walk.any_size() => continue,
                status => {
                    // The registry's message may name repositories that the caller may not know of,
                    // so it is not passed on.
                    self.log_fault(
                        &request_id,
                        UpstreamFault::NoCatalog,
                        format_args!(
                            "the registry does not return its list of repositories: status {}",
                            status.as_u16()
                        ),
                    );
                    return Err(UpstreamFault::NoCatalog);
                }
            }
            let next = location::next_page(
                &wanted,
                &wanted.render_behind(&self.settings.origins.base),
                &parts.headers,
                &self.settings.origins,
            );
            let invalid = |why: &dyn fmt::Display| {
                self.log_fault(
                    &request_id,
                    UpstreamFault::Invalid,
                    format_args!(
                        "a page of the registry's list of repositories is not valid: {why}"
                    ),
                );
                UpstreamFault::Invalid
            };
            let next = next.map_err(|LeadsElsewhere(address)| {
                self.log_elsewhere(&request_id, parts.status, &address)
            })?;
            walk.take(&body.to_bytes(), next.as_deref(), |name| filter.shows(name))
                .map_err(|error| invalid(&error))?;
        }
        match walk.next() {
            None => Ok(walk.finish()),
            Some(_) => Err(UpstreamFault::CatalogTooLong),
        }
    }
}
