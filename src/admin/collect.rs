//! Collects the status of the gate from its parts. Collecting does not block workers, because their
//! counters are atomics.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Admin;
use super::status::{
    CacheStatus, CertificateStatus, CollectorError, ConnectionStatus, FaultStatus, LastAnswer,
    LastError, LimitStatus, ListenerTrouble, LogStatus, LogsStatus, ProviderStatus,
    ProviderTrouble, RedisError, RedisStatus, ReloadStatus, ReplicaStatus, RequestsStatus, Status,
    TelemetryStatus, UpstreamStatus,
};
use crate::identity::authenticator::{self, CacheUse};
use crate::metrics::Metrics;
use crate::recent::is_recent;
use crate::record::{AuditLog, LogSeen, Recorder};
use crate::replicas::{ReplicaSeen, ReplicasSeen};
use crate::server::{ConnectionLimit, ListenerHealth};
use crate::telemetry::CollectorSeen;
use crate::upstream::{OpenFault, UpstreamSettings};

/// The values that stay the same for the whole life of the process.
#[derive(Clone)]
pub struct Process {
    pub workers: usize,
    pub listener_health: Arc<ListenerHealth>,
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
    /// The keys that have another value than at the start, and take effect only with a restart.
    pub need_restart: Vec<String>,
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
        let seen = self.replicas.as_ref().map(|replicas| replicas.seen());
        let status = Status {
            trouble: Vec::new(),
            problems: Vec::new(),
            version: env!("CARGO_PKG_VERSION"),
            now: time(now),
            started: time(self.process.started),
            uptime_seconds: self.process.running_since.elapsed().as_secs(),
            draining: *self.draining.borrow(),
            certificate,
            workers: self.process.workers,
            connections,
            requests: requests(metrics),
            listener: listener(&self.process.listener_health, now),
            upstream: upstream(&snapshot.upstream, now),
            providers: gate.identity.providers().iter().map(|it| provider(it, now)).collect(),
            cache: cache(metrics, gate.identity.cache_entries()),
            limits: metrics
                .limited()
                .map(|(name, limited)| LimitStatus { name, limited })
                .collect(),
            logs: logs(&gate.recorder, &gate.audit, now),
            redis: seen.as_ref().map(redis),
            replicas: seen.map(|seen| seen.replicas.into_iter().map(replica).collect()),
            telemetry: gate.tracer.as_ref().map(|tracer| telemetry(tracer.collector())),
            last_reload: self.last_reload.borrow().as_deref().map(reload),
        };
        status.with_trouble()
    }
}

fn listener(health: &ListenerHealth, now: SystemTime) -> ListenerTrouble {
    let seen = health.seen(now);
    ListenerTrouble {
        not_accepted: seen.not_accepted.map(|(at, why)| (time(at), why)),
        full: seen.full.map(time),
        stopped_workers: seen.stopped_workers,
    }
}

fn upstream(settings: &UpstreamSettings, now: SystemTime) -> UpstreamStatus {
    let seen = settings.health.seen(now);
    let why = seen.why.as_ref();
    let detail = |fault| Some(why.filter(|(of, _)| *of == fault)?.1.clone());
    UpstreamStatus {
        address: settings.url.clone(),
        up: seen.up,
        failing: !seen.open.is_empty(),
        last_answer: seen.answered.map(answer),
        last_error: seen.failed.map(|(at, fault)| LastError {
            at: time(at),
            reason: fault.as_str(),
            message: fault.message(),
            detail: detail(fault),
        }),
        faults: seen.open.into_iter().map(|open| self::fault(open, detail(open.fault))).collect(),
    }
}

fn fault(open: OpenFault, detail: Option<String>) -> FaultStatus {
    FaultStatus {
        // Two faults may have one reason.
        id: format!("{} {:?}", open.work.as_str(), open.fault),
        operation: open.work.as_str(),
        reason: open.fault.as_str(),
        message: open.fault.message(),
        detail,
        requests: open.count,
        first: time(open.first),
        last: time(open.last),
        remedy: open.fault.remedy(),
    }
}

fn logs(recorder: &Recorder, audit: &AuditLog, now: SystemTime) -> LogsStatus {
    let log = |LogSeen { failing, lost, since }: LogSeen, lines_lost| LogStatus {
        failing,
        lines_lost,
        since: since.map(time),
        is_recent: lost.as_ref().is_some_and(|(at, _)| is_recent(*at, now)),
        last_lost: lost.map(|(at, why)| (time(at), why)),
    };
    let metrics = &recorder.metrics;
    LogsStatus {
        access: log(recorder.access_log.seen(), metrics.access_log_lines_lost_so_far()),
        audit: log(audit.seen(now), metrics.audit_failures()),
    }
}

fn provider(provider: &authenticator::ManagedProvider, now: SystemTime) -> ProviderStatus {
    let seen = provider.seen(now);
    ProviderStatus {
        name: provider.name().to_owned(),
        kind: provider.type_name(),
        up: seen.up,
        failing: !seen.open.is_empty(),
        breaker: provider.breaker_state().as_str(),
        last_answer: seen.answered.map(answer),
        last_error: seen.failed.map(|(at, trouble)| LastError {
            at: time(at),
            reason: trouble.as_str(),
            message: trouble.message().to_owned(),
            detail: seen.why.clone(),
        }),
        troubles: seen
            .troubles()
            .into_iter()
            .map(|open| ProviderTrouble {
                message: open.trouble.message(),
                reason: open.trouble.as_str(),
                questions: open.count,
                first: time(open.first),
                last: time(open.last),
                remedy: open.trouble.remedy(),
            })
            .collect(),
        budget_spent_until: seen.budget_spent_until.map(time),
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

fn requests(metrics: &Metrics) -> RequestsStatus {
    let (ended, server_errors) = metrics.requests_so_far();
    RequestsStatus { ended, server_errors }
}

fn redis(seen: &ReplicasSeen) -> RedisStatus {
    let last_error = seen.redis.failed.as_ref().map(|(at, fault)| RedisError {
        at: time(*at),
        message: fault.what.clone(),
        remedy: fault.remedy.clone(),
    });
    RedisStatus {
        up: seen.redis.is_up,
        since: time(seen.redis.since),
        last_error,
        waiting_revocations: seen.waiting,
    }
}

fn telemetry(seen: CollectorSeen) -> TelemetryStatus {
    TelemetryStatus {
        failing: seen.failing_since.is_some(),
        since: seen.failing_since.map(time),
        last_error: seen.failed.map(|(at, message)| CollectorError { at: time(at), message }),
        spans_lost: seen.lost,
    }
}

fn replica(seen: ReplicaSeen) -> ReplicaStatus {
    ReplicaStatus { id: seen.id, version: seen.version, seen: time(seen.seen) }
}

fn reload(last: &LastReload) -> ReloadStatus {
    let problems = last.problems.clone();
    ReloadStatus {
        at: time(last.at),
        success: problems.is_empty(),
        problem_count: problems.len(),
        problems,
        need_restart: last.need_restart.clone(),
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
