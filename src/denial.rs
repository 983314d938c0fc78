//! Every way to say no, as values: what the caller is told, and the reason that the log gives.
//!
//! Pure. [`respond`](crate::respond) turns a [`Denial`] into an answer.

use http::StatusCode;

use crate::registry::{Action, RepositoryName, RequestError};

/// Why a request got no answer from the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The request line is not an operation in its one spelling.
    Request(RequestError),
    /// Something about the message itself that two programs could read in two ways.
    Framing(Framing),
    /// No credential, or the empty one.
    NoCredential,
    /// An `Authorization` header that is no credential.
    MalformedCredential(&'static str),
    /// Every provider said that it does not know the credential, or one knew the user and the password was wrong.
    WrongCredential,
    /// A valid credential that does not allow this.
    InsufficientRights(Missing),
    /// The catalog would show what the caller may not know of.
    CatalogClosed,
    /// A provider could not be asked, so nothing is known of the credential.
    ProviderUnavailable,
    /// The registry did not do its part.
    Upstream(UpstreamFault),
    /// The client broke off, or went quiet in the middle of its body.
    ClientAborted,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Head,
    Host,
    TwoAuthorizations,
    TransferCoding,
    ContentLength,
    UnexpectedBody,
    MediaType,
    FormBody,
    Expectation,
    UriTooLong,
    Trailers,
}

/// What a valid credential lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The credential's scopes are known; these would have been needed too.
    Scopes(Vec<String>),
    /// The provider said what it grants for this repository, and it was not this.
    Grant { provider: String, repository: RepositoryName, action: Action, needed: Vec<String> },
}

/// What the registry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamFault {
    Unreachable,
    /// It does not let the gate itself in.
    RefusedTheGate,
    /// An answer that is no HTTP, or that no registry gives.
    Invalid,
    /// A `Location` or `Link` that leads elsewhere.
    LeadsElsewhere,
    ConnectTimeout,
    ResponseTimeout,
}

impl Denial {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Request(RequestError::NoSuchOperation) => StatusCode::NOT_FOUND,
            Self::Request(RequestError::MethodNotAllowed { .. }) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Framing(framing) => framing.status(),
            Self::NoCredential | Self::MalformedCredential(_) | Self::WrongCredential => StatusCode::UNAUTHORIZED,
            Self::InsufficientRights(_) | Self::CatalogClosed => StatusCode::FORBIDDEN,
            Self::ProviderUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream(UpstreamFault::ConnectTimeout | UpstreamFault::ResponseTimeout) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Upstream(_) => StatusCode::BAD_GATEWAY,
            // It is never read: the client has gone. The log shows 499, as nginx does.
            Self::ClientAborted => StatusCode::BAD_REQUEST,
        }
    }

    /// The error code (OCI distribution spec, "Error Codes", and those that Distribution added).
    pub fn code(&self) -> &'static str {
        match self {
            Self::Request(error) => match error {
                RequestError::NoSuchOperation | RequestError::MethodNotAllowed { .. } => "UNSUPPORTED",
                RequestError::NameInvalid => "NAME_INVALID",
                RequestError::ReferenceInvalid => "MANIFEST_INVALID",
                RequestError::DigestInvalid => "DIGEST_INVALID",
                RequestError::UploadInvalid => "BLOB_UPLOAD_INVALID",
                RequestError::PageInvalid => "PAGINATION_NUMBER_INVALID",
                RequestError::QueryRepeated(_) | RequestError::QueryEscape => "UNSUPPORTED",
            },
            Self::Framing(_) | Self::ClientAborted => "UNSUPPORTED",
            Self::NoCredential | Self::MalformedCredential(_) | Self::WrongCredential => "UNAUTHORIZED",
            Self::InsufficientRights(_) | Self::CatalogClosed => "DENIED",
            Self::ProviderUnavailable | Self::Upstream(_) => "UNAVAILABLE",
        }
    }

    /// What the person at the client reads. It says nothing that this caller may not know.
    pub fn message(&self) -> String {
        match self {
            Self::Request(error) => error.to_string(),
            Self::Framing(framing) => framing.message().to_owned(),
            Self::NoCredential => "authentication required: run docker login for this registry".to_owned(),
            Self::MalformedCredential(why) => format!("the Authorization header cannot be read: {why}"),
            Self::WrongCredential => "wrong user name or password, or an expired or revoked token".to_owned(),
            // Docker shows the message alone, so what is missing is said here too.
            Self::InsufficientRights(missing) => format!("the credential is valid but does not allow this: {missing}"),
            Self::CatalogClosed => "the list of all repositories is not served here".to_owned(),
            Self::ProviderUnavailable => "the service that checks credentials cannot be reached; try again".to_owned(),
            Self::Upstream(fault) => fault.message().to_owned(),
            Self::ClientAborted => "the request broke off".to_owned(),
        }
    }

    /// What would have been needed, for the `detail` of the error.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::InsufficientRights(missing) => Some(missing.to_string()),
            Self::CatalogClosed => Some("tags of a repository can be listed at /v2/NAME/tags/list".to_owned()),
            _ => None,
        }
    }

    /// The word for `reason` in the access log and in metrics: a closed list, explained in the README.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Request(RequestError::NoSuchOperation) => "unknown_operation",
            Self::Request(RequestError::MethodNotAllowed { .. }) => "method_not_allowed",
            Self::Request(_) => "malformed_request",
            Self::Framing(_) => "malformed_message",
            Self::NoCredential => "no_credential",
            Self::MalformedCredential(_) => "malformed_credential",
            Self::WrongCredential => "wrong_credential",
            Self::InsufficientRights(_) => "insufficient_rights",
            Self::CatalogClosed => "catalog_closed",
            Self::ProviderUnavailable => "provider_unavailable",
            Self::Upstream(fault) => match fault {
                UpstreamFault::Unreachable => "upstream_unreachable",
                UpstreamFault::RefusedTheGate => "upstream_refused_the_gate",
                UpstreamFault::Invalid => "upstream_invalid",
                UpstreamFault::LeadsElsewhere => "upstream_leads_elsewhere",
                UpstreamFault::ConnectTimeout | UpstreamFault::ResponseTimeout => "upstream_timeout",
            },
            Self::ClientAborted => "client_aborted",
        }
    }

    /// Whether this is a refusal, rather than something that failed.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::ProviderUnavailable | Self::Upstream(_) | Self::ClientAborted)
    }
}

impl Framing {
    fn status(self) -> StatusCode {
        match self {
            Self::Head | Self::Host | Self::TwoAuthorizations | Self::TransferCoding | Self::ContentLength => {
                StatusCode::BAD_REQUEST
            }
            Self::UnexpectedBody | Self::Trailers => StatusCode::BAD_REQUEST,
            Self::MediaType | Self::FormBody => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Head => "a line that ends in a bare line feed, or a Content-Length that is given twice",
            Self::Host => "exactly one Host is needed, and it must agree with the request's target",
            Self::TwoAuthorizations => "more than one Authorization header",
            Self::TransferCoding => "the only transfer coding understood is chunked, once",
            Self::ContentLength => "a Content-Length is one decimal number, once",
            Self::UnexpectedBody => "this operation takes no body",
            Self::MediaType => "a Content-Type is one media type, type/subtype, in plain ASCII",
            Self::FormBody => "form bodies are not part of the registry protocol",
            Self::Expectation => "the only expectation understood is 100-continue, once",
            Self::UriTooLong => "the request's target is too long",
            Self::Trailers => "trailers are not part of the registry protocol",
        }
    }
}

impl UpstreamFault {
    fn message(self) -> &'static str {
        match self {
            Self::Unreachable => "the registry behind this gate cannot be reached",
            Self::RefusedTheGate => "the registry behind this gate does not let the gate in",
            Self::Invalid => "the registry behind this gate gave an answer that cannot be read",
            Self::LeadsElsewhere => "the registry behind this gate gave an answer that leads elsewhere",
            Self::ConnectTimeout => "the registry behind this gate cannot be reached in time",
            Self::ResponseTimeout => "the registry behind this gate did not answer in time",
        }
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scopes(scopes) => write!(f, "token lacks {}", scopes.join(" and ")),
            Self::Grant { provider, repository, action, needed } => {
                let word = if needed.len() == 1 { "scope" } else { "scopes" };
                let needed = needed.join(" and ");
                let action = action.as_str();
                write!(
                    f,
                    "{provider} granted no {action} on {repository}: it takes the {word} {needed}, the role and the project"
                )
            }
        }
    }
}
