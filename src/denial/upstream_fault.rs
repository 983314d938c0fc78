//! The faults of the registry behind the gate.

use std::time::Duration;

use http::StatusCode;

use super::{ErrorCode, Reason};

/// A fault of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamFault {
    /// The gate cannot connect to the registry.
    Unreachable,
    /// The registry closed the connection without an answer.
    NoAnswer,
    /// The registry answered 401 to a request without an upstream token: it refuses the gate
    /// itself.
    RefusedTheGate,
    /// The registry answered 401 to the token that was issued for the request.
    RefusedUpstreamToken,
    /// The registry answered 401 to a write whose token was issued for an earlier request. The
    /// token was dropped, and the write was not done.
    RefusedOldToken,
    /// The token server of the registry was not reached, or failed.
    TokenServerUnavailable,
    /// The gate has asked the token server of the registry too often.
    TokenServerBusy,
    /// The token server of the registry gave no token for the request.
    TokenServerRefused,
    /// The token server of the registry answered 403. Some answer so for what does not exist.
    TokenServerForbids,
    /// The registry names a token server that the config does not allow.
    TokenServerNotAllowed,
    /// A redirect leads to a server that the config does not allow, or its answer is not valid.
    RedirectFailed,
    /// The answer is not valid HTTP, or is not one that a registry gives.
    Invalid,
    /// The answer has a `Location` or `Link` that leads to another server or out of the repository.
    LeadsElsewhere,
    ConnectTimeout,
    ResponseTimeout,
    /// The registry did not answer whether a tag exists. The tag may only be written if it does not
    /// exist.
    TagLookUp,
    /// The registry did not return the list of repositories, which the gate was going to filter.
    NoCatalog,
    /// The list of repositories is longer than the gate searches for one page.
    CatalogTooLong,
}

impl UpstreamFault {
    /// Returns the status and the code of the answer to the caller, and the reason for the log.
    pub(super) fn answer(self) -> (StatusCode, ErrorCode, Reason) {
        use {ErrorCode as C, Reason as R, StatusCode as S};
        match self {
            Self::Unreachable | Self::NoAnswer => {
                (S::BAD_GATEWAY, C::Unavailable, R::UpstreamUnreachable)
            }
            Self::TokenServerUnavailable | Self::TokenServerBusy => {
                (S::SERVICE_UNAVAILABLE, C::Unavailable, R::UpstreamTokenFailed)
            }
            Self::TokenServerRefused | Self::TokenServerForbids | Self::TokenServerNotAllowed => {
                (S::BAD_GATEWAY, C::Unavailable, R::UpstreamTokenFailed)
            }
            Self::RedirectFailed => (S::BAD_GATEWAY, C::Unavailable, R::RedirectFailed),
            Self::RefusedTheGate | Self::RefusedUpstreamToken | Self::RefusedOldToken => {
                (S::BAD_GATEWAY, C::Unavailable, R::UpstreamRefusedTheGate)
            }
            Self::Invalid => (S::BAD_GATEWAY, C::Unavailable, R::UpstreamInvalid),
            Self::LeadsElsewhere => (S::BAD_GATEWAY, C::Unavailable, R::UpstreamLeadsElsewhere),
            Self::TagLookUp => (S::BAD_GATEWAY, C::Unavailable, R::TagLookupFailed),
            Self::NoCatalog => (S::BAD_GATEWAY, C::Unavailable, R::CatalogFailed),
            Self::CatalogTooLong => (S::SERVICE_UNAVAILABLE, C::Unavailable, R::CatalogTooLong),
            Self::ConnectTimeout | Self::ResponseTimeout => {
                (S::GATEWAY_TIMEOUT, C::Unavailable, R::UpstreamTimeout)
            }
        }
    }

    /// Returns the time after which the request may be sent again, if the fault is expected to be
    /// over then.
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::TokenServerUnavailable => Some(Duration::from_secs(5)),
            Self::TokenServerBusy => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// Returns the message for the user at the client and for the log.
    pub fn message(self) -> &'static str {
        match self {
            Self::Unreachable => "the registry behind this gate cannot be reached",
            Self::NoAnswer => {
                "the registry behind this gate closed the connection without an answer"
            }
            Self::RefusedTheGate => "the registry behind this gate answered 401 to the gate itself",
            Self::RefusedUpstreamToken => {
                "the registry behind this gate refused the token that was issued for this request; \
                 the registry must trust the certificate of the token server, and expect its \
                 issuer and service"
            }
            Self::RefusedOldToken => {
                "the registry behind this gate refused a token that has become invalid; send the \
                 request again"
            }
            Self::TokenServerUnavailable => {
                "the token server of the registry behind this gate gives no answer now; try again \
                 in a few seconds"
            }
            Self::TokenServerBusy => {
                "the gate asks the token server of the registry too often; try again in a second"
            }
            Self::TokenServerRefused => {
                "the token server of the registry behind this gate refused to issue a token"
            }
            Self::TokenServerForbids => {
                "the token server of the registry behind this gate does not let the gate do \
                 this, or there is no such image"
            }
            Self::TokenServerNotAllowed => {
                "the registry behind this gate names a token server that the gate may not ask"
            }
            Self::RedirectFailed => {
                "the registry behind this gate redirects to an address that the gate does not \
                 follow, or that gives no valid answer"
            }
            Self::Invalid => "the registry behind this gate gave an answer that is not valid",
            Self::LeadsElsewhere => {
                "the registry behind this gate gave an answer that leads to another host or \
                 repository"
            }
            Self::ConnectTimeout => "the registry behind this gate cannot be reached in time",
            Self::ResponseTimeout => "the registry behind this gate did not answer in time",
            Self::TagLookUp => {
                "the registry behind this gate did not say whether the tag exists, which the gate \
                 must know for an immutable tag; try again"
            }
            Self::NoCatalog => {
                "the registry behind this gate did not give its list of repositories"
            }
            Self::CatalogTooLong => {
                "there are more repositories than the gate reads for one page; request fewer with \
                 the query parameter n, or start later in the list with the query parameter last"
            }
        }
    }
}
