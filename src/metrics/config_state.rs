//! The metrics about the config in effect and the certificate that it names.

use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;

/// The metrics about the config in effect.
pub(super) struct ConfigMetrics {
    reload_success: Gauge,
    last_reload: Gauge<f64, AtomicU64>,
    /// A family, because without TLS there must be no value: 0 would look like a certificate that
    /// expired long ago.
    certificate_expiry: Family<[(String, String); 0], Gauge<f64, AtomicU64>>,
}

impl ConfigMetrics {
    /// Creates the metrics of a gate that starts.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            reload_success: Gauge::default(),
            last_reload: Gauge::default(),
            certificate_expiry: Family::default(),
        };
        registry.register(
            "config_reload_success",
            "1 if the config as last read is in use, else 0",
            metrics.reload_success.clone(),
        );
        registry.register_with_unit(
            "config_last_reload_timestamp",
            "Start of the gate or last reload that took effect (Unix time)",
            Unit::Seconds,
            metrics.last_reload.clone(),
        );
        registry.register_with_unit(
            "tls_certificate_expiry_timestamp",
            "End of the served certificate (Unix time)",
            Unit::Seconds,
            metrics.certificate_expiry.clone(),
        );
        metrics.reloaded(true);
        metrics
    }

    fn reloaded(&self, success: bool) {
        self.reload_success.set(success.into());
        if success {
            self.last_reload.set(unix_seconds(SystemTime::now()));
        }
    }
}

impl Metrics {
    /// Records the result of a configuration reload.
    pub fn reloaded(&self, success: bool) {
        self.config.reloaded(success);
    }

    /// Sets the time when the served certificate expires; `None` without TLS.
    pub fn certificate_ends(&self, at: Option<SystemTime>) {
        match at {
            Some(at) => {
                self.config.certificate_expiry.get_or_create(&[]).set(unix_seconds(at));
            }
            None => {
                self.config.certificate_expiry.remove(&[]);
            }
        }
    }
}

fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
