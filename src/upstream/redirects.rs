//! Redirects that the gate follows itself: `redirects: follow`.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::check_response::{check_response, is_redirect};
use super::elsewhere::{Elsewhere, OtherServers};
use super::exchange::Exchange;
use super::send::OutboundRequest;
use super::web_address::WebAddress;
use super::{ClientInfo, Upstream};
use crate::body::RequestBody;
use crate::denial::{Denial, UpstreamFault};
use crate::registry::RegistryRequest;
use crate::terminal::printable;

/// The largest part of an odd address in a log line, in characters.
const MOST_SHOWN: usize = 300;

/// The largest number of redirects in a row that are followed.
const MAX_HOPS: usize = 3;

const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");
const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The headers of the storage's response that the client gets.
const PASSED_ON: [HeaderName; 5] = [
    header::ACCEPT_RANGES,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::ETAG,
    header::LAST_MODIFIED,
];

impl Upstream {
    /// Returns the other servers if the gate follows the redirects of such a request.
    pub(super) fn follows(&self, wanted: &RegistryRequest) -> Option<&OtherServers> {
        let is_followed =
            matches!(wanted, RegistryRequest::BlobGet { .. } | RegistryRequest::ManifestGet { .. });
        self.settings.followed.as_ref().filter(|_| is_followed)
    }

    /// Follows a redirect of the registry, and returns the response to which it leads. `outbound`
    /// is the request that was redirected, and `redirected` the answer.
    ///
    /// # Errors
    /// [`UpstreamFault::RedirectFailed`] if the redirect leads to a server that the config does not
    /// list, or to an answer that is not passed on.
    pub(super) async fn follow(
        &self,
        others: &OtherServers,
        outbound: &OutboundRequest<'_>,
        (redirected, exchange): (Response<Incoming>, Exchange),
        client: &ClientInfo<'_>,
    ) -> Result<(Response<Incoming>, Exchange), Denial> {
        let (parts, body) = redirected.into_parts();
        let redirect = parts.headers;
        read_out(body, exchange).await;
        let logged = |what: fmt::Arguments<'_>| {
            self.log_fault(outbound.request_id, UpstreamFault::RedirectFailed, what);
            Denial::Upstream(UpstreamFault::RedirectFailed)
        };
        // The status shows no path, which may be a secret of the storage.
        let failed = |to: &WebAddress, what: fmt::Arguments<'_>| {
            let why = what.to_string().replace(&printable(&to.shown()).to_string(), &to.origin());
            self.settings.health.because(UpstreamFault::RedirectFailed, why);
            logged(what)
        };
        let (wanted, origins) = (outbound.wanted, &self.settings.origins);
        let registry = origins
            .address()
            .map(|registry| WebAddress { target: wanted.render_behind(&origins.base), ..registry });
        let mut here = registry
            .ok_or_else(|| logged(format_args!("the registry's own address cannot be read")))?;
        // A reference without a host stays with the registry, which needs no entry in a list.
        let mut with_registry = true;
        let mut location = one_location(&redirect);
        for _ in 0..MAX_HOPS {
            let joined = location.as_deref().and_then(|location| here.join(location));
            let joined = joined.ok_or_else(|| {
                let location = location.as_deref().unwrap_or_default();
                let path = location.split(['?', '#']).next().unwrap_or_default();
                let shown: String = path.chars().take(MOST_SHOWN).collect();
                let shown =
                    if shown.contains('@') { "an address with user information" } else { &shown };
                logged(format_args!(
                    "the registry redirects to an address that the gate cannot follow: {}",
                    printable(shown)
                ))
            })?;
            here = joined.address;
            if joined.names_host {
                // The registry may use its own name, or the gate's.
                let scheme = if here.https { "https" } else { "http" };
                with_registry &= origins.knows(scheme, &here.authority());
            }
            let server = if with_registry {
                Ok(Rc::new(self.registry_without_credential()))
            } else {
                others.server(&here, &self.redirect_servers)
            };
            let server = server.map_err(|why| {
                failed(
                    &here,
                    format_args!(
                        "the registry redirects to {}, which the gate does not follow: {why}; see \
                     upstream.redirect_hosts",
                        printable(&here.shown())
                    ),
                )
            })?;
            let hop = OutboundRequest {
                to: Some(&server),
                target: Some(&here.target),
                authorization: None,
                ..outbound.clone()
            };
            client.progress.wait_begins();
            let body = RequestBody::empty(client.progress.clone());
            let answer = self.exchange(&hop, body, client, std::time::Instant::now()).await;
            let (response, exchange) = answer.map_err(|denial| match denial {
                Denial::ClientAborted => denial,
                _ => failed(&here, format_args!(
                    "{}, to which the registry redirects, was not reached or gave no answer; the \
                     line before has the reason",
                    printable(&here.shown())
                )),
            })?;
            if !is_redirect(response.status()) {
                return self.storage_answer(wanted, &redirect, response, exchange).map_err(|why| {
                    failed(
                        &here,
                        format_args!(
                            "{}, to which the registry redirects, {why}",
                            printable(&here.shown())
                        ),
                    )
                });
            }
            location = one_location(response.headers());
            read_out(response.into_body(), exchange).await;
        }
        Err(failed(
            &here,
            format_args!(
                "the registry's redirect leads to further ones, more than {MAX_HOPS} in a row"
            ),
        ))
    }

    /// Returns the registry as a server that is shown no credential.
    fn registry_without_credential(&self) -> Elsewhere {
        Elsewhere {
            connector: self.settings.connector.clone(),
            pool: self.pool.clone(),
            host: self.settings.host.clone(),
        }
    }

    /// Returns the storage's response as the client gets it.
    fn storage_answer(
        &self,
        wanted: &RegistryRequest,
        redirect: &HeaderMap,
        response: Response<Incoming>,
        exchange: Exchange,
    ) -> Result<(Response<Incoming>, Exchange), String> {
        let (mut parts, body) = response.into_parts();
        let status = parts.status;
        let is_passed_on = matches!(
            status,
            StatusCode::OK
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_MODIFIED
                | StatusCode::RANGE_NOT_SATISFIABLE
        );
        if !is_passed_on {
            return Err(format!("answered {}", status.as_u16()));
        }
        if check_response(wanted, false, &parts).is_err() {
            return Err("gave an answer that is not valid".to_owned());
        }
        let coded = parts.headers.get(header::CONTENT_ENCODING);
        if coded.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(
                "gave its content with a Content-Encoding that the gate did not ask for".to_owned()
            );
        }
        parts.headers = storage_headers(wanted, redirect, &parts.headers);
        Ok((Response::from_parts(parts, body), exchange))
    }
}

/// Reads the short body of a redirect, so that its connection can be used again.
async fn read_out(body: Incoming, mut exchange: Exchange) {
    const MOST_BYTES: usize = 16 * 1024;
    const MOST_TIME: Duration = Duration::from_secs(1);
    let reading = Limited::new(body, MOST_BYTES).collect();
    if let Ok(Ok(_)) = timeout(MOST_TIME, reading).await {
        exchange.finish(true);
    }
}

/// Returns the headers for the client. The type of a blob is fixed, and the digest is
/// the registry's.
fn storage_headers(
    wanted: &RegistryRequest,
    redirect: &HeaderMap,
    storage: &HeaderMap,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    for name in PASSED_ON {
        if let Some(value) = storage.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let media_type = match wanted {
        RegistryRequest::ManifestGet { .. } => storage.get(header::CONTENT_TYPE).cloned(),
        _ => {
            headers.insert(NOSNIFF, HeaderValue::from_static("nosniff"));
            Some(HeaderValue::from_static("application/octet-stream"))
        }
    };
    if let Some(media_type) = media_type {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
    if let Some(digest) = redirect.get(&DOCKER_CONTENT_DIGEST) {
        headers.insert(DOCKER_CONTENT_DIGEST, digest.clone());
    }
    headers
}

/// Returns the `Location`, if there is exactly one.
fn one_location(headers: &HeaderMap) -> Option<String> {
    let mut lines = headers.get_all(header::LOCATION).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().ok().map(str::to_owned),
        _ => None,
    }
}
