//! Metrics for Prometheus. No label ever contains a user, a repository or an address.

mod config_state;
mod labels;
mod process;
mod replicas;
mod start;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::encoding::{prometheus_text, text as open_metrics};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::denial::Limit;
use crate::registry::Operation;
use config_state::ConfigMetrics;
pub(crate) use labels::DecisionLabels;
use labels::{
    AnswerLabels, CacheLabels, CodeLabels, DirectionLabels, LimitLabels, OperationLabels,
    ProviderLabels, RequestLabels,
};
use process::ProcessMetrics;
use replicas::ReplicaMetrics;
#[cfg(test)]
pub(crate) use start::{CACHE_RESULTS, VERDICTS};
use tally::{EndedSoFar, RequestSeconds, Tallies};

/// All metrics of the gate.
pub struct Metrics {
    registry: Registry,
    http_requests: Family<RequestLabels, Counter>,
    http_request_duration: Family<OperationLabels, Histogram>,
    body_bytes_in: Counter,
    body_bytes_out: Counter,
    /// The number of open connections of the public listener.
    pub(crate) connections: Gauge,
    auth_decisions: Family<DecisionLabels, Counter>,
    introspection_duration: Family<AnswerLabels, Histogram>,
    provider_up: Family<ProviderLabels, Gauge>,
    cache_requests: Family<CacheLabels, Counter>,
    cache_entries: Gauge,
    limited: Family<LimitLabels, Counter>,
    shadow_denied: Counter,
    audit_failures: Counter,
    access_log_lines_lost: Counter,
    upstream_requests: Family<CodeLabels, Counter>,
    upstream_duration: Family<OperationLabels, Histogram>,
    replicas: ReplicaMetrics,
    tallies: Tallies,
    ended: EndedSoFar,
    config: ConfigMetrics,
}

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// The text format of Prometheus, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// The facts of an ended request that the metrics count.
pub(crate) struct EndedRequest<'a> {
    pub method: &'a Method,
    pub operation: Operation,
    /// The status that the client received, or 499 if it left before there was one.
    pub status: u16,
    pub took: Duration,
    /// The time until the upstream began to answer; `None` if it gave no answer.
    pub upstream_took: Option<Duration>,
    pub body_bytes: BodyBytes,
    pub shadow_denied: bool,
    /// The decision about a credential; `None` if the gate decided nothing about one.
    pub auth_decision: Option<DecisionLabels>,
}

/// The bytes of a request's body and of its response's body.
pub(crate) struct BodyBytes {
    pub received: u64,
    pub sent: u64,
}

/// The label of requests that a provider's failure budget refused.
pub(crate) const FAILURE_BUDGET: &str = "failure_budget";

/// All limits, by their keys in the config, and [`FAILURE_BUDGET`].
const LIMITS: [&str; 8] = [
    Limit::PerClient.key(),
    Limit::FailedLogins.key(),
    Limit::Questions.key(),
    Limit::PasswordChecks.key(),
    Limit::PerIdentity.key(),
    Limit::PullsPerIdentity.key(),
    Limit::ConcurrentUploadsPerIdentity.key(),
    FAILURE_BUDGET,
];

/// The buckets of request durations, in seconds: from a cached answer of the gate itself to a layer
/// of many gigabytes.
const REQUEST_SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];
const QUESTION_SECONDS: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0];

impl Metrics {
    /// Creates all metrics with the value zero.
    pub fn new() -> Self {
        let mut all = Registry::default();
        all.register_collector(Box::new(ProcessMetrics::of_a_process_that_starts()));
        let registry = all.sub_registry_with_prefix("moorgate");
        let body_bytes = Family::<DirectionLabels, Counter>::default();
        // Each counter has its own statement: it holds a lock of the family until the statement
        // ends, so two in one statement would wait for each other.
        let body_bytes_in = body_bytes.get_or_create(&DirectionLabels { direction: "in" }).clone();
        let body_bytes_out =
            body_bytes.get_or_create(&DirectionLabels { direction: "out" }).clone();
        let metrics = Self {
            http_requests: Family::default(),
            http_request_duration: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
            body_bytes_in,
            body_bytes_out,
            connections: Gauge::default(),
            auth_decisions: Family::default(),
            introspection_duration: Family::new_with_constructor(|| {
                Histogram::new(QUESTION_SECONDS)
            }),
            provider_up: Family::default(),
            cache_requests: Family::default(),
            cache_entries: Gauge::default(),
            limited: Family::default(),
            shadow_denied: Counter::default(),
            audit_failures: Counter::default(),
            access_log_lines_lost: Counter::default(),
            upstream_requests: Family::default(),
            upstream_duration: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
            replicas: ReplicaMetrics::new(registry),
            tallies: Tallies::default(),
            ended: EndedSoFar::default(),
            config: ConfigMetrics::new(registry),
            registry: Registry::default(),
        };
        registry.register(
            "http_requests",
            "Requests to the public listener",
            metrics.http_requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "Time from the head of a request to the end of its answer",
            Unit::Seconds,
            metrics.http_request_duration.clone(),
        );
        registry.register_with_unit(
            "http_body",
            "Bytes of request bodies (in) and of response bodies (out)",
            Unit::Bytes,
            body_bytes,
        );
        registry.register(
            "connections",
            "Open connections of the public listener",
            metrics.connections.clone(),
        );
        registry.register(
            "auth_decisions",
            "Decisions about credentials, by provider, result and reason",
            metrics.auth_decisions.clone(),
        );
        registry.register_with_unit(
            "introspection_duration",
            "Time from a question to an identity provider to its answer",
            Unit::Seconds,
            metrics.introspection_duration.clone(),
        );
        registry.register(
            "provider_up",
            "1 if the provider's last answer was valid, else 0",
            metrics.provider_up.clone(),
        );
        registry.register(
            "cache_requests",
            "Look-ups in the verdict cache, by result",
            metrics.cache_requests.clone(),
        );
        registry.register(
            "cache_entries",
            "Approximate number of verdicts in the cache",
            metrics.cache_entries.clone(),
        );
        registry.register("limited", "Requests that a limit refused", metrics.limited.clone());
        registry.register(
            "shadow_denied",
            "Requests that were served although the rules deny them (policy.mode: shadow)",
            metrics.shadow_denied.clone(),
        );
        registry.register(
            "audit_failures",
            "Lines of the audit log that could not be written",
            metrics.audit_failures.clone(),
        );
        registry.register(
            "access_log_lines_lost",
            "Lines of the access log that could not be written",
            metrics.access_log_lines_lost.clone(),
        );
        registry.register(
            "upstream_requests",
            "Answers of the registry",
            metrics.upstream_requests.clone(),
        );
        registry.register_with_unit(
            "upstream_duration",
            "Time from a request to the registry to the head of its answer",
            Unit::Seconds,
            metrics.upstream_duration.clone(),
        );
        registry.register(
            "build",
            "The running version",
            prometheus_client::metrics::info::Info::new(vec![(
                "version",
                env!("CARGO_PKG_VERSION"),
            )]),
        );
        metrics.start_series();
        Self { registry: all, ..metrics }
    }

    /// Adds the counts of the workers to the metrics.
    fn settle(&self) {
        for tally in self.tallies.take() {
            for (labels, count) in tally.requests {
                self.ended.add(labels.code, count);
                self.http_requests.get_or_create(&labels).inc_by(count);
            }
            for (labels, count) in tally.decisions {
                self.auth_decisions.get_or_create(&labels).inc_by(count);
            }
            for (labels, count) in tally.cache_requests {
                self.cache_requests.get_or_create(&labels).inc_by(count);
            }
            for (labels, count) in tally.upstream_requests {
                self.upstream_requests.get_or_create(&labels).inc_by(count);
            }
            self.observe(tally.durations);
            self.body_bytes_in.inc_by(tally.bytes_in);
            self.body_bytes_out.inc_by(tally.bytes_out);
            self.shadow_denied.inc_by(tally.shadow_denied);
        }
    }

    /// Adds durations of requests.
    fn observe(&self, durations: Vec<RequestSeconds>) {
        for RequestSeconds { operation, all, upstream } in durations {
            let labels = OperationLabels { operation: operation.as_str() };
            self.http_request_duration.get_or_create(&labels).observe(all);
            if let Some(upstream) = upstream {
                self.upstream_duration.get_or_create(&labels).observe(upstream);
            }
        }
    }

    /// Returns all metrics in a format.
    pub fn encode(&self, cache_entries: u64, format: MetricsFormat) -> String {
        self.settle();
        self.cache_entries.set(i64::try_from(cache_entries).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        let _ = match format {
            MetricsFormat::Text => prometheus_text::encode(&mut text, &self.registry),
            MetricsFormat::OpenMetrics => open_metrics::encode(&mut text, &self.registry),
        };
        text
    }

    /// Adds a provider, which counts as up until it is asked for the first time.
    pub(crate) fn provider_known(&self, provider: &Arc<str>) {
        self.start_provider(provider);
        let labels = ProviderLabels { provider: provider.clone() };
        if self.provider_up.get(&labels).is_none() {
            self.provider_up.get_or_create(&labels).set(1);
        }
    }

    /// Removes a provider that is not used any more.
    pub(crate) fn provider_gone(&self, provider: &Arc<str>) {
        self.provider_up.remove(&ProviderLabels { provider: provider.clone() });
    }

    /// Counts one answer of a provider. `result` is the word for its verdict. `is_up` is `true` if
    /// the answer shows that the provider works.
    pub(crate) fn question_answered(
        &self,
        provider: &Arc<str>,
        result: &'static str,
        is_up: bool,
        took: Duration,
    ) {
        let labels = AnswerLabels { provider: provider.clone(), result };
        self.introspection_duration.get_or_create(&labels).observe(took.as_secs_f64());
        // A provider that a reload has removed in the meantime must not reappear as a series.
        if let Some(known) = self.provider_up.get(&ProviderLabels { provider: provider.clone() }) {
            known.set(is_up.into());
        }
    }

    /// Counts one request by the result of its lookup in the verdict cache.
    pub(crate) fn cache_used(&self, result: &'static str) {
        self.tallies.count(|tally| tally::add(&mut tally.cache_requests, CacheLabels { result }));
    }

    /// Returns the number of requests with this result of the verdict cache since the start.
    pub(crate) fn cache_requests(&self, result: &'static str) -> u64 {
        self.settle();
        self.cache_requests.get(&CacheLabels { result }).map_or(0, |counter| counter.get())
    }

    /// Returns the numbers of ended requests since the start: all, and those with a status of 500
    /// or more.
    pub(crate) fn requests_so_far(&self) -> (u64, u64) {
        self.settle();
        self.ended.get()
    }

    /// Counts one request that a limit refused.
    pub(crate) fn limited_by(&self, limit: &'static str) {
        self.limited.get_or_create(&LimitLabels { limit }).inc();
    }

    /// Returns each limit with the number of requests that it has refused since the start.
    pub(crate) fn limited(&self) -> impl Iterator<Item = (&'static str, u64)> {
        LIMITS.into_iter().map(|limit| {
            (limit, self.limited.get(&LimitLabels { limit }).map_or(0, |counter| counter.get()))
        })
    }

    /// Counts one line that the audit log lacks.
    pub(crate) fn audit_failed(&self) {
        self.audit_failures.inc();
    }

    /// Returns the number of lines that the audit log lacks since the start.
    pub(crate) fn audit_failures(&self) -> u64 {
        self.audit_failures.get()
    }

    /// Counts lines that the access log lacks.
    pub(crate) fn access_log_lines_lost(&self, lines: u64) {
        self.access_log_lines_lost.inc_by(lines);
    }

    /// Returns the number of lines that the access log lacks since the start.
    pub(crate) fn access_log_lines_lost_so_far(&self) -> u64 {
        self.access_log_lines_lost.get()
    }

    /// Counts one response of the upstream.
    pub(crate) fn upstream_answered(&self, status: StatusCode) {
        let labels = CodeLabels { code: status.as_u16() };
        self.tallies.count(|tally| tally::add(&mut tally.upstream_requests, labels));
    }

    /// Counts one request that has ended.
    pub(crate) fn request_ended(&self, request: EndedRequest<'_>) {
        let durations = self.tallies.count(|tally| tally.request_ended(request));
        self.observe(durations);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the label of a method, from a closed list, because a client may invent any number of
/// methods.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("OTHER")
}
