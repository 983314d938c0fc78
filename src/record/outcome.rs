//! The outcome of a request, as the access log and the metrics show it.

use crate::denial::Reason;

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was decided yet.
    Undecided,
    /// The request was served, by the upstream or by the gate itself.
    Allowed,
    /// The request was served although the rules deny it, because of shadow mode.
    ShadowDenied,
    /// The request was refused, for this reason.
    Denied(Reason),
    /// A limit refused the request, independent of what the credential allows, for this reason.
    Limited(Reason),
    /// The request failed, for this reason.
    Failed(Reason),
}

impl Outcome {
    /// Returns the `decision` of the access log.
    pub fn decision(self) -> &'static str {
        match self {
            Self::Allowed | Self::ShadowDenied => "allowed",
            Self::Denied(_) | Self::Limited(_) => "denied",
            Self::Undecided | Self::Failed(_) => "error",
        }
    }

    /// Returns the `reason` of the access log.
    pub fn reason(self) -> Reason {
        match self {
            Self::Allowed => Reason::Allowed,
            Self::ShadowDenied => Reason::ShadowDenied,
            Self::Denied(reason) | Self::Limited(reason) | Self::Failed(reason) => reason,
            Self::Undecided => Reason::ClientAborted,
        }
    }
}
