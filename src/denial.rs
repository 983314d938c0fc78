//! Every way to say no, as values: what the caller is told, and the reason that the log gives.
//!
//! Pure. [`respond`](crate::respond) turns a [`Denial`] into an answer.

mod framing;
mod limit;
mod rights;
mod token_request;
mod upstream_fault;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::registry::RequestError;

pub use framing::Framing;
pub use limit::Limit;
pub use rights::{Missing, RuleRefusal, TagRefusal};
pub use token_request::TokenRequestError;
pub use upstream_fault::UpstreamFault;

/// A full disk takes a person.
const NOT_AUDITED_RETRY_AFTER: Duration = Duration::from_secs(10);

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
    /// A gate token that has expired, or that was not made here.
    InvalidToken,
    /// A gate token that does not list this, whatever its credential allows.
    InsufficientScope,
    /// The token service is asked for what it does not give.
    TokenRequest(TokenRequestError),
    /// Every provider said that it does not know the credential, or one knew the user and the
    /// password was wrong.
    WrongCredential,
    /// A valid credential that does not allow this.
    InsufficientRights(Missing),
    /// The credential may write or delete here, but not this tag.
    TagRules(TagRefusal),
    /// The credential allows it, and no rule of the config does.
    DeniedByPolicy(RuleRefusal),
    /// The token server that knows the credential granted no list of all repositories.
    CatalogClosed,
    /// A provider could not be asked, so nothing is known of the credential. It may be worth asking
    /// again after this.
    ProviderUnavailable { provider: Arc<str>, retry_after: Duration },
    /// As many wrong credentials as the config allows were asked of a provider, and this one is not
    /// known to be good.
    FailureBudgetSpent { provider: Arc<str>, retry_after: Duration },
    /// The caller does this too often, or too much of it at once. It may do it again after this.
    Limited { limit: Limit, retry_after: Duration },
    /// The line of the audit log that must come before the write cannot be written.
    NotAudited,
    /// The registry did not do its part.
    Upstream(UpstreamFault),
    /// The client broke off, or went quiet in the middle of its body.
    ClientAborted,
}

impl Denial {
    /// Status and error code of the answer, and the word for `reason` in the access log: the one
    /// match that decides them.
    ///
    /// Codes are those of the OCI distribution spec ("Error Codes") and some that Distribution
    /// added. Reasons are a closed list, explained in the README.
    pub fn wire(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Request(error) => match error {
                RequestError::NoSuchOperation => (S::NOT_FOUND, "UNSUPPORTED", "unknown_operation"),
                RequestError::MethodNotAllowed { .. } => {
                    (S::METHOD_NOT_ALLOWED, "UNSUPPORTED", "method_not_allowed")
                }
                RequestError::NameInvalid => (S::BAD_REQUEST, "NAME_INVALID", "malformed_request"),
                RequestError::ReferenceInvalid => {
                    (S::BAD_REQUEST, "MANIFEST_INVALID", "malformed_request")
                }
                RequestError::DigestInvalid | RequestError::AlgorithmInvalid => {
                    (S::BAD_REQUEST, "DIGEST_INVALID", "malformed_request")
                }
                RequestError::UploadInvalid => {
                    (S::BAD_REQUEST, "BLOB_UPLOAD_INVALID", "malformed_request")
                }
                RequestError::PageInvalid => {
                    (S::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", "malformed_request")
                }
                RequestError::QueryRepeated(_)
                | RequestError::QueryEscape
                | RequestError::QuerySemicolon
                | RequestError::QueryKey(_)
                | RequestError::QueryCharacter
                | RequestError::TooManyTags => (S::BAD_REQUEST, "UNSUPPORTED", "malformed_request"),
            },
            Self::Framing(framing) => (framing.status(), "UNSUPPORTED", "malformed_message"),
            Self::NoCredential => (S::UNAUTHORIZED, "UNAUTHORIZED", "no_credential"),
            Self::MalformedCredential(_) => {
                (S::UNAUTHORIZED, "UNAUTHORIZED", "malformed_credential")
            }
            Self::InvalidToken => (S::UNAUTHORIZED, "UNAUTHORIZED", "invalid_token"),
            Self::InsufficientScope => (S::FORBIDDEN, "DENIED", "insufficient_scope"),
            Self::TokenRequest(TokenRequestError::TooLarge) => {
                (S::PAYLOAD_TOO_LARGE, "UNSUPPORTED", "malformed_token_request")
            }
            Self::TokenRequest(TokenRequestError::NoForm) => {
                (S::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED", "malformed_token_request")
            }
            Self::TokenRequest(TokenRequestError::Method) => {
                (S::METHOD_NOT_ALLOWED, "UNSUPPORTED", "method_not_allowed")
            }
            Self::TokenRequest(TokenRequestError::Credential(_)) => {
                (S::UNAUTHORIZED, "UNAUTHORIZED", "malformed_credential")
            }
            Self::TokenRequest(_) => (S::BAD_REQUEST, "UNSUPPORTED", "malformed_token_request"),
            Self::WrongCredential => (S::UNAUTHORIZED, "UNAUTHORIZED", "wrong_credential"),
            Self::InsufficientRights(_) => (S::FORBIDDEN, "DENIED", "insufficient_rights"),
            Self::TagRules(refusal) => match refusal {
                TagRefusal::Protected(..) | TagRefusal::DeleteByDigest => {
                    (S::FORBIDDEN, "DENIED", "tag_protected")
                }
                TagRefusal::Immutable(..) => (S::FORBIDDEN, "DENIED", "tag_immutable"),
                TagRefusal::Unreadable => (S::FORBIDDEN, "DENIED", "tag_rules_unreadable"),
            },
            Self::DeniedByPolicy(_) => (S::FORBIDDEN, "DENIED", "denied_by_policy"),
            Self::CatalogClosed => (S::FORBIDDEN, "DENIED", "catalog_closed"),
            Self::ProviderUnavailable { .. } => {
                (S::SERVICE_UNAVAILABLE, "UNAVAILABLE", "provider_unavailable")
            }
            Self::FailureBudgetSpent { .. } => {
                (S::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "failure_budget_spent")
            }
            Self::Limited { limit, .. } => {
                let reason = match limit {
                    Limit::PerClient => "over_per_client",
                    Limit::FailedLogins => "over_failed_logins",
                    Limit::Questions => "over_questions",
                    Limit::PasswordChecks => "over_password_checks",
                    Limit::PerIdentity => "over_per_identity",
                    Limit::PullsPerIdentity => "over_pulls_per_identity",
                    Limit::ConcurrentUploadsPerIdentity => "over_concurrent_uploads_per_identity",
                };
                (S::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", reason)
            }
            Self::NotAudited => (S::SERVICE_UNAVAILABLE, "UNAVAILABLE", "audit_failed"),
            Self::Upstream(fault) => match fault {
                UpstreamFault::Unreachable => {
                    (S::BAD_GATEWAY, "UNAVAILABLE", "upstream_unreachable")
                }
                UpstreamFault::RefusedTheGate | UpstreamFault::RefusedTheGrant => {
                    (S::BAD_GATEWAY, "UNAVAILABLE", "upstream_refused_the_gate")
                }
                UpstreamFault::Invalid => (S::BAD_GATEWAY, "UNAVAILABLE", "upstream_invalid"),
                UpstreamFault::LeadsElsewhere => {
                    (S::BAD_GATEWAY, "UNAVAILABLE", "upstream_leads_elsewhere")
                }
                UpstreamFault::TagLookUp => (S::BAD_GATEWAY, "UNAVAILABLE", "tag_lookup_failed"),
                UpstreamFault::NoCatalog => (S::BAD_GATEWAY, "UNAVAILABLE", "catalog_failed"),
                UpstreamFault::CatalogTooLong => {
                    (S::SERVICE_UNAVAILABLE, "UNAVAILABLE", "catalog_too_long")
                }
                UpstreamFault::ConnectTimeout | UpstreamFault::ResponseTimeout => {
                    (S::GATEWAY_TIMEOUT, "UNAVAILABLE", "upstream_timeout")
                }
            },
            // It is never read: the client has gone. The log shows 499, as nginx does.
            Self::ClientAborted => (S::BAD_REQUEST, "UNSUPPORTED", "client_aborted"),
        }
    }

    /// What the person at the client reads. It says nothing that this caller may not know.
    pub fn message(&self) -> String {
        match self {
            Self::Request(error) => error.to_string(),
            Self::Framing(framing) => framing.message().to_owned(),
            Self::NoCredential => "authentication required: run docker login for this registry".to_owned(),
            Self::MalformedCredential(why) => format!("the Authorization header cannot be read: {why}"),
            Self::InvalidToken => "the token has expired, or was not made here: log in again".to_owned(),
            Self::InsufficientScope => "the token was not made for this: ask for another one".to_owned(),
            Self::TokenRequest(error) => error.to_string(),
            Self::WrongCredential => "wrong user name or password, or an expired or revoked token".to_owned(),
            // Docker shows the message alone, so what is missing is said here too.
            Self::InsufficientRights(missing) => format!("the credential is valid but does not allow this: {missing}"),
            Self::TagRules(refusal) => refusal.message(),
            Self::DeniedByPolicy(refusal) => format!("the credential is valid but does not allow this: {refusal}"),
            Self::CatalogClosed => "the credential is valid but does not allow this: registry:catalog:* was not granted (GitLab grants it to administrators)".to_owned(),
            Self::ProviderUnavailable { .. } => {
                "the service that checks credentials gives no answer now; try again".to_owned()
            }
            Self::NotAudited => {
                "writes are not let through now: this gate cannot write its audit log; try again".to_owned()
            }
            Self::FailureBudgetSpent { .. } => {
                "too many wrong credentials were tried here lately, so none that is new is checked now; try again"
                    .to_owned()
            }
            Self::Limited { limit, retry_after } => {
                format!("{}: try again in {} s", limit.message(), whole_seconds(*retry_after))
            }
            Self::Upstream(fault) => fault.message().to_owned(),
            Self::ClientAborted => "the request broke off".to_owned(),
        }
    }

    /// What would have been needed, for the `detail` of the error.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::InsufficientRights(missing) => Some(missing.to_string()),
            Self::DeniedByPolicy(refusal) => Some(refusal.to_string()),
            Self::CatalogClosed => {
                Some("tags of a repository can be listed at /v2/NAME/tags/list".to_owned())
            }
            _ => None,
        }
    }

    /// `error` of an OAuth answer (RFC 6749, 5.2).
    pub fn oauth_code(&self) -> &'static str {
        match self {
            Self::TokenRequest(error) => error.oauth_code(),
            Self::NoCredential
            | Self::MalformedCredential(_)
            | Self::WrongCredential
            | Self::InvalidToken => "invalid_grant",
            Self::ProviderUnavailable { .. }
            | Self::FailureBudgetSpent { .. }
            | Self::Limited { .. } => "temporarily_unavailable",
            _ => "invalid_request",
        }
    }

    /// When to try again, where that is known: `Retry-After` in whole seconds (RFC 9110, 10.2.3),
    /// never too early, and never at once.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::ProviderUnavailable { retry_after, .. }
            | Self::FailureBudgetSpent { retry_after, .. }
            | Self::Limited { retry_after, .. } => Some(whole_seconds(*retry_after)),
            Self::NotAudited => Some(whole_seconds(NOT_AUDITED_RETRY_AFTER)),
            _ => None,
        }
    }

    /// The provider that gave no answer, for the log. Callers are not told which there are.
    pub fn provider(&self) -> Option<&Arc<str>> {
        match self {
            Self::ProviderUnavailable { provider, .. }
            | Self::FailureBudgetSpent { provider, .. } => Some(provider),
            _ => None,
        }
    }

    /// Whether this is a refusal, rather than something that failed.
    pub fn is_refusal(&self) -> bool {
        !matches!(
            self,
            Self::ProviderUnavailable { .. }
                | Self::NotAudited
                | Self::Upstream(_)
                | Self::ClientAborted
        )
    }

    /// Whether a credential or a right was presented, and that is what was refused.
    pub fn is_of_a_credential(&self) -> bool {
        match self {
            Self::MalformedCredential(_)
            | Self::TokenRequest(TokenRequestError::Credential(_))
            | Self::InvalidToken
            | Self::InsufficientScope
            | Self::WrongCredential
            | Self::InsufficientRights(_)
            | Self::DeniedByPolicy(_)
            | Self::TagRules(_)
            | Self::CatalogClosed => true,
            Self::Request(_)
            | Self::Framing(_)
            | Self::NoCredential
            | Self::TokenRequest(_)
            | Self::ProviderUnavailable { .. }
            | Self::FailureBudgetSpent { .. }
            | Self::Limited { .. }
            | Self::NotAudited
            | Self::Upstream(_)
            | Self::ClientAborted => false,
        }
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    seconds.max(1)
}

#[cfg(test)]
mod tests;
