//! The registry behind the gate: one connection pool per worker, and the only code that sends
//! requests to the registry.

mod authorized;
mod catalog;
mod challenge;
mod check_response;
mod connection;
mod connector;
mod elsewhere;
mod exchange;
mod fault;
mod fault_log;
mod headers;
mod health;
mod location;
mod pool;
mod redirects;
mod registry_tokens;
mod response_stream;
mod sealed_upload;
mod send;
mod tag_look_up;
mod web_address;

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::request::Parts;
use http::{HeaderValue, Response, response};
use tokio::sync::Semaphore;

pub use connector::Connector;
pub use elsewhere::OtherServers;
pub use health::{OpenFault, UpstreamHealth};
pub use location::Origins;
pub use registry_tokens::{RegistryTokens, TokenSettings};
pub use sealed_upload::UploadSeal;

use crate::body::{Progress, RequestBody, ResponseBody};
use crate::denial::{Denial, UpstreamFault};
use crate::identity::Principal;
use crate::log_throttle::LogThrottle;
use crate::policy::Permit;
use crate::record::Record;
use crate::registry::RegistryRequest;
use crate::terminal::printable;
use check_response::{check_response, is_redirect};
use elsewhere::KnownServers;
use health::Work;
use location::LeadsElsewhere;
use pool::Pool;
use response_stream::{ResponseStream, Watched};
use sealed_upload::SealedTarget;
use send::OutboundRequest;
use web_address::WebAddress;

/// The media types of all kinds of manifests.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v1+prettyjws, \
    application/vnd.docker.distribution.manifest.v1+json, \
    application/vnd.oci.artifact.manifest.v1+json, */*";

/// The interval between checks of idle connections. It is short enough that no idle connection
/// becomes much older than it may.
pub const SWEEP_EVERY: Duration = Duration::from_secs(pool::MAX_IDLE_TIME.as_secs() / 2);

/// The settings for the registry. All workers share them.
pub struct UpstreamSettings {
    /// The address of the registry and the way to connect to it.
    pub connector: Connector,
    /// The address of the registry for people, without user information.
    pub url: String,
    /// The `Host` of forwarded requests: the registry's own.
    pub host: HeaderValue,
    /// The values of `X-Forwarded-Proto` and `X-Forwarded-Host`, from which registries build
    /// addresses.
    pub forwarded_proto: HeaderValue,
    pub forwarded_host: HeaderValue,
    /// The `Authorization` of forwarded requests.
    pub authorization: RegistryAuthorization,
    /// `true` if the registry learns who sends each request.
    pub identity_headers: bool,
    /// The servers to which the gate follows redirects; `None`: the client follows them.
    pub followed: Option<OtherServers>,
    /// The servers to which the registry may lead uploads.
    pub uploads: OtherServers,
    /// The seal of the addresses of such uploads.
    pub seal: UploadSeal,
    /// The names that the registry may use for itself.
    pub origins: Origins,
    /// The longest time from the end of a request's body to the head of the response.
    pub response_timeout: Duration,
    /// The longest such time for the last request of an upload, on which registries with object
    /// storage copy data.
    pub upload_response_timeout: Duration,
    /// The longest time without progress before a body is given up.
    pub stall_timeout: Duration,
    /// The throttle of the log lines about the registry.
    pub log_throttle: LogThrottle,
    /// The health of the registry as all workers have seen it.
    pub health: UpstreamHealth,
}

/// The `Authorization` of forwarded requests.
pub enum RegistryAuthorization {
    /// None, or that of the token which was issued for the request.
    OfRequest,
    /// That of the gate's own account.
    Fixed(HeaderValue),
    /// The token or the password that the registry's challenge asks for.
    Token(Box<RegistryTokens>),
}

/// One worker's access to the registry. Clones share the same connections.
#[derive(Clone)]
pub struct Upstream {
    settings: Arc<UpstreamSettings>,
    pool: Rc<Pool>,
    /// The servers of redirects, and of uploads. They are kept apart, because each list of the
    /// config allows addresses of its own.
    redirect_servers: Rc<KnownServers>,
    upload_servers: Rc<KnownServers>,
    /// Limits how many catalog listings this worker reads at once.
    catalog_slots: Rc<Semaphore>,
}

/// The client for which a request is sent to the registry.
pub struct ClientInfo<'a> {
    pub address: IpAddr,
    pub http2: bool,
    pub progress: &'a Rc<Progress>,
}

impl Upstream {
    /// Creates one worker's access, without connections.
    pub fn new(settings: Arc<UpstreamSettings>) -> Self {
        Self {
            pool: Rc::default(),
            redirect_servers: Rc::default(),
            upload_servers: Rc::default(),
            catalog_slots: Rc::new(Semaphore::new(catalog::MAX_WALKS)),
            settings,
        }
    }

    /// Closes connections that have been idle for too long. The caller must call it every
    /// [`SWEEP_EVERY`].
    pub fn sweep(&self) {
        self.pool.sweep();
        self.redirect_servers.sweep();
        self.upload_servers.sweep();
    }

    /// Forwards the request that the permit allows, and returns the response. Both bodies are
    /// streamed.
    ///
    /// # Errors
    /// - [`Denial::Upstream`] if the registry does not respond, or its response is not passed on.
    /// - [`Denial::ClientAborted`] if the client's body broke off.
    /// - [`Denial::Framing`] if the client sent trailers, or the URI is too long.
    pub async fn forward(
        &self,
        permit: Permit,
        head: &Parts,
        body: RequestBody,
        client: &ClientInfo<'_>,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, Denial> {
        let begun = Instant::now();
        let wanted = permit.request();
        let (grant, work) = (permit.upstream_token(), Work::Of(wanted.operation()));
        let sent_grant = grant.is_some();
        // Boxed because it is rare, and would enlarge every request's future.
        let sealed = match sealed_upload::sealed_id(wanted) {
            None => None,
            Some(id) => Some(Box::new(self.unseal(id, wanted, record)?)),
        };
        let mut outbound =
            OutboundRequest::to_registry(wanted, grant, &head.headers, record.request_id());
        outbound.caller = caller_of(record);
        outbound.trace = record.trace();
        if let Some(sealed) = &sealed {
            (outbound.to, outbound.target) = (sealed.server.as_deref(), Some(&*sealed.target));
        }
        // Not `exchange_authorized`: one more layer would enlarge every request's future.
        let answer = match &self.settings.authorization {
            RegistryAuthorization::Token(tokens) if outbound.to.is_none() => {
                Box::pin(self.exchange_with_token(tokens, &outbound, body, client, begun)).await
            }
            _ => self.exchange(&outbound, body, client, begun).await,
        };
        let mut answer = answer.inspect_err(|denial| self.note_fault(work, denial))?;
        let others = self.follows(wanted).filter(|_| is_redirect(answer.0.status()));
        if let Some(others) = others {
            // Boxed because it would enlarge every request's future.
            answer = Box::pin(self.follow(others, &outbound, answer, client))
                .await
                .inspect_err(|denial| self.note_fault(work, denial))?;
        }
        let (response, exchange) = answer;
        let arrived = Instant::now();
        let took = arrived - begun;
        record.set_upstream_response(took, response.status());

        let (mut parts, incoming) = response.into_parts();
        // The registry may speak HTTP/1.0, and the client need not know.
        parts.version = http::Version::HTTP_11;
        // What a redirect led to was checked, and is passed on without its framing.
        let usable = if others.is_some() {
            Ok(())
        } else {
            check_response(wanted, sent_grant, &parts)
                .and_then(|()| self.lead(wanted, sealed.as_deref(), &mut parts, record))
        };
        if let Err(fault) = usable {
            let status = parts.status.as_u16();
            let at_other_server = sealed.as_deref().filter(|sealed| sealed.server.is_some());
            let fault = if let Some(sealed) = at_other_server {
                self.log_fault(
                    record.request_id(),
                    UpstreamFault::Invalid,
                    format_args!(
                        "the response of {}, to which the registry led an upload, was not passed \
                         on (status {status})",
                        printable(&sealed.address.shown())
                    ),
                );
                UpstreamFault::Invalid
            } else {
                self.log_fault(
                    record.request_id(),
                    fault,
                    format_args!(
                        "the response was not passed on: {} (status {status})",
                        fault.message()
                    ),
                );
                fault
            };
            self.settings.health.failed(work, fault, SystemTime::now());
            return Err(Denial::Upstream(fault));
        }
        self.settings.health.answered(work, parts.status, took, record.time_at(arrived));
        headers::clean_response(&mut parts.headers);
        let progress = client.progress;
        let watched = Watched { settings: self.settings.clone(), work, status: parts.status };
        let stream = ResponseStream::new(incoming, exchange, watched, progress.clone());
        Ok(Response::from_parts(parts, ResponseBody::stream(stream, progress.clone())))
    }

    /// Makes the addresses in a response usable for the client.
    fn lead(
        &self,
        wanted: &RegistryRequest,
        sealed: Option<&SealedTarget>,
        parts: &mut response::Parts,
        record: &Record,
    ) -> Result<(), UpstreamFault> {
        if !location::has_addresses(parts.status, &parts.headers) {
            return Ok(());
        }
        let origins = &self.settings.origins;
        let target = match sealed {
            Some(sealed) => Cow::Borrowed(&*sealed.target),
            None => Cow::Owned(wanted.render_behind(&origins.base)),
        };
        let seal = |address: &WebAddress| self.seal(address, wanted, record);
        let elsewhere = sealed.filter(|it| it.server.is_some()).map(|sealed| &sealed.address);
        let answered =
            location::Answered { wanted, target: &target, origins, elsewhere, seal: &seal };
        let rewritten = location::rewrite(answered, parts.status, &mut parts.headers);
        rewritten.map_err(|LeadsElsewhere(address)| {
            self.log_elsewhere(record.request_id(), parts.status, &address)
        })
    }
}

/// Returns the caller for which a request is sent to the registry, if the caller has a credential.
fn caller_of(record: &Record) -> Option<&Principal> {
    record.principal().filter(|principal| !principal.is_anonymous())
}
