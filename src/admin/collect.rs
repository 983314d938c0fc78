//! Collects the status of the gate from its parts. Collecting does not block workers, because their
//! counters are atomics.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Admin;
use super::status::{
    CacheStatus, CertificateStatus, ConnectionStatus, LastAnswer, LastError, LimitStatus,
    ProviderStatus, ReloadStatus, Status, UpstreamStatus,
};
use crate::denial::Denial;
use crate::identity::authenticator::{self, CacheUse};
use crate::metrics::Metrics;
use crate::server::ConnectionLimit;
use crate::upstream::UpstreamSettings;

/// The values that stay the same for the whole life of the process.
#[derive(Clone)]
pub struct Process {
    pub workers: usize,
    /// The connection limit of the public listener.
    pub connection_limit: Arc<ConnectionLimit>,
    pub started: SystemTime,
    /// The start of the process on the monotonic clock.
    pub running_since: Instant,
}

/// The last attempt to reload the configuration.
#[derive(Clone, Debug)]
pub struct LastReload {
    pub at: SystemTime,
    /// The places where the configuration is wrong, or the system errors; empty if the
    /// configuration was applied. The texts contain no value of the configuration except names of
    /// files.
    pub problems: Vec<String>,
}

impl Admin {
    /// Returns the current status of the gate.
    pub(super) fn status(&self) -> Status {
        let snapshot = self.snapshots.borrow().clone();
        let gate = &snapshot.gate;
        let (now, metrics) = (SystemTime::now(), &gate.recorder.metrics);
        let certificate = snapshot
            .server
            .certificate_ends
            .map(|ends| CertificateStatus::new(time(ends), until(ends, now)));
        let connections = ConnectionStatus {
            open: metrics.connections.get(),
            max: self.process.connection_limit.get(),
        };
        let status = Status {
            trouble: Vec::new(),
            version: env!("CARGO_PKG_VERSION"),
            now: time(now),
            started: time(self.process.started),
            uptime_seconds: self.process.running_since.elapsed().as_secs(),
            draining: *self.draining.borrow(),
            certificate,
            workers: self.process.workers,
            connections,
            upstream: upstream(&snapshot.upstream),
            providers: gate.identity.providers().iter().map(|it| provider(it)).collect(),
            cache: cache(metrics, gate.identity.cache_entries()),
            limits: metrics
                .limited()
                .map(|(name, limited)| LimitStatus { name, limited })
                .collect(),
            last_reload: self.last_reload.borrow().as_deref().map(reload),
        };
        status.with_trouble()
    }
}

fn upstream(settings: &UpstreamSettings) -> UpstreamStatus {
    let seen = settings.health.seen();
    UpstreamStatus {
        address: settings.url.clone(),
        up: seen.up,
        last_answer: seen.answered.map(answer),
        last_error: seen.failed.map(|(at, fault)| {
            let reason = Denial::Upstream(fault).answer().reason.as_str();
            LastError { at: time(at), reason, message: fault.message() }
        }),
    }
}

fn provider(provider: &authenticator::ManagedProvider) -> ProviderStatus {
    let seen = provider.seen();
    ProviderStatus {
        name: provider.name().to_owned(),
        kind: provider.type_name(),
        up: seen.up,
        failing: seen.failing,
        breaker: provider.breaker_state().as_str(),
        last_answer: seen.answered.map(answer),
        last_error: seen.failed.map(|(at, trouble)| LastError {
            at: time(at),
            reason: trouble.as_str(),
            message: trouble.message(),
        }),
    }
}

fn cache(metrics: &Metrics, entries: u64) -> CacheStatus {
    let count = |result: CacheUse| metrics.cache_requests(result.as_str());
    let hits = count(CacheUse::Hit) + count(CacheUse::Negative);
    let lookups =
        hits + count(CacheUse::Miss) + count(CacheUse::Stale) + count(CacheUse::Coalesced);
    // The counters of a process never get so large that the precision of a float matters for a
    // rate.
    #[allow(clippy::cast_precision_loss)]
    let hit_rate = (lookups > 0).then(|| (hits as f64 / lookups as f64 * 1000.0).round() / 1000.0);
    CacheStatus { entries, lookups, hits, hit_rate }
}

fn reload(last: &LastReload) -> ReloadStatus {
    let problems = last.problems.clone();
    ReloadStatus {
        at: time(last.at),
        success: problems.is_empty(),
        problem_count: problems.len(),
        problems,
    }
}

fn answer((at, took): (SystemTime, Duration)) -> LastAnswer {
    LastAnswer { at: time(at), latency_ms: (took.as_secs_f64() * 1e5).round() / 100.0 }
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

/// Returns the seconds from `now` until `then`. The result is negative if `then` has passed.
fn until(then: SystemTime, now: SystemTime) -> i64 {
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    then.duration_since(now).map_or_else(|passed| -seconds(passed.duration()), seconds)
}
