//! Sending one request on a pooled or a new connection, and waiting for the head of its response.

use std::borrow::Cow;
use std::error::Error;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::Body as _;
use hyper::body::Incoming;

use super::check_response::check_response;
use super::connection::{Connection, SendError};
use super::elsewhere::Elsewhere;
use super::exchange::{AfterResponse, Exchange};
use super::pool::Repeat;
use super::{ClientInfo, Origins, Upstream, headers};
use crate::body::{BodyFailure, Progress, RequestBody};
use crate::denial::{Denial, Framing, UpstreamFault};
use crate::identity::Principal;
use crate::registry::RegistryRequest;
use crate::request_id::RequestId;
use crate::telemetry::{RequestTrace, UpstreamRequest};

/// A request to the registry or to another server, without its body.
#[derive(Clone)]
pub(super) struct OutboundRequest<'a> {
    pub(super) wanted: &'a RegistryRequest,
    /// The server, if it is not the registry.
    pub(super) to: Option<&'a Elsewhere>,
    /// The path and query, if they are not those that the registry has for this request.
    pub(super) target: Option<&'a str>,
    /// The identity of the caller, if the caller has a credential.
    pub(super) caller: Option<&'a Principal>,
    /// The credential for this request, if it has one of its own: the token that was issued for
    /// it.
    pub(super) authorization: Option<HeaderValue>,
    /// The headers of the original request, few of which are forwarded.
    pub(super) headers: &'a HeaderMap,
    pub(super) request_id: &'a RequestId,
    /// The trace of the client's request; `None` without telemetry.
    pub(super) trace: Option<&'a RequestTrace>,
}

impl<'a> OutboundRequest<'a> {
    /// Creates a request to the registry.
    pub(super) fn to_registry(
        wanted: &'a RegistryRequest,
        authorization: Option<HeaderValue>,
        headers: &'a HeaderMap,
        request_id: &'a RequestId,
    ) -> Self {
        Self {
            wanted,
            to: None,
            target: None,
            caller: None,
            authorization,
            headers,
            request_id,
            trace: None,
        }
    }

    /// Returns the server for the log.
    fn server(&self) -> Cow<'static, str> {
        match self.to.map(|elsewhere| elsewhere.host.to_str()) {
            None => "the registry".into(),
            Some(host) => {
                format!("{}, to which the registry leads,", host.unwrap_or("a server")).into()
            }
        }
    }

    /// Ends the span of the request with the status of its response. That something does not exist
    /// is an answer to a HEAD, and no error.
    fn answered(&self, status: StatusCode) {
        if let Some(trace) = self.trace {
            let is_answer = status == StatusCode::NOT_FOUND && self.wanted.method() == Method::HEAD;
            let is_error = status.is_client_error() || status.is_server_error();
            trace.upstream_answered(status, is_error && !is_answer);
        }
    }

    /// Ends the span of the request that has no response.
    fn failed(&self, fault: UpstreamFault) {
        if let Some(trace) = self.trace {
            trace.upstream_failed(Denial::Upstream(fault).answer().reason.as_str());
        }
    }
}

impl Upstream {
    /// Sends a read request of the gate's own, on behalf of a client at this address.
    pub(super) async fn ask(
        &self,
        outbound: &OutboundRequest<'_>,
        address: IpAddr,
    ) -> Result<(Response<Incoming>, Exchange), Denial> {
        let progress = Rc::new(Progress::default());
        let body = RequestBody::empty(progress.clone());
        let client = ClientInfo { address, http2: false, progress: &progress };
        let sent_grant = outbound.authorization.is_some();
        let answer = self.exchange_authorized(outbound, body, &client, Instant::now()).await;
        let (response, exchange) = answer?;
        let (parts, body) = response.into_parts();
        check_response(outbound.wanted, sent_grant, &parts).map_err(Denial::Upstream)?;
        Ok((Response::from_parts(parts, body), exchange))
    }

    /// Sends one request and returns the head of its response. A pooled connection may have died
    /// unnoticed: a request that was never written goes out on a new connection, and so does a GET
    /// or HEAD whose connection broke before a valid response. A time-out is final. No other
    /// request is ever repeated.
    pub(super) async fn exchange(
        &self,
        outbound: &OutboundRequest<'_>,
        body: RequestBody,
        client: &ClientInfo<'_>,
        now: Instant,
    ) -> Result<(Response<Incoming>, Exchange), Denial> {
        let OutboundRequest { wanted, request_id, to, .. } = *outbound;
        let (connector, pool) = match to {
            None => (&self.settings.connector, &self.pool),
            Some(elsewhere) => (&elsewhere.connector, &elsewhere.pool),
        };
        if let Some(trace) = outbound.trace {
            trace.upstream_begins(|| self.described(outbound));
        }
        let method = wanted.method();
        let repeatable = matches!(method, Method::GET | Method::HEAD);
        let request = self.request(outbound, body, client)?;
        let repeat = if repeatable { Repeat::Possible } else { Repeat::Never };
        let pooled = pool.take(repeat, now).await;
        let request = match pooled {
            None => request,
            Some(mut connection) => {
                match self.send_and_await_head(&mut connection, request, wanted, client).await {
                    Ok(response) => {
                        let then = AfterResponse::after(&method, response.status());
                        outbound.answered(response.status());
                        return Ok((response, Exchange::new(connection, pool.clone(), then)));
                    }
                    Err(ExchangeFailure::NeverWritten(request)) => *request,
                    Err(ExchangeFailure::NoAnswer(_)) if repeatable => {
                        self.request(outbound, RequestBody::empty(client.progress.clone()), client)?
                    }
                    Err(failure) => return Err(self.denial(failure, client.progress, outbound)),
                }
            }
        };
        // Boxed because it is rare, and would enlarge every request's future.
        let opened = Box::pin(Connection::open(connector)).await;
        let mut connection = opened.map_err(|error| {
            let fault = if error.is_timeout() {
                UpstreamFault::ConnectTimeout
            } else {
                UpstreamFault::Unreachable
            };
            self.note_error(outbound, fault, &error);
            self.log_fault(
                request_id,
                fault,
                format_args!("{} cannot be reached: {error}", outbound.server()),
            );
            outbound.failed(fault);
            Denial::Upstream(fault)
        })?;
        match self.send_and_await_head(&mut connection, request, wanted, client).await {
            Ok(response) => {
                // A proxy that reads the requests may close the connection after any of them.
                let then = match connector.forwarding_proxy() {
                    Some(_) => AfterResponse::Close,
                    None => AfterResponse::after(&method, response.status()),
                };
                outbound.answered(response.status());
                Ok((response, Exchange::new(connection, pool.clone(), then)))
            }
            Err(failure) => Err(self.denial(failure, client.progress, outbound)),
        }
    }

    /// Describes a request for its span. The URL has no query. Of a server beside the registry, and
    /// of an address that is sealed for clients, it has no path either: the registry may write a
    /// secret there.
    fn described(&self, outbound: &OutboundRequest<'_>) -> UpstreamRequest {
        let connector = outbound.to.map_or(&self.settings.connector, |to| &to.connector);
        let (https, host, port) = connector.server();
        let url = match outbound.to {
            None => {
                let Origins { own, base, .. } = &self.settings.origins;
                let target = match outbound.target {
                    Some(_) => "/".to_owned(),
                    None => outbound.wanted.render_behind(base),
                };
                format!("{own}{}", target.split('?').next().unwrap_or_default())
            }
            Some(to) => {
                let scheme = if https { "https" } else { "http" };
                format!("{scheme}://{}/", to.host.to_str().unwrap_or_default())
            }
        };
        let method = outbound.wanted.method();
        UpstreamRequest { method, url, host: host.to_owned(), port }
    }

    /// Notes the error behind a fault for the status.
    fn note_error(&self, outbound: &OutboundRequest<'_>, fault: UpstreamFault, error: &dyn Error) {
        let why = match outbound.to {
            None => error.to_string(),
            Some(_) => format!("{} {error}", outbound.server()),
        };
        self.settings.health.because(fault, why);
    }

    /// Returns the denial for a failure. A fault of the registry is logged. A fault of the client
    /// is not attributed to the registry.
    fn denial(
        &self,
        failure: ExchangeFailure,
        progress: &Progress,
        outbound: &OutboundRequest<'_>,
    ) -> Denial {
        let server = outbound.server();
        match progress.failure() {
            Some(BodyFailure::Aborted) => return Denial::ClientAborted,
            Some(BodyFailure::Trailers) => return Denial::Framing(Framing::Trailers),
            None => {}
        }
        let log = |fault, what| {
            self.log_fault(outbound.request_id, fault, what);
            outbound.failed(fault);
            Denial::Upstream(fault)
        };
        match failure {
            ExchangeFailure::NeverWritten(_) => log(
                UpstreamFault::NoAnswer,
                format_args!("{server} closed a new connection before it answered"),
            ),
            ExchangeFailure::TimedOut => {
                log(UpstreamFault::ResponseTimeout, format_args!("{server} did not answer in time"))
            }
            ExchangeFailure::NoAnswer(error) => {
                let invalid = error.is_parse() || is_invalid_data(&error);
                let fault = if invalid { UpstreamFault::Invalid } else { UpstreamFault::NoAnswer };
                self.note_error(outbound, fault, &error);
                log(fault, format_args!("{server} gave no answer: {error}"))
            }
        }
    }

    fn request(
        &self,
        outbound: &OutboundRequest<'_>,
        body: RequestBody,
        client: &ClientInfo<'_>,
    ) -> Result<Request<RequestBody>, Denial> {
        let base = &self.settings.origins.base;
        let mut target = match outbound.target {
            None => outbound.wanted.render_behind(base),
            Some(target) => target.to_owned(),
        };
        let proxy = match outbound.to {
            None => self.settings.connector.forwarding_proxy(),
            Some(elsewhere) => elsewhere.connector.forwarding_proxy(),
        };
        if proxy.is_some() {
            // RFC 9112, 3.2.2. Only requests to the registry itself are forwarded so.
            target.insert_str(0, &self.settings.origins.own);
        }
        let uri = Uri::try_from(target).map_err(|_| Denial::Framing(Framing::UriTooLong))?;
        let is_empty = body.is_end_stream();
        let mut request = Request::new(body);
        *request.method_mut() = outbound.wanted.method();
        *request.uri_mut() = uri;
        *request.headers_mut() = match outbound.to {
            None => headers::request(outbound, &self.settings, client.address),
            Some(elsewhere) => headers::request_elsewhere(outbound, &elsewhere.host),
        };
        if proxy.is_some() {
            headers::join_accept(request.headers_mut());
        }
        if let Some(Some(authorization)) = proxy {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization.clone());
        }
        if is_empty && !outbound.wanted.is_read() {
            // Some servers answer 411 to a write without a length (RFC 9110, 8.6).
            request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Ok(request)
    }

    /// Sends a request and waits for the head of its response, within the time-outs.
    async fn send_and_await_head(
        &self,
        connection: &mut Connection,
        request: Request<RequestBody>,
        wanted: &RegistryRequest,
        client: &ClientInfo<'_>,
    ) -> Result<Response<Incoming>, ExchangeFailure> {
        let settings = &self.settings;
        let response_timeout = match wanted {
            RegistryRequest::UploadFinish { .. }
            | RegistryRequest::UploadStart { digest: Some(_), .. } => {
                settings.upload_response_timeout
            }
            _ => settings.response_timeout,
        };
        let io = connection.io().clone();
        // The gate looks at the deadlines when the request begins, and then at least as often as
        // the shorter of the two time-outs: no deadline that begins meanwhile is nearer.
        let tick = response_timeout.min(settings.stall_timeout);
        let next_check = || {
            let now = Instant::now();
            let ended = client.progress.request_body_ended();
            let late = ended.map(|ended| ended + response_timeout);
            let stuck = io.write_blocked().map(|since| since + settings.stall_timeout);
            match late.into_iter().chain(stuck).min() {
                Some(deadline) if deadline <= now => None,
                deadline => Some(deadline.unwrap_or(now + tick).min(now + tick)),
            }
        };
        let mut response = pin!(connection.send(request));
        let first = next_check().ok_or(ExchangeFailure::TimedOut)?.into();
        let timer = &mut connection.timer;
        // A timer that ends earlier is left as it is, and started again when it ends.
        if timer.is_elapsed() || timer.deadline() > first {
            timer.as_mut().reset(first);
        }
        loop {
            tokio::select! {
                biased;
                response = &mut response => return response.map_err(ExchangeFailure::from),
                () = timer.as_mut() => {
                    let next = next_check().ok_or(ExchangeFailure::TimedOut)?;
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

/// Returns whether the answer failed because its bytes were invalid, such as a head over the size
/// limit, and not because the connection broke.
fn is_invalid_data(error: &hyper::Error) -> bool {
    let source =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidData)
}
