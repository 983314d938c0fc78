//! The admin listener with health, metrics, status and revocation. It is never on the public port.

mod collect;
mod metrics_format;
mod page;
mod revoke;
mod status;
mod trouble;

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics::MetricsFormat;
use crate::replicas::Replicas;
use crate::server::Snapshot;

pub use collect::{LastReload, Process};

/// The longest time a client of the admin listener may take to send the head of its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The body of the answer for any other path.
const NOT_FOUND: &str = "not found; this listener serves /, /status.json, /runbook, /livez, \
                         /healthz, /readyz, /metrics and POST /revoke\n";

/// The state that the admin endpoints show.
#[derive(Clone)]
pub struct Admin {
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
    /// `true` from the first moment of a drain.
    pub(crate) draining: watch::Receiver<bool>,
    pub(crate) last_reload: watch::Receiver<Option<Arc<LastReload>>>,
    pub(crate) process: Process,
    /// The other replicas; `None` without Redis.
    pub(crate) replicas: Option<Arc<Replicas>>,
}

impl Admin {
    /// Serves until the process ends. It serves during a drain too, so that operators can watch it,
    /// unless the socket is shared with the process that replaces this one.
    ///
    /// # Errors
    /// Returns an error if the listener cannot be used.
    pub async fn serve(self, listener: std::net::TcpListener, is_shared: bool) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let mut draining = self.draining.clone();
        tokio::select! {
            never = self.accept(listener, is_shared) => match never {},
            Ok(_) = draining.wait_for(|draining| *draining), if is_shared => Ok(()),
        }
    }

    async fn accept(self, listener: TcpListener, is_shared: bool) -> Infallible {
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let admin = self.clone();
            tokio::spawn(async move {
                let service = service_fn(async |request: Request<Incoming>| {
                    Ok::<_, Infallible>(match (request.method(), request.uri().path()) {
                        (&Method::POST, "/revoke") => admin.revoke(request).await,
                        (_, "/revoke") => wrong_method("POST"),
                        (&Method::GET | &Method::HEAD, path) => {
                            admin.answer(path, request.headers())
                        }
                        _ => wrong_method("GET, HEAD"),
                    })
                });
                let mut server = http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
                let mut connection = pin!(server.serve_connection(TokioIo::new(socket), service));
                let mut draining = admin.draining.clone();
                tokio::select! {
                    _ = &mut connection => return,
                    Ok(_) = draining.wait_for(|draining| *draining), if is_shared => {}
                }
                // The next request of this client belongs to the process that replaces this one.
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            });
        }
    }

    fn answer(&self, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        match path {
            "/livez" | "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if *self.draining.borrow() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
            }
            "/readyz" => text(StatusCode::OK, "ok\n"),
            "/metrics" => self.metrics(metrics_format::preferred(headers)),
            "/status.json" => self.status_json(),
            "/" => html(page::render(&self.status())),
            "/runbook" => html(page::runbook::render()),
            "/status.css" => typed("text/css; charset=utf-8", page::STYLE),
            "/status.js" => typed("text/javascript; charset=utf-8", page::SCRIPT),
            _ => text(StatusCode::NOT_FOUND, NOT_FOUND),
        }
    }

    async fn revoke(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let snapshot = self.snapshots.borrow().clone();
        let replicas = self.replicas.as_deref();
        revoke::revoke(request, snapshot.admin_token.as_ref(), &snapshot.gate, replicas).await
    }

    fn metrics(&self, format: MetricsFormat) -> Response<Full<Bytes>> {
        let mut response = text(StatusCode::OK, self.snapshots.borrow().gate.metrics(format));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, metrics_format::content_type(format));
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        response
    }

    fn status_json(&self) -> Response<Full<Bytes>> {
        let Ok(mut body) = serde_json::to_string_pretty(&self.status()) else {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the status cannot be written as JSON\n",
            );
        };
        body.push('\n');
        typed("application/json", body)
    }
}

/// Creates the answer with a page for a browser.
fn html(page: String) -> Response<Full<Bytes>> {
    let mut response = typed("text/html; charset=utf-8", page);
    let headers = response.headers_mut();
    let policy = HeaderValue::from_static(page::CONTENT_SECURITY_POLICY);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Creates a 405 answer with `Allow` (RFC 9110, 15.5.6).
fn wrong_method(allow: &'static str) -> Response<Full<Bytes>> {
    let mut response =
        text(StatusCode::METHOD_NOT_ALLOWED, format!("method not allowed; use {allow}\n"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
