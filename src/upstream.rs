//! The registry behind the gate: one connection pool per worker, and the only code that sends
//! requests to the registry.

mod catalog;
mod connection;
mod connector;
mod exchange;
mod headers;
mod health;
mod location;
mod pool;
mod response_stream;

use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::sleep;

pub use connector::Connector;
pub use health::UpstreamHealth;
pub use location::Origins;

use crate::body::{BodyFailure, Progress, RequestBody, ResponseBody};
use crate::denial::{Denial, Framing, UpstreamFault};
use crate::policy::{Permit, TagLookUp};
use crate::record::Record;
use crate::registry::RegistryRequest;
use connection::{Connection, SendError};
use exchange::{Exchange, Then};
use pool::{Pool, Use};
use response_stream::ResponseStream;

/// The media types of all kinds of manifests.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v1+prettyjws, application/vnd.docker.distribution.manifest.v1+json, \
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
    /// The `Authorization` of forwarded requests, if the registry expects one from the gate.
    pub authorization: Option<HeaderValue>,
    /// The names that the registry may use for itself.
    pub origins: Origins,
    /// The longest time from the end of a request's body to the head of the response.
    pub response_timeout: Duration,
    /// The longest such time for the last request of an upload, on which registries with object
    /// storage copy data.
    pub upload_response_timeout: Duration,
    /// The longest time without progress before a body is given up.
    pub stall_timeout: Duration,
    /// The health of the registry as all workers have seen it.
    pub health: UpstreamHealth,
}

/// One worker's access to the registry. Clones share the same connections.
#[derive(Clone)]
pub struct Upstream {
    settings: std::sync::Arc<UpstreamSettings>,
    pool: Rc<Pool>,
    /// Limits how many catalog listings this worker reads at once.
    walks: Rc<Semaphore>,
}

/// The client for which a request is sent to the registry.
pub struct ClientInfo<'a> {
    pub address: IpAddr,
    pub http2: bool,
    pub progress: &'a Rc<Progress>,
}

/// A request to the registry, without its body.
struct OutboundRequest<'a> {
    wanted: &'a RegistryRequest,
    /// The token that was issued for this request, if the registry takes such tokens.
    grant: Option<HeaderValue>,
    /// The headers of the original request, few of which are forwarded.
    headers: &'a HeaderMap,
    request_id: &'a str,
}

impl Upstream {
    /// Creates one worker's access, without connections.
    pub fn new(settings: std::sync::Arc<UpstreamSettings>) -> Self {
        Self {
            pool: Rc::new(Pool::default()),
            walks: Rc::new(Semaphore::new(catalog::MAX_WALKS)),
            settings,
        }
    }

    /// Closes connections that have been idle for too long. The caller must call it every
    /// [`SWEEP_EVERY`].
    pub fn sweep(&self) {
        self.pool.sweep();
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
        caller: &ClientInfo<'_>,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, Denial> {
        let begun = Instant::now();
        let wanted = permit.request();
        let outbound = OutboundRequest {
            wanted,
            grant: permit.grant(),
            headers: &head.headers,
            request_id: record.request_id(),
        };
        let granted = outbound.grant.is_some();
        let (response, exchange) = self
            .exchange(&outbound, body, caller)
            .await
            .inspect_err(|denial| self.note_fault(denial))?;
        let took = begun.elapsed();
        record.set_upstream_response(took, response.status());

        let (mut parts, incoming) = response.into_parts();
        let usable = check_answer(wanted, granted, &parts).and_then(|()| {
            location::rewrite(wanted, parts.status, &mut parts.headers, &self.settings.origins)
        });
        if let Err(fault) = usable {
            tracing::error!(
                request_id = &**record.request_id(),
                status = parts.status.as_u16(),
                "the answer was not passed on: {}",
                fault.message()
            );
            self.settings.health.failed(fault, SystemTime::now());
            return Err(Denial::Upstream(fault));
        }
        self.settings.health.answered(took, SystemTime::now());
        headers::clean_response(&mut parts.headers);
        let progress = caller.progress;
        let stream =
            ResponseStream::new(incoming, exchange, self.settings.stall_timeout, progress.clone());
        Ok(Response::from_parts(parts, ResponseBody::stream(stream, progress.clone())))
    }

    /// Asks whether tags exist, and returns the statuses of the responses, in order. Nothing locks
    /// a tag between the response and the action that follows it, so another writer may change it
    /// first.
    ///
    /// # Errors
    /// - [`UpstreamFault::RefusedTheGrant`] if the registry refused the grant.
    /// - [`UpstreamFault::TagLookUp`] if the look-up fails for another reason.
    pub async fn look_up(
        &self,
        look_ups: &[TagLookUp],
        caller: &ClientInfo<'_>,
        request_id: &str,
    ) -> Result<Vec<StatusCode>, Denial> {
        let mut answers = Vec::with_capacity(look_ups.len());
        for look_up in look_ups {
            let status = self.status(look_up, caller.address, request_id).await;
            match status {
                Ok(StatusCode::OK | StatusCode::NOT_FOUND) => {}
                status => tracing::error!(
                    request_id,
                    ?status,
                    "the registry did not say whether a tag exists"
                ),
            }
            answers.push(
                status.map_err(Denial::Upstream).inspect_err(|denial| self.note_fault(denial))?,
            );
        }
        Ok(answers)
    }

    /// Sends a HEAD of the gate's own, and returns the status of the response.
    async fn status(
        &self,
        look_up: &TagLookUp,
        address: IpAddr,
        request_id: &str,
    ) -> Result<StatusCode, UpstreamFault> {
        // Nothing of the client's request is used. Its body has not begun, and its headers could
        // change the answer: a registry answers 404 for a manifest of a type that is not accepted.
        let headers =
            HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(MANIFEST_TYPES))]);
        let outbound = OutboundRequest {
            wanted: look_up.request(),
            grant: look_up.grant(),
            headers: &headers,
            request_id,
        };
        let (response, mut exchange) =
            self.ask(&outbound, address).await.map_err(|fault| match fault {
                UpstreamFault::RefusedTheGrant => fault,
                _ => UpstreamFault::TagLookUp,
            })?;
        if response.body().is_end_stream() {
            exchange.finish(true);
        }
        Ok(response.status())
    }

    /// Sends a read request of the gate's own, on behalf of a client at this address.
    async fn ask(
        &self,
        outbound: &OutboundRequest<'_>,
        address: IpAddr,
    ) -> Result<(Response<Incoming>, Exchange), UpstreamFault> {
        let progress = Rc::new(Progress::default());
        let body = RequestBody::empty(progress.clone());
        let caller = ClientInfo { address, http2: false, progress: &progress };
        let answer = self.exchange(outbound, body, &caller).await;
        let (response, exchange) = answer.map_err(|denial| match denial {
            Denial::Upstream(fault) => fault,
            _ => UpstreamFault::Unreachable,
        })?;
        let (parts, body) = response.into_parts();
        check_answer(outbound.wanted, outbound.grant.is_some(), &parts)?;
        Ok((Response::from_parts(parts, body), exchange))
    }

    /// Records the fault of a denial in the registry's health. A denial that the client caused is
    /// not the registry's fault.
    fn note_fault(&self, denial: &Denial) {
        if let Denial::Upstream(fault) = denial {
            self.settings.health.failed(*fault, SystemTime::now());
        }
    }

    /// Sends one request and returns the head of its response. A pooled connection may have died
    /// unnoticed: a request that was never written goes out on a new connection, and so does a GET
    /// or HEAD without a response. No other request is ever repeated.
    async fn exchange(
        &self,
        outbound: &OutboundRequest<'_>,
        body: RequestBody,
        caller: &ClientInfo<'_>,
    ) -> Result<(Response<Incoming>, Exchange), Denial> {
        let OutboundRequest { wanted, request_id, .. } = *outbound;
        let method = wanted.method();
        let repeatable = matches!(method, Method::GET | Method::HEAD);
        let request = self.request(outbound, body, caller)?;
        let pooled = self.pool.take(if repeatable { Use::Repeatable } else { Use::Once }).await;
        let again = match pooled {
            None => request,
            Some(mut connection) => {
                match self.answer(&mut connection, request, wanted, caller).await {
                    Ok(response) => {
                        let then = Then::after(&method, response.status());
                        return Ok((response, Exchange::new(connection, self.pool.clone(), then)));
                    }
                    Err(ExchangeFailure::NeverWritten(request)) => *request,
                    Err(ExchangeFailure::NoAnswer(_)) if repeatable => {
                        self.request(outbound, RequestBody::empty(caller.progress.clone()), caller)?
                    }
                    Err(failure) => return Err(failure.into_denial(caller.progress, request_id)),
                }
            }
        };
        let mut connection = Connection::open(&self.settings.connector).await.map_err(|error| {
            tracing::error!(request_id, "the registry cannot be reached: {error}");
            Denial::Upstream(if error.is_timeout() {
                UpstreamFault::ConnectTimeout
            } else {
                UpstreamFault::Unreachable
            })
        })?;
        match self.answer(&mut connection, again, wanted, caller).await {
            Ok(response) => {
                let then = Then::after(&method, response.status());
                Ok((response, Exchange::new(connection, self.pool.clone(), then)))
            }
            Err(failure) => Err(failure.into_denial(caller.progress, request_id)),
        }
    }

    fn request(
        &self,
        outbound: &OutboundRequest<'_>,
        body: RequestBody,
        caller: &ClientInfo<'_>,
    ) -> Result<Request<RequestBody>, Denial> {
        let uri = Uri::try_from(outbound.wanted.render())
            .map_err(|_| Denial::Framing(Framing::UriTooLong))?;
        let mut request = Request::new(body);
        *request.method_mut() = outbound.wanted.method();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers::request(outbound, &self.settings, caller.address);
        Ok(request)
    }

    /// Waits for the head of the response, within the time-outs.
    async fn answer(
        &self,
        connection: &mut Connection,
        request: Request<RequestBody>,
        wanted: &RegistryRequest,
        caller: &ClientInfo<'_>,
    ) -> Result<Response<Incoming>, ExchangeFailure> {
        let settings = &self.settings;
        let response_timeout = match wanted {
            RegistryRequest::UploadFinish { .. } => settings.upload_response_timeout,
            _ => settings.response_timeout,
        };
        let io = connection.io().clone();
        // No deadline is nearer than the shorter of the two time-outs, so a timer of that length
        // misses none.
        let tick = response_timeout.min(settings.stall_timeout);
        let mut timer = pin!(sleep(tick));
        let mut answer = pin!(connection.send(request));
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer.map_err(ExchangeFailure::from),
                () = &mut timer => {
                    let now = Instant::now();
                    let late = caller.progress.request_ended().map(|ended| ended + response_timeout);
                    let stuck = io.write_blocked().map(|since| since + settings.stall_timeout);
                    let deadline = late.into_iter().chain(stuck).min();
                    if deadline.is_some_and(|deadline| deadline <= now) {
                        return Err(ExchangeFailure::TimedOut);
                    }
                    let next = deadline.unwrap_or(now + tick).min(now + tick);
                    timer.as_mut().reset(next.into());
                }
            }
        }
    }
}

/// The reason why a request has no response.
enum ExchangeFailure {
    NeverWritten(Box<Request<RequestBody>>),
    NoAnswer(hyper::Error),
    TimedOut,
}

impl From<SendError> for ExchangeFailure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NeverWritten(request) => Self::NeverWritten(request),
            SendError::NoAnswer(error) => Self::NoAnswer(error),
        }
    }
}

impl ExchangeFailure {
    /// Returns the denial for the caller. A fault of the registry is logged. A fault of the client
    /// is not attributed to the registry.
    fn into_denial(self, progress: &Progress, request_id: &str) -> Denial {
        match progress.failure() {
            Some(BodyFailure::Aborted) => return Denial::ClientAborted,
            Some(BodyFailure::Trailers) => return Denial::Framing(Framing::Trailers),
            None => {}
        }
        Denial::Upstream(match self {
            Self::NeverWritten(_) => {
                tracing::error!(request_id, "the registry closed a new connection");
                UpstreamFault::Unreachable
            }
            Self::TimedOut => {
                tracing::error!(request_id, "the registry did not answer in time");
                UpstreamFault::ResponseTimeout
            }
            Self::NoAnswer(error) => {
                tracing::error!(request_id, "the registry gave no answer: {error}");
                let nonsense = error.is_parse() || is_invalid_data(&error);
                if nonsense { UpstreamFault::Invalid } else { UpstreamFault::Unreachable }
            }
        })
    }
}

/// Returns whether the answer failed because its bytes were invalid, such as a head over the size
/// limit, and not because the connection broke.
fn is_invalid_data(error: &hyper::Error) -> bool {
    let source =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidData)
}

/// Checks that a response is one that a registry gives. Its framing must be unambiguous, and must
/// show when the body is cut off.
fn check_answer(
    wanted: &RegistryRequest,
    granted: bool,
    parts: &http::response::Parts,
) -> Result<(), UpstreamFault> {
    if parts.status == StatusCode::UNAUTHORIZED {
        return Err(if granted {
            UpstreamFault::RefusedTheGrant
        } else {
            UpstreamFault::RefusedTheGate
        });
    }
    let invalid = Err(UpstreamFault::Invalid);
    let lengths: Vec<_> = parts.headers.get_all(header::CONTENT_LENGTH).iter().collect();
    let length = match *lengths {
        [] => None,
        // hyper reads a list of equal lengths as one length; the client behind the gate may not.
        [length] if !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit) => {
            Some(length)
        }
        _ => return invalid,
    };
    let codings: Vec<_> = parts.headers.get_all(header::TRANSFER_ENCODING).iter().collect();
    let chunked = match *codings {
        [] => false,
        [coding] if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        _ => return invalid,
    };
    let well_framed = match parts.status {
        status if status.is_informational() => false,
        StatusCode::NO_CONTENT => !chunked && length.is_none_or(|length| length == "0"),
        _ if wanted.method() == Method::HEAD || parts.status == StatusCode::NOT_MODIFIED => true,
        // Exactly one of the two must be present: a response that ends with the connection cannot
        // be told from one that broke off.
        _ => length.is_some() != chunked,
    };
    if well_framed { Ok(()) } else { invalid }
}
