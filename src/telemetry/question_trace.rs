//! The trace of one question to a provider.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::{Method, StatusCode, Uri};

use super::Tracer;
use super::request_trace::SpanError;
use super::span::{Span, SpanKind, TraceClock, Value};
use super::trace_context::{SpanId, TraceId};

/// The trace of a question to a provider. The question may outlive its request, so it hands over
/// its own span.
pub struct QuestionTrace {
    tracer: Arc<Tracer>,
    trace: TraceId,
    parent: SpanId,
    clock: TraceClock,
    /// The HTTP request that the question took last.
    exchange: Mutex<Option<ProviderExchange>>,
}

/// A request to the server of a provider.
struct ProviderExchange {
    method: Method,
    uri: Uri,
    status: Option<StatusCode>,
}

impl QuestionTrace {
    pub(super) fn new(
        tracer: Arc<Tracer>,
        trace: TraceId,
        parent: SpanId,
        clock: TraceClock,
    ) -> Self {
        Self { tracer, trace, parent, clock, exchange: Mutex::default() }
    }

    /// Notes that the question takes this request.
    pub fn sends(&self, method: &Method, uri: &Uri) {
        let (method, uri) = (method.clone(), uri.clone());
        *self.exchange() = Some(ProviderExchange { method, uri, status: None });
    }

    /// Notes the status of the response.
    pub fn receives(&self, status: StatusCode) {
        if let Some(exchange) = &mut *self.exchange() {
            exchange.status = Some(status);
        }
    }

    fn exchange(&self) -> MutexGuard<'_, Option<ProviderExchange>> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over the span of a question that began at `begun` and has just been answered.
    pub fn answered(
        &self,
        begun: Instant,
        kind: SpanKind,
        mut attributes: Vec<(&'static str, Value)>,
        error: Option<SpanError>,
    ) {
        let exchange = self.exchange().take();
        let failed = exchange.as_ref().and_then(|exchange| exchange.status);
        let failed = failed.filter(|status| status.is_client_error() || status.is_server_error());
        let error = error.map(|error| failed.map_or(error, SpanError::Status));
        if let Some(exchange) = exchange {
            exchange.describe(&mut attributes);
        }
        attributes.extend(error.map(|error| ("error.type", error.into())));
        self.tracer.take(vec![Span {
            trace: self.trace,
            id: SpanId::random(),
            parent: Some(self.parent),
            has_remote_parent: false,
            name: "provider",
            kind,
            begun: self.clock.at(begun),
            ended: self.clock.at(Instant::now()),
            attributes,
            is_error: error.is_some(),
        }]);
    }
}

impl ProviderExchange {
    /// Adds the attributes of the request. The URL has no query.
    fn describe(self, attributes: &mut Vec<(&'static str, Value)>) {
        let Self { method, uri, status } = self;
        let scheme = uri.scheme_str().unwrap_or_default();
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        attributes.extend([
            ("http.request.method", method.as_str().to_owned().into()),
            ("url.full", format!("{scheme}://{authority}{}", uri.path()).into()),
            ("server.address", host.to_owned().into()),
            ("server.port", port.into()),
        ]);
        let status = status.map(|status| ("http.response.status_code", status.as_u16().into()));
        attributes.extend(status);
    }
}

impl fmt::Debug for QuestionTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuestionTrace").finish_non_exhaustive()
    }
}
