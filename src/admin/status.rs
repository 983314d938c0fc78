//! The status of the gate: the value that `/status.json` and the page show. It contains no data of
//! a request, a user or a repository, and no secret. Names and addresses come from the config;
//! everything else is numbers and words of closed lists.
//!
//! This module performs no I/O. [`collect`](super::collect) fills the value in.

use serde::Serialize;

/// The number of days before its end from which a certificate is reported as trouble.
const CERTIFICATE_ENDS_SOON: i64 = 14;

/// The complete status. Times are RFC 3339, in UTC. Values that are unknown or do not exist are
/// null.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    /// The problems, as sentences. Empty if there are none.
    pub trouble: Vec<String>,
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
    pub upstream: UpstreamStatus,
    /// The providers, in the order of the config.
    pub providers: Vec<ProviderStatus>,
    pub cache: CacheStatus,
    /// The limits, each with the number of requests that it refused.
    pub limits: Vec<LimitStatus>,
    /// The last reload attempt. Null if there was none since the start.
    pub last_reload: Option<ReloadStatus>,
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
    pub up: Option<bool>,
    pub last_answer: Option<LastAnswer>,
    pub last_error: Option<LastError>,
}

/// A provider, which verifies credentials.
#[derive(Debug, Serialize)]
pub(super) struct ProviderStatus {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `true` if the last question got a usable answer. Null before the first question.
    pub up: Option<bool>,
    /// `true` if the last question failed with `last_error`.
    pub failing: bool,
    /// The state of the circuit breaker: `closed`, `open` or `probing`.
    pub breaker: &'static str,
    pub last_answer: Option<LastAnswer>,
    pub last_error: Option<LastError>,
}

/// The last usable answer.
#[derive(Debug, Serialize)]
pub(super) struct LastAnswer {
    pub at: String,
    pub latency_ms: f64,
}

/// The last error.
#[derive(Debug, Serialize)]
pub(super) struct LastError {
    pub at: String,
    /// A word of a closed list.
    pub reason: &'static str,
    /// The reason in plain words.
    pub message: &'static str,
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
#[derive(Debug, Serialize)]
pub(super) struct LimitStatus {
    pub name: &'static str,
    pub limited: u64,
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
}

impl CertificateStatus {
    /// Creates the status of a certificate that ends in this number of seconds.
    pub(super) fn new(ends: String, seconds_left: i64) -> Self {
        Self { ends, days_left: seconds_left.div_euclid(24 * 60 * 60), expired: seconds_left <= 0 }
    }
}

impl Status {
    /// Fills in `trouble`, the most serious problem first.
    #[must_use]
    pub(super) fn with_trouble(mut self) -> Self {
        let mut trouble = Vec::new();
        if self.draining {
            let open = self.connections.open;
            trouble.push(format!(
                "The gate is draining: requests in progress may finish; open connections: {open}."
            ));
        }
        match &self.certificate {
            Some(CertificateStatus { ends, expired: true, .. }) => {
                trouble
                    .push(format!("The certificate expired at {ends}: clients refuse to connect."));
            }
            Some(CertificateStatus { ends, days_left, .. })
                if *days_left < CERTIFICATE_ENDS_SOON =>
            {
                trouble.push(format!("The certificate expires soon, at {ends}."));
            }
            _ => {}
        }
        if self.upstream.up == Some(false) {
            let why = self
                .upstream
                .last_error
                .as_ref()
                .map_or("the registry gave no answer", |error| error.message);
            trouble.push(format!("Upstream {}: {why}.", self.upstream.address));
        }
        trouble.extend(self.providers.iter().filter_map(ProviderStatus::trouble));
        if let Some(ReloadStatus { success: false, problem_count, .. }) = &self.last_reload {
            trouble.push(format!(
                "The last reload failed (problems: {problem_count}): the running config stays in \
                 use; the program log describes the problems."
            ));
        }
        self.trouble = trouble;
        self
    }
}

impl ProviderStatus {
    fn trouble(&self) -> Option<String> {
        let name = &self.name;
        let why = self.last_error.as_ref().map_or("does not answer", |error| error.message);
        match self.breaker {
            "closed" if self.failing => Some(format!("Provider {name} {why}.")),
            "closed" => None,
            _ => Some(format!(
                "Provider {name} {why}: the gate stops asking it, except for one question every \
                 few seconds."
            )),
        }
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

    #[test]
    fn a_certificate_that_expires_soon_or_has_expired_is_listed_as_trouble() {
        let upstream = || UpstreamStatus {
            address: String::new(),
            up: None,
            last_answer: None,
            last_error: None,
        };
        for (seconds, trouble) in [
            (i64::MAX, None),
            (CERTIFICATE_ENDS_SOON * 24 * 60 * 60, None),
            (1, Some("The certificate expires soon, at then.")),
            (0, Some("The certificate expired at then: clients refuse to connect.")),
        ] {
            let status = Status {
                trouble: Vec::new(),
                version: "",
                now: String::new(),
                started: String::new(),
                uptime_seconds: 0,
                draining: false,
                certificate: Some(CertificateStatus::new("then".to_owned(), seconds)),
                workers: 0,
                connections: ConnectionStatus { open: 0, max: 0 },
                upstream: upstream(),
                providers: Vec::new(),
                cache: CacheStatus { entries: 0, lookups: 0, hits: 0, hit_rate: None },
                limits: Vec::new(),
                last_reload: None,
            };
            assert_eq!(
                status.with_trouble().trouble,
                Vec::from_iter(trouble.map(str::to_owned)),
                "{seconds}"
            );
        }
    }
}
