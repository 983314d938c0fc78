//! OpenTelemetry traces. A request that is sampled becomes one span with children, which a task of
//! its own sends to a collector over OTLP/HTTP.
//!
//! The gate measures with the timestamps that it has, and makes the spans of a request when the
//! request has ended. A request that is not sampled pays for its ids and for one header.

mod exporter;
mod otlp;
mod question_trace;
mod request_trace;
mod span;
pub mod trace_context;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::runtime::Handle;

pub use exporter::CollectorSeen;
pub use question_trace::QuestionTrace;
pub use request_trace::{RequestTrace, SpanError, UpstreamRequest};
pub use span::{Span, SpanKind, TraceClock, Value};

use crate::http_client::HttpServer;
use exporter::Exporter;
use trace_context::{SpanId, TraceId, TraceParent};

/// The settings of traces.
#[derive(Clone, Debug)]
pub struct TelemetrySettings {
    /// The collector. Its path is that of the OTLP endpoint for traces.
    pub collector: HttpServer,
    /// The share of requests that are sampled, from 0 to 1.
    pub sample: f64,
}

/// The address at which clients reach the gate.
#[derive(Clone, Debug)]
pub struct ServerAddress {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host, IPv6 without brackets.
    pub host: Arc<str>,
    pub port: u16,
}

/// Decides which requests are sampled, and takes their spans.
pub struct Tracer {
    sample: f64,
    address: ServerAddress,
    exporter: Exporter,
}

impl Tracer {
    /// Creates a tracer, and starts the task that sends its spans. The task ends when the tracer
    /// and the requests that it has sampled are gone and the last spans are sent.
    ///
    /// # Errors
    /// If the system's certificate authorities are needed and cannot be read.
    pub fn start(
        settings: &TelemetrySettings,
        address: ServerAddress,
        runtime: &Handle,
    ) -> std::io::Result<Self> {
        let exporter = Exporter::start(&settings.collector, runtime)?;
        Ok(Self { sample: settings.sample, address, exporter })
    }

    /// Begins the trace of a request: it continues that of the client if its `traceparent` is
    /// valid. `protocol` is the version of HTTP.
    ///
    /// The gate decides alone whether a request is sampled, by chance. It ignores the flag of the
    /// client and the bits of its trace id, so that no client can have all its requests sampled.
    pub fn begin(self: &Arc<Self>, headers: &HeaderMap, protocol: &'static str) -> RequestTrace {
        let parent = TraceParent::from_headers(headers);
        let trace = parent.map_or_else(TraceId::random, |parent| parent.trace);
        let parent = parent.map(|parent| parent.span);
        let is_sampled = fastrand::f64() < self.sample;
        let tracer = is_sampled.then(|| self.clone());
        RequestTrace::new(trace, SpanId::random(), parent, tracer, protocol)
    }

    /// Returns the address at which clients reach the gate.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Takes spans to send. If too many wait, they are lost and counted.
    pub fn take(&self, spans: Vec<Span>) {
        self.exporter.take(spans);
    }

    /// Returns the state of the collector.
    pub fn collector(&self) -> CollectorSeen {
        self.exporter.seen()
    }

    /// Waits until the spans that were taken before are sent, or for `limit`.
    pub async fn flush(&self, limit: Duration) {
        self.exporter.flush(limit).await;
    }
}
