//! The faults of the registry behind the gate.

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
