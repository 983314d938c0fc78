//! The HTTP client for questions to other servers: one connection pool, no redirects, a bounded
//! reply, and one deadline for the whole exchange.

mod way;

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

use crate::net::client_tls;
use crate::net::endpoint::Endpoint;
use crate::net::tls_fault::TlsFault;

pub use way::{Proxy, Way};

/// The name and version of the gate in requests (RFC 9110, 10.1.5).
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("moorgate/", env!("CARGO_PKG_VERSION")));

/// The largest size of a reply, in bytes, unless [`HttpClient::ask_for`] is told another one.
const MAX_REPLY_BYTES: usize = 64 * 1024;

/// The time until the next attempt if the server does not state one.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// The largest number of idle connections that are kept for later questions.
const MAX_IDLE_CONNECTIONS: usize = 32;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A server, and the time that it has for an answer.
#[derive(Clone, Debug)]
pub struct HttpServer {
    /// The address.
    pub endpoint: Endpoint,
    /// The time for one question, including the time to connect.
    pub timeout: Duration,
}

/// A client for one server, or for a few.
pub struct HttpClient {
    client: Client<HttpsConnector<Way>, Full<Bytes>>,
    way: Way,
    timeout: Duration,
}

/// A complete reply.
pub struct Reply {
    /// The status as sent; redirects are not followed.
    pub status: StatusCode,
    /// The headers as sent.
    pub headers: HeaderMap,
    /// The body, no larger than the question allows.
    pub body: Bytes,
}

/// The reason why a question has no reply.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Connection(String),
    #[error("{0}")]
    Tls(TlsFault),
    #[error(
        "the answer is not HTTP/1.1 ({0}); if the server uses TLS on this port, write https://"
    )]
    NotHttp(String),
    #[error("the answer could not be read to its end, or is larger than {} KiB", .max_bytes / 1024)]
    Body { max_bytes: usize },
}

impl AskError {
    /// Returns the error for a request without a response.
    fn no_response(error: &(dyn Error + 'static)) -> Self {
        if let Some(fault) = TlsFault::find(error) {
            return Self::Tls(fault);
        }
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<hyper::Error>()
                && error.is_parse()
            {
                return Self::NotHttp(error.to_string());
            }
            cause = error.source();
        }
        Self::Connection(with_causes(error))
    }
}

impl HttpClient {
    /// Creates a client for a server of the config.
    ///
    /// # Errors
    /// If the system's certificate authorities are needed and cannot be read.
    pub fn for_server(server: &HttpServer) -> io::Result<Self> {
        let tls = client_tls::config(server.endpoint.trusted_roots()?)?;
        Ok(Self::new(tls, server.timeout))
    }

    /// Creates a client that trusts the same certificates as `tls`. Each question has `timeout` in
    /// total, including the time to connect.
    pub fn new(tls: Arc<rustls::ClientConfig>, timeout: Duration) -> Self {
        Self::with_way(tls, timeout, Way::default())
    }

    /// Creates a client like [`new`](Self::new), whose connections go this way.
    pub fn with_way(tls: Arc<rustls::ClientConfig>, timeout: Duration, way: Way) -> Self {
        let tls = rustls::ClientConfig::clone(&tls);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(way.clone());
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .http1_max_buf_size(MAX_REPLY_BYTES)
            .build(connector);
        Self { client, way, timeout }
    }

    /// Returns the time for one question, including the time to connect.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends a request and reads the whole reply of at most 64 KiB.
    ///
    /// # Errors
    /// [`AskError`] if the connection fails, the time is over, or the reply is too large.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Reply, AskError> {
        self.ask_for(MAX_REPLY_BYTES, request).await
    }

    /// Sends a request and reads the whole reply of at most `max_bytes`. If the status is not 200,
    /// the status alone is the answer: the body is then empty if it does not arrive completely,
    /// because the body of a 401 must not turn the reply into an outage.
    ///
    /// # Errors
    /// [`AskError`] if the connection fails, the time is over, or the reply is too large.
    pub async fn ask_for(
        &self,
        max_bytes: usize,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Reply, AskError> {
        request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
        if let Some(authorization) = self.way.proxy_authorization()
            && request.uri().scheme() == Some(&Scheme::HTTP)
        {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization.clone());
        }
        let deadline = Instant::now() + self.timeout;
        let too_late = |_| AskError::Timeout(self.timeout);
        let response =
            timeout_at(deadline, self.client.request(request)).await.map_err(too_late)?;
        let (head, body) = response.map_err(|error| AskError::no_response(&error))?.into_parts();
        let body = timeout_at(deadline, Limited::new(body, max_bytes).collect()).await;
        let body = match body.map_err(too_late) {
            Ok(Ok(body)) => body.to_bytes(),
            _ if head.status != StatusCode::OK => Bytes::new(),
            Ok(Err(_)) => return Err(AskError::Body { max_bytes }),
            Err(error) => return Err(error),
        };
        Ok(Reply { status: head.status, headers: head.headers, body })
    }
}

impl Reply {
    /// Returns the time until the next attempt (RFC 9110, 10.2.3): the time that the server states,
    /// limited to between a second and an hour, or [`RETRY_AFTER`]. A date instead of seconds is
    /// ignored, because it requires two clocks that agree.
    pub fn retry_after(&self) -> Duration {
        let said = self
            .headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        said.map_or(RETRY_AFTER, |seconds| {
            Duration::from_secs(seconds).clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER)
        })
    }
}

/// Returns an error with all its causes, because "client error (Connect)" alone explains nothing.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
