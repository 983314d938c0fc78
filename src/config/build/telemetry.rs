//! Builds the settings of traces.

use std::time::Duration;

use super::Build;
use crate::config::raw;
use crate::config::url::Scheme;
use crate::http_client::HttpServer;
use crate::telemetry::TelemetrySettings;

const ENDPOINT: &str = "telemetry.otlp_endpoint";

/// The path of the endpoint for traces (OTLP/HTTP).
const PATH: &str = "/v1/traces";

/// The port of collectors for OTLP over gRPC.
const GRPC_PORT: u16 = 4317;

/// The time for one batch of spans, as in the OpenTelemetry SDKs.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Build<'_> {
    /// Builds the settings; `None` without a collector.
    pub(super) fn telemetry(&mut self, raw: &raw::TelemetrySection) -> Option<TelemetrySettings> {
        let mut endpoint = self.endpoint(raw.otlp_endpoint.as_ref(), None, "")?;
        let path = endpoint.path.trim_end_matches('/');
        if path.ends_with(PATH) {
            let message = "the URL ends with /v1/traces, which the gate appends; write it without";
            self.problem(ENDPOINT, message);
        }
        if endpoint.port == GRPC_PORT {
            let message = "4317 is the usual port for OTLP over gRPC, and the gate uses OTLP over \
                           HTTP; write the port for HTTP, usually 4318";
            self.warn(ENDPOINT, message);
        }
        let url = raw.otlp_endpoint.as_ref();
        if url.is_some_and(|url| url.scheme == Scheme::Http && !url.is_loopback()) {
            let message = "the addresses of clients and the names of repositories cross the \
                           network in the clear; write https://…, or the address of a collector \
                           on this machine";
            self.warn(ENDPOINT, message);
        }
        endpoint.path = format!("{path}{PATH}");
        let collector = HttpServer { endpoint, timeout: TIMEOUT };
        Some(TelemetrySettings { collector, sample: raw.sample })
    }
}
