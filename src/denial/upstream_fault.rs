//! What the registry behind the gate can do wrong.

/// What the registry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamFault {
    Unreachable,
    /// It does not let the gate itself in.
    RefusedTheGate,
    /// It does not take the token that was issued for the request.
    RefusedTheGrant,
    /// An answer that is no HTTP, or that no registry gives.
    Invalid,
    /// A `Location` or `Link` that leads elsewhere.
    LeadsElsewhere,
    ConnectTimeout,
    ResponseTimeout,
    /// It did not say whether a tag exists that may only be written if it does not.
    TagLookUp,
    /// It did not give the list of repositories that was to be filtered.
    NoCatalog,
    /// That list is longer than is looked through for one page.
    CatalogTooLong,
}

impl UpstreamFault {
    /// What the person at the client reads, and the log.
    pub fn message(self) -> &'static str {
        match self {
            Self::Unreachable => "the registry behind this gate cannot be reached",
            Self::RefusedTheGate => "the registry behind this gate does not let the gate in",
            Self::RefusedTheGrant => {
                "the registry behind this gate does not take the token that was issued for this request: it must trust the certificate of the server that issued it, and its issuer and service"
            }
            Self::Invalid => "the registry behind this gate gave an answer that cannot be read",
            Self::LeadsElsewhere => {
                "the registry behind this gate gave an answer that leads elsewhere"
            }
            Self::ConnectTimeout => "the registry behind this gate cannot be reached in time",
            Self::ResponseTimeout => "the registry behind this gate did not answer in time",
            Self::TagLookUp => {
                "the registry behind this gate did not say whether the tag exists, which is immutable if it does; try again"
            }
            Self::NoCatalog => {
                "the registry behind this gate did not give its list of repositories"
            }
            Self::CatalogTooLong => {
                "there are more repositories than are looked through at once: ask for fewer with n, or begin further on with last"
            }
        }
    }
}
