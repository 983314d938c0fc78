//! The tracer of a config.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::runtime::Handle;

use super::assemble::RunningSnapshot;
use crate::config::Loaded;
use crate::telemetry::{ServerAddress, Tracer};

/// Returns the tracer. It is the running one if its settings are the same.
pub(super) fn tracer(
    loaded: &Loaded,
    running: Option<&RunningSnapshot>,
) -> anyhow::Result<Option<Arc<Tracer>>> {
    let Loaded { config, outline, .. } = loaded;
    let keys = ["telemetry", "http.external_url"];
    let is_same =
        |it: &&RunningSnapshot| keys.iter().all(|key| outline.is_same(key, &it.outline, key));
    if let Some(running) = running.filter(is_same) {
        return Ok(running.snapshot.gate.tracer.clone());
    }
    let Some(settings) = &config.telemetry else { return Ok(None) };
    let external = &config.http.external_url;
    let address = ServerAddress {
        scheme: external.scheme.as_str(),
        host: external.host().into(),
        port: external.port(),
    };
    let tracer = Tracer::start(settings, address, &Handle::current());
    Ok(Some(Arc::new(tracer.context("telemetry.otlp_endpoint: the collector cannot be used")?)))
}
