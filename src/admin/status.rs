//! The status of the gate: the value that `/status.json` and the page show. It contains no data of
//! a request, a user or a repository, and no secret. Names and addresses come from the config;
//! everything else is numbers, words of closed lists, and errors of the system or of a connection.
//!
//! This module performs no I/O. [`collect`](super::collect) fills the value in, and
//! [`trouble`](super::trouble) derives the problems from it.

use serde::Serialize;

/// The number of days before its end from which a certificate is reported as trouble.
pub(super) const CERTIFICATE_ENDS_SOON: i64 = 14;

/// The complete status. Times are RFC 3339, in UTC. Values that are unknown or do not exist are
/// null.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    /// The problems, as sentences. Empty if there are none.
    pub trouble: Vec<String>,
    /// The same problems with their parts, in the same order.
    pub problems: Vec<KnownProblem>,
    pub version: &'static str,
    pub now: String,
    pub started: String,
    pub uptime_seconds: u64,
    /// `true` from the first moment of a drain.
    pub draining: bool,
    /// The certificate. Null without TLS.
    pub certificate: Option<CertificateStatus>,
    pub workers: usize,
    pub connections: ConnectionStatus,
    pub requests: RequestsStatus,
    #[serde(skip)]
    pub listener: ListenerTrouble,
    pub upstream: UpstreamStatus,
    /// The providers, in the order of the config.
    pub providers: Vec<ProviderStatus>,
    pub cache: CacheStatus,
    /// The limits, each with the number of requests that it refused.
    pub limits: Vec<LimitStatus>,
    pub logs: LogsStatus,
    /// The replicas of the gate, this one first. Null without `redis`.
    pub replicas: Option<Vec<ReplicaStatus>>,
    /// The Redis that the replicas share. Null without `redis`.
    pub redis: Option<RedisStatus>,
    /// The collector of traces. Null without `telemetry`.
    pub telemetry: Option<TelemetryStatus>,
    /// The last reload attempt. Null if there was none since the start.
    pub last_reload: Option<ReloadStatus>,
}

/// A known problem.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct KnownProblem {
    /// A name that the problem keeps while it goes on.
    pub id: String,
    /// The event, as a sentence without its full stop.
    pub what: String,
    /// The error as the gate met it.
    pub error: Option<String>,
    /// The number of failures.
    pub count: Option<Count>,
    pub since: Option<String>,
    pub last: Option<String>,
    pub until: Option<String>,
    /// The remedy for the operator, as sentences.
    pub remedy: String,
    /// The id of the section of the runbook.
    pub runbook: &'static str,
}

/// A number of failures.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Count {
    /// The name of the count, in plain words.
    pub of: &'static str,
    pub number: u64,
    /// The operations that failed, separated by commas. Null if only one kind is counted.
    pub operations: Option<String>,
}

/// The requests that have ended, since the start.
#[derive(Debug, Default, Serialize)]
pub(super) struct RequestsStatus {
    pub ended: u64,
    /// Those with a status of 500 or more.
    pub server_errors: u64,
}

/// The Redis that the replicas share.
#[derive(Debug, Default, Serialize)]
pub(super) struct RedisStatus {
    pub up: bool,
    /// The time since which it is so.
    pub since: String,
    pub last_error: Option<RedisError>,
    /// The number of revocations that the other replicas have not been told yet.
    pub waiting_revocations: usize,
}

/// The collector of traces.
#[derive(Debug, Default, Serialize)]
pub(super) struct TelemetryStatus {
    /// `true` if the collector did not take the last spans.
    pub failing: bool,
    /// The time since which it takes none.
    pub since: Option<String>,
    pub last_error: Option<CollectorError>,
    /// The number of spans that were lost.
    pub spans_lost: u64,
}

/// The last reason for which the collector did not take spans.
#[derive(Debug, Default, Serialize)]
pub(super) struct CollectorError {
    pub at: String,
    pub message: String,
}

/// The last reason for which Redis could not be used.
#[derive(Debug, Default, Serialize)]
pub(super) struct RedisError {
    pub at: String,
    pub message: String,
    /// The remedy for the operator.
    pub remedy: String,
}

/// The certificate that new connections get.
#[derive(Debug, Serialize)]
pub(super) struct CertificateStatus {
    pub ends: String,
    /// The number of whole days until the end. It is negative after the end.
    pub days_left: i64,
    pub expired: bool,
}

/// The connections of the public listener.
#[derive(Debug, Serialize)]
pub(super) struct ConnectionStatus {
    pub open: i64,
    pub max: usize,
}

/// The registry behind the gate.
#[derive(Debug, Serialize)]
pub(super) struct UpstreamStatus {
    pub address: String,
    /// `true` if the last request met no fault. Null before the first request.
    pub up: Option<bool>,
    /// `true` if `faults` has an entry.
    pub failing: bool,
    pub last_answer: Option<LastAnswer>,
    pub last_error: Option<LastError>,
    /// The faults that may go on, the earliest first.
    pub faults: Vec<FaultStatus>,
}

/// A fault of the registry that may go on: no request of this operation has succeeded since.
#[derive(Debug, Default, Serialize)]
pub(super) struct FaultStatus {
    /// A name that the fault keeps while it goes on.
    pub id: String,
    /// The operation as in the access log, or `tag_lookup` for the gate's own question whether a
    /// tag exists.
    pub operation: &'static str,
    /// A word of a closed list.
    pub reason: &'static str,
    /// The reason in plain words.
    pub message: String,
    /// The error as the gate met it, if it says more.
    pub detail: Option<String>,
    /// The number of requests that met it.
    pub requests: u64,
    pub first: String,
    pub last: String,
    /// The remedy for the operator.
    #[serde(skip)]
    pub remedy: &'static str,
}

/// The troubles of the public listener that may go on.
#[derive(Debug, Default)]
pub(super) struct ListenerTrouble {
    /// The last time at which no connection could be accepted, and the error of the system.
    pub not_accepted: Option<(String, String)>,
    /// The last time at which a connection had to wait for another one to end.
    pub full: Option<String>,
    pub stopped_workers: usize,
}

/// A provider, which verifies credentials.
#[derive(Debug, Default, Serialize)]
pub(super) struct ProviderStatus {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `true` if the last question got a usable answer. Null before the first question.
    pub up: Option<bool>,
    /// `true` if there is a failure that may go on.
    pub failing: bool,
    /// The state of the circuit breaker: `closed`, `open` or `probing`.
    pub breaker: &'static str,
    pub last_answer: Option<LastAnswer>,
    pub last_error: Option<LastError>,
    /// The failures that may go on.
    #[serde(skip)]
    pub troubles: Vec<ProviderTrouble>,
    /// The time until which the failure budget is spent.
    #[serde(skip)]
    pub budget_spent_until: Option<String>,
}

/// A failure of a provider that may go on.
#[derive(Debug)]
pub(super) struct ProviderTrouble {
    /// The failure as a predicate that follows the name of the provider.
    pub message: &'static str,
    /// A word of a closed list.
    pub reason: &'static str,
    /// The number of questions that met it.
    pub questions: u64,
    pub first: String,
    pub last: String,
    /// The remedy for the operator, as sentences.
    pub remedy: &'static str,
}

/// The last usable answer.
#[derive(Debug, Default, Serialize)]
pub(super) struct LastAnswer {
    pub at: String,
    pub latency_ms: f64,
}

/// The last error.
#[derive(Debug, Default, Serialize)]
pub(super) struct LastError {
    pub at: String,
    /// A word of a closed list.
    pub reason: &'static str,
    /// The reason in plain words.
    pub message: String,
    /// The error as the gate met it, if it says more.
    pub detail: Option<String>,
}

/// The state of the verdict cache.
#[derive(Debug, Serialize)]
pub(super) struct CacheStatus {
    /// The approximate number of entries.
    pub entries: u64,
    /// The number of requests that needed a verdict, since the start.
    pub lookups: u64,
    /// The number of lookups with a fresh verdict in the cache, for which no provider was asked.
    pub hits: u64,
    /// The hit rate, from 0 to 1.
    pub hit_rate: Option<f64>,
}

/// A limit, by its name in the config and in `limited_total`.
#[derive(Debug, Default, Serialize)]
pub(super) struct LimitStatus {
    pub name: &'static str,
    pub limited: u64,
}

/// The logs of requests.
#[derive(Debug, Default, Serialize)]
pub(super) struct LogsStatus {
    pub access: LogStatus,
    pub audit: LogStatus,
}

/// A log of requests.
#[derive(Debug, Default, Serialize)]
pub(super) struct LogStatus {
    /// `true` if the last line could not be written.
    pub failing: bool,
    /// The number of lines that were not written, since the start.
    pub lines_lost: u64,
    /// The time since which no line could be written.
    #[serde(skip)]
    pub since: Option<String>,
    /// The time of the last lost line, and why it was lost.
    #[serde(skip)]
    pub last_lost: Option<(String, String)>,
    /// `true` if a line was lost within the last ten minutes.
    #[serde(skip)]
    pub is_recent: bool,
}

/// A replica of the gate.
#[derive(Debug, Default, Serialize)]
pub(super) struct ReplicaStatus {
    /// The id, which is new with each start.
    pub id: String,
    pub version: String,
    /// The time of its last beat.
    pub seen: String,
}

/// The outcome of an attempt to reload the configuration.
#[derive(Debug, Serialize)]
pub(super) struct ReloadStatus {
    pub at: String,
    pub success: bool,
    pub problem_count: usize,
    /// The places of the problems, without the wrong values. A wrong value may be a misplaced
    /// secret, so only the program log describes what is wrong with it.
    pub problems: Vec<String>,
    /// The keys that take effect only with a restart.
    pub need_restart: Vec<String>,
}

impl CertificateStatus {
    /// Creates the status of a certificate that ends in this number of seconds.
    pub(super) fn new(ends: String, seconds_left: i64) -> Self {
        Self { ends, days_left: seconds_left.div_euclid(24 * 60 * 60), expired: seconds_left <= 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_days_left_are_rounded_down_to_whole_days() {
        const DAY: i64 = 24 * 60 * 60;
        for (seconds, days, expired) in [
            (DAY * 14, 14, false),
            (DAY * 14 - 1, 13, false),
            (1, 0, false),
            (0, 0, true),
            (-1, -1, true),
        ] {
            let certificate = CertificateStatus::new(String::new(), seconds);
            assert_eq!((certificate.days_left, certificate.expired), (days, expired), "{seconds}");
        }
    }
}
