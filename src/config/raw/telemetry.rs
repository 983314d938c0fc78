//! The section `telemetry`: traces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::url::ServerUrl;

/// Traces, sent to an OpenTelemetry collector.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct TelemetrySection {
    /// The URL of the collector, to which the gate sends traces over OTLP/HTTP. The gate appends
    /// /v1/traces; null: no traces.
    #[schemars(extend("examples" = ["http://127.0.0.1:4318"]))]
    pub(in crate::config) otlp_endpoint: Option<ServerUrl>,
    /// The share of requests that are traced, 0 to 1.
    #[schemars(extend("minimum" = 0, "maximum" = 1))]
    pub(in crate::config) sample: f64,
}

impl Default for TelemetrySection {
    fn default() -> Self {
        // One in a hundred shows where the time goes, and costs next to nothing.
        Self { otlp_endpoint: None, sample: 0.01 }
    }
}
