//! The metrics of gates that act as one through a Redis or Valkey.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;
use super::labels::{CacheLabels, OperationLabels};

/// The words for what the gate does with shared verdicts.
const SHARED_VERDICTS: [&str; 3] = ["hit", "miss", "put"];

/// The buckets of the durations of questions to Redis, in seconds: from a round trip in one machine
/// to the longest `redis.timeout`.
const SECONDS: [f64; 11] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.25, 1.0];

/// The metrics of gates that act as one.
pub(super) struct ReplicaMetrics {
    /// A family, because a gate by itself must have no value: 0 would look like a fault.
    up: Family<[(String, String); 0], Gauge>,
    duration: Family<OperationLabels, Histogram>,
    shared_verdicts: Family<CacheLabels, Counter>,
    limit_leases: Gauge,
}

impl ReplicaMetrics {
    /// Creates the metrics, and registers them.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            up: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            shared_verdicts: Family::default(),
            limit_leases: Gauge::default(),
        };
        registry.register(
            "redis_up",
            "1 if Redis can be reached and written to, else 0",
            metrics.up.clone(),
        );
        registry.register_with_unit(
            "redis_duration",
            "Time from a question to Redis to its answer",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "shared_verdicts",
            "Verdicts that were found in Redis (hit), looked for in vain (miss) and written (put)",
            metrics.shared_verdicts.clone(),
        );
        registry.register(
            "limit_leases",
            "Limits of which this gate holds a lease",
            metrics.limit_leases.clone(),
        );
        for result in SHARED_VERDICTS {
            let _ = metrics.shared_verdicts.get_or_create(&CacheLabels { result });
        }
        metrics
    }
}

impl Metrics {
    /// Records whether Redis can be reached and written to. The series exists from the first call
    /// on.
    pub(crate) fn redis_up(&self, up: bool) {
        self.replicas.up.get_or_create(&[]).set(up.into());
    }

    /// Counts one answer of Redis.
    pub(crate) fn redis_answered(&self, operation: &'static str, took: Duration) {
        let labels = OperationLabels { operation };
        self.replicas.duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts one use of the verdicts that gates share: `hit`, `miss` or `put`.
    #[allow(dead_code, reason = "the sharing of verdicts will use it")]
    pub(crate) fn shared_verdict(&self, result: &'static str) {
        self.replicas.shared_verdicts.get_or_create(&CacheLabels { result }).inc();
    }

    /// Sets the number of limits of which this gate holds a lease.
    #[allow(dead_code, reason = "the leases of limits will use it")]
    pub(crate) fn limit_leases(&self, leases: u64) {
        self.replicas.limit_leases.set(i64::try_from(leases).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::MetricsFormat;

    #[test]
    fn a_gate_by_itself_has_no_redis_up() {
        let metrics = Metrics::new();
        let text = || metrics.encode(0, MetricsFormat::Text);
        assert!(!text().contains("\nmoorgate_redis_up "));
        metrics.redis_up(false);
        assert!(text().contains("\nmoorgate_redis_up 0\n"));
        metrics.redis_up(true);
        assert!(text().contains("\nmoorgate_redis_up 1\n"));
    }

    #[test]
    fn uses_of_shared_verdicts_start_at_zero() {
        let metrics = Metrics::new();
        metrics.shared_verdict("put");
        metrics.limit_leases(7);
        metrics.redis_answered("lease", Duration::from_millis(2));
        let text = metrics.encode(0, MetricsFormat::Text);
        for sample in [
            "shared_verdicts_total{result=\"hit\"} 0",
            "shared_verdicts_total{result=\"miss\"} 0",
            "shared_verdicts_total{result=\"put\"} 1",
            "limit_leases 7",
            "redis_duration_seconds_bucket{operation=\"lease\",le=\"0.001\"} 0",
            "redis_duration_seconds_bucket{operation=\"lease\",le=\"0.0025\"} 1",
        ] {
            assert!(text.contains(&format!("\nmoorgate_{sample}\n")), "{sample} in {text}");
        }
    }
}
