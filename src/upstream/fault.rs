//! The faults of the registry as operators see them: those for which the gate refuses an answer,
//! and those that it passes on.

use http::StatusCode;

use crate::denial::{Denial, Reason, UpstreamFault};

/// A fault of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryFault {
    /// The registry gave no answer, or the gate did not pass it on.
    NotPassedOn(UpstreamFault),
    /// The registry answered with a status that tells of its own trouble. The gate passed it on.
    Status(StatusCode),
    /// The answer broke off after its head.
    Aborted,
    /// The answer stopped for `http.stall_timeout` after its head.
    Stalled,
}

impl RegistryFault {
    /// Returns the fault that a status tells of, if any: 429 and every 5xx.
    pub(super) fn from_status(status: StatusCode) -> Option<Self> {
        let is_fault = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        is_fault.then_some(Self::Status(status))
    }

    /// Returns whether the gate could not even connect, so that any answer shows that the fault is
    /// over.
    pub(super) fn is_of_the_connection(self) -> bool {
        matches!(
            self,
            Self::NotPassedOn(UpstreamFault::Unreachable | UpstreamFault::ConnectTimeout)
        )
    }

    /// Returns whether two faults are of one kind. All statuses are one kind.
    pub(super) fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Status(_), Self::Status(_)) => true,
            _ => self == other,
        }
    }

    /// Returns the word in `/status.json`, from the closed list in `docs/operations.md`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotPassedOn(fault) => Denial::Upstream(fault).answer().reason.as_str(),
            Self::Status(_) => "upstream_error",
            Self::Aborted => Reason::UpstreamAborted.as_str(),
            Self::Stalled => Reason::UpstreamStalled.as_str(),
        }
    }

    /// Returns the fault as a sentence without its full stop.
    pub fn message(self) -> String {
        match self {
            Self::NotPassedOn(fault) => fault.message().to_owned(),
            Self::Status(status) => {
                format!("the registry behind this gate answered {}", status.as_u16())
            }
            Self::Aborted => "the registry behind this gate broke off its answer".to_owned(),
            Self::Stalled => {
                "the registry behind this gate sent no more of its answer for http.stall_timeout"
                    .to_owned()
            }
        }
    }

    /// Returns what the operator should do, as a sentence.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NotPassedOn(UpstreamFault::Unreachable | UpstreamFault::ConnectTimeout) => {
                "Check that the registry runs, and upstream.urls; the program log has the error \
                 of the system."
            }
            Self::NotPassedOn(UpstreamFault::NoAnswer) => {
                "See the log of the registry, and of what is in front of it."
            }
            Self::NotPassedOn(UpstreamFault::ResponseTimeout) => {
                "See the log of the registry; raise upstream.response_timeout or \
                 upstream.upload_response_timeout if it needs more time."
            }
            Self::NotPassedOn(
                UpstreamFault::RefusedTheGate
                | UpstreamFault::RefusedUpstreamToken
                | UpstreamFault::RefusedOldToken,
            ) => "Check upstream.authorization.",
            Self::NotPassedOn(
                UpstreamFault::TokenServerUnavailable | UpstreamFault::TokenServerBusy,
            ) => "Check the token server of the registry; the program log names it.",
            Self::NotPassedOn(
                UpstreamFault::TokenServerRefused | UpstreamFault::TokenServerForbids,
            ) => {
                "Check upstream.username and upstream.password_file; the program log has the \
                 answer of the token server."
            }
            Self::NotPassedOn(UpstreamFault::TokenServerNotAllowed) => {
                "If the gate may ask this token server, list its host in upstream.token_realms; \
                 the program log names it."
            }
            Self::NotPassedOn(UpstreamFault::RedirectFailed) => {
                "If the gate may follow the redirect, list its host in upstream.redirect_hosts; \
                 the program log names it."
            }
            Self::NotPassedOn(UpstreamFault::LeadsElsewhere) => {
                "Check the address that the registry has for itself, such as http.host of \
                 Distribution; the program log has more."
            }
            Self::NotPassedOn(UpstreamFault::CatalogTooLong) => {
                "Clients must list fewer repositories at once, with the query parameter n."
            }
            Self::NotPassedOn(_) => "The program log says more.",
            Self::Status(StatusCode::TOO_MANY_REQUESTS) => {
                "The registry limits the requests of the gate: raise its limit."
            }
            Self::Status(_) | Self::Aborted | Self::Stalled => {
                "See the log of the registry, and of what is in front of it."
            }
        }
    }
}

impl From<UpstreamFault> for RegistryFault {
    fn from(fault: UpstreamFault) -> Self {
        Self::NotPassedOn(fault)
    }
}
