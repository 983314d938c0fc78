//! Traces: the spans that a collector receives, and `traceparent` on both sides of the gate.

mod attributes;
mod collector;
mod faults;
mod parents;
mod questions;

use collector::Collector;

use crate::harness::{Setup, TestGate};

/// Starts a gate that sends its traces to the collector.
async fn traced(collector: &Collector, sample: &str, setup: Setup) -> TestGate {
    let telemetry = format!("otlp_endpoint: \"http://{}\"\nsample: {sample}", collector.address());
    TestGate::start(Setup { telemetry, ..setup }).await
}
