//! The record of each request: a line in the access log, and the metrics. It is written when the
//! body of the response has ended.

mod access_log;
mod audit;
mod json_line;
mod line_fields;
mod line_writer;
mod log_health;
mod outcome;
mod request_span;
#[cfg(test)]
mod test_disk;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::{Method, StatusCode};

pub use access_log::{AccessLog, LogFormat, Target};
pub use audit::AuditLog;
pub use line_writer::LogTarget;
pub use log_health::LogSeen;
pub use outcome::Outcome;

use crate::body::{Progress, ResponseObserver};
use crate::denial::{Denial, Limit, Reason};
use crate::identity::authenticator::CacheUse;
use crate::identity::model::credential::CredentialKind;
use crate::identity::model::keyed_hash::Fingerprint;
use crate::identity::{Principal, Verified};
use crate::limits::Charge;
use crate::limits::uploads::UploadPlace;
use crate::log_throttle::{LeftOut, LogThrottle};
use crate::metrics::{BodyBytes, DecisionLabels, EndedRequest, FAILURE_BUDGET, Metrics};
use crate::net::client_address::client_network;
use crate::registry::{Operation, RegistryRequest, RepositoryName};
use crate::request_id::RequestId;
use crate::telemetry::RequestTrace;
use crate::terminal::printable;

/// The shortest time between two log lines about the same caller or address that exceeds a limit.
const LIMIT_LINE_INTERVAL: Duration = Duration::from_secs(60);

/// The destination of records.
pub struct Recorder {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: AccessLog,
    limit_lines: LogThrottle,
    cut_off: AtomicBool,
}

impl Recorder {
    /// Creates a recorder with these destinations.
    pub fn new(metrics: Arc<Metrics>, access_log: AccessLog) -> Self {
        access_log.count_in(metrics.clone());
        Self {
            metrics,
            access_log,
            limit_lines: LogThrottle::new(LIMIT_LINE_INTERVAL),
            cut_off: AtomicBool::new(false),
        }
    }

    /// Marks the end of the drain time. Every request that is aborted from here on is recorded with
    /// the reason `drain_timeout`, because the gate itself ends it.
    pub fn cut_off(&self) {
        self.cut_off.store(true, Ordering::Relaxed);
    }
}

/// The record of one request, from its head to the end of its response. It is written when it is
/// dropped: together with the response's body, or with the request itself if the client left before
/// there was a response.
pub struct Record {
    recorder: Arc<Recorder>,
    progress: Rc<Progress>,
    time: SystemTime,
    begun: Instant,
    request_id: RequestId,
    client: IpAddr,
    method: Method,
    path: String,
    operation: Operation,
    repository: Option<RepositoryName>,
    status: Option<StatusCode>,
    upstream: Option<Duration>,
    verified: Option<Arc<Verified>>,
    credential_kind: CredentialKind,
    credential: Option<Fingerprint>,
    /// The provider that gave no answer about the credential.
    unanswered_by: Option<Arc<str>>,
    cache: CacheUse,
    /// `true` if the rules deny the request and shadow mode lets it go on.
    shadow_denied: bool,
    /// The charge of a pull. It is given back unless the client is sent the whole response.
    pull: Option<Charge>,
    /// The place of an upload. It is freed together with the record, however the request ends.
    _upload: Option<UploadPlace>,
    outcome: Outcome,
    /// The trace of the request; `None` without telemetry.
    trace: Option<RequestTrace>,
}

impl Record {
    /// Begins the record of a request.
    pub fn begin(
        recorder: Arc<Recorder>,
        progress: Rc<Progress>,
        request_id: RequestId,
        client: IpAddr,
        method: Method,
        path: String,
    ) -> Self {
        Self {
            recorder,
            progress,
            time: SystemTime::now(),
            begun: Instant::now(),
            request_id,
            client,
            method,
            path,
            operation: Operation::Unknown,
            repository: None,
            status: None,
            upstream: None,
            verified: None,
            credential_kind: CredentialKind::Anonymous,
            credential: None,
            unanswered_by: None,
            cache: CacheUse::None,
            shadow_denied: false,
            pull: None,
            _upload: None,
            outcome: Outcome::Undecided,
            trace: None,
        }
    }

    /// Returns the id of the request, which the client, the upstream and the providers also see.
    pub fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// Returns the time of the day at an instant since the begin of the request.
    pub fn time_at(&self, at: Instant) -> SystemTime {
        self.time + at.saturating_duration_since(self.begun)
    }

    /// Sets the requested operation and repository.
    pub fn set_request(&mut self, request: &RegistryRequest) {
        self.operation = request.operation();
        self.repository = request.repository().cloned();
    }

    /// Marks the request as a token request.
    pub fn set_token_request(&mut self) {
        self.operation = Operation::Token;
    }

    /// Returns the kind of the presented credential, as far as it is known.
    pub fn credential_kind(&self) -> CredentialKind {
        self.credential_kind
    }

    /// Sets the kind of the presented credential, whether or not the credential is valid.
    pub fn set_credential_kind(&mut self, kind: CredentialKind) {
        self.credential_kind = kind;
    }

    /// Sets the fingerprint of the presented credential.
    pub fn set_credential(&mut self, credential: Fingerprint) {
        self.credential = Some(credential);
    }

    /// Sets the result of the verdict cache for the main question.
    pub fn set_cache_use(&mut self, cache: CacheUse) {
        self.cache = cache;
        if let Some(trace) = &self.trace {
            trace.note("moorgate.cache", cache.as_str());
        }
        self.recorder.metrics.cache_used(cache.as_str());
    }

    /// Sets the verified caller.
    pub fn set_caller(&mut self, verified: Arc<Verified>) {
        self.verified = Some(verified);
    }

    /// Marks the request as denied by the rules but allowed in shadow mode.
    pub fn set_shadow_denied(&mut self) {
        self.shadow_denied = true;
    }

    /// Sets the charge of a pull.
    pub fn set_pull_charge(&mut self, charge: Charge) {
        self.pull = Some(charge);
    }

    /// Sets the place of an upload.
    pub fn set_upload_place(&mut self, place: UploadPlace) {
        self._upload = Some(place);
    }

    /// Sets the time until the upstream's response began, and counts the response.
    pub fn set_upstream_response(&mut self, after: Duration, status: StatusCode) {
        self.upstream = Some(after);
        self.recorder.metrics.upstream_answered(status);
    }

    /// Records that the request was allowed, and the status of its response.
    pub fn set_allowed(&mut self, status: StatusCode) {
        self.status = Some(status);
        // A client that requests all of a manifest as a range has pulled it too.
        if !matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            self.pull = None;
        }
        self.outcome = self.if_allowed();
    }

    /// Returns the outcome of the request if it is allowed.
    fn if_allowed(&self) -> Outcome {
        if self.shadow_denied { Outcome::ShadowDenied } else { Outcome::Allowed }
    }

    /// Records that the request was refused or failed.
    pub fn set_not_served(&mut self, denial: &Denial, status: StatusCode) {
        self.pull = None;
        match denial {
            Denial::FailureBudgetSpent { .. } => self.recorder.metrics.limited_by(FAILURE_BUDGET),
            Denial::Limited { limit, .. } => self.limited(*limit),
            _ => {}
        }
        let reason = denial.answer().reason;
        self.unanswered_by = denial.provider().cloned();
        self.status = (!matches!(denial, Denial::ClientAborted)).then_some(status);
        self.outcome = match denial {
            Denial::Limited { .. } => Outcome::Limited(reason),
            denial if denial.is_refusal() => Outcome::Denied(reason),
            _ => Outcome::Failed(reason),
        };
    }

    /// Counts a request that a limit refused, and logs it unless the same offender was logged
    /// recently.
    fn limited(&self, limit: Limit) {
        self.recorder.metrics.limited_by(limit.key());
        let subject = self.subject().filter(|_| !limit.is_by_address());
        let offender = (limit, subject.map(|subject| (self.provider(), subject)));
        let address = subject.is_none().then(|| client_network(self.client));
        let now = Instant::now();
        let Some(LeftOut { same: left_out, others: others_left_out }) =
            self.recorder.limit_lines.line(&(offender, address), now)
        else {
            return;
        };
        let (limit, request_id) = (limit.key(), &*self.request_id);
        match subject {
            Some(subject) => {
                let (subject, provider) =
                    (printable(subject), self.provider().map(|provider| &**provider));
                tracing::warn!(
                    request_id,
                    limit,
                    %subject,
                    provider,
                    left_out,
                    others_left_out,
                    "a caller is over a limit"
                );
            }
            None => {
                tracing::warn!(
                    request_id,
                    limit,
                    client = %self.client,
                    left_out,
                    others_left_out,
                    "an address is over a limit"
                );
            }
        }
    }

    /// Returns the caller, once it is known.
    pub fn caller(&self) -> Option<&Arc<Verified>> {
        self.verified.as_ref()
    }

    /// Returns the decision about the credential, independent of the request's later course; `None`
    /// if no credential was decided about. A request that failed before it was allowed was not
    /// allowed, although its caller is known.
    fn auth_decision(&self) -> Option<DecisionLabels> {
        let outcome = match self.outcome {
            outcome @ Outcome::Failed(
                Reason::AuditFailed | Reason::ProviderUnavailable | Reason::TagLookupFailed,
            ) => outcome,
            _ if self.verified.is_some() && !matches!(self.outcome, Outcome::Denied(_)) => {
                self.if_allowed()
            }
            outcome @ Outcome::Denied(
                Reason::NoCredential | Reason::MalformedCredential | Reason::InvalidToken,
            ) => outcome,
            outcome if self.credential.is_some() => outcome,
            _ => return None,
        };
        let provider = self.provider().map_or_else(|| Arc::from(""), Arc::clone);
        Some(DecisionLabels {
            provider,
            result: outcome.decision(),
            reason: outcome.reason().as_str(),
        })
    }

    /// Returns the provider that vouches for the caller, or that gave no answer.
    fn provider(&self) -> Option<&Arc<str>> {
        let vouches =
            || Some(&self.principal()?.source.provider).filter(|provider| !provider.is_empty());
        self.unanswered_by.as_ref().or_else(vouches)
    }

    /// Returns who the caller is, once it is known.
    pub fn principal(&self) -> Option<&Principal> {
        self.verified.as_ref().map(|verified| &verified.principal)
    }

    /// Returns the caller's name; `None` for a caller without a credential.
    fn subject(&self) -> Option<&str> {
        self.principal()
            .filter(|principal| !principal.is_anonymous())
            .map(|principal| &*principal.subject)
    }

    fn credential_type(&self) -> Option<&str> {
        self.principal()?.source.credential_type.as_deref()
    }
}

impl ResponseObserver for Record {
    fn broke_off(&mut self, reason: Reason) {
        self.outcome = Outcome::Failed(reason);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // The charge is kept before a stall can change the outcome: a client that does not take the
        // last byte of a manifest until the deadline has pulled the manifest too.
        if let (Some(pull), Outcome::Allowed | Outcome::ShadowDenied) =
            (self.pull.take(), self.outcome)
        {
            pull.keep();
        }
        if self.progress.stalled() {
            self.outcome = Outcome::Failed(Reason::ClientStalled);
        } else if self.outcome.reason() == Reason::ClientAborted
            && self.recorder.cut_off.load(Ordering::Relaxed)
        {
            self.outcome = Outcome::Failed(Reason::DrainTimeout);
        }
        let took = self.begun.elapsed();
        self.recorder.metrics.request_ended(EndedRequest {
            method: &self.method,
            operation: self.operation,
            status: self.status_number(),
            took,
            upstream_took: self.upstream,
            body_bytes: BodyBytes {
                received: self.progress.bytes_in(),
                sent: self.progress.bytes_out(),
            },
            shadow_denied: self.shadow_denied,
            auth_decision: self.auth_decision(),
        });
        self.recorder.access_log.write(self, took);
        self.trace_ends();
    }
}

/// The status of a request whose client left before there was one, as in the logs of nginx.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl Record {
    fn status_number(&self) -> u16 {
        self.status.map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16())
    }
}

#[cfg(test)]
mod tests;
