//! All reasons to refuse a request, as values: the answer for the caller, and the reason for the
//! log.
//!
//! This module performs no I/O. [`respond`](crate::respond) turns a [`Denial`] into an answer.

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

/// The `Retry-After` of [`Denial::NotAudited`]. It is long, because an operator has to fix a full
/// disk.
const NOT_AUDITED_RETRY_AFTER: Duration = Duration::from_secs(10);

/// The reason why a request got no answer from the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The request line is not an operation in its canonical spelling.
    Request(RequestError),
    /// The framing of the message is ambiguous: two programs could read it differently.
    Framing(Framing),
    /// The request has no credential, or an empty one.
    NoCredential,
    /// The `Authorization` header does not hold a well-formed credential.
    MalformedCredential(&'static str),
    /// The gate token has expired, or this gate did not make it.
    InvalidToken,
    /// The gate token does not list this access, whether or not its credential allows it.
    InsufficientScope,
    /// The token service does not support this request.
    TokenRequest(TokenRequestError),
    /// Every provider answered that it does not know the credential, or a provider knew the user
    /// and the password was wrong.
    WrongCredential,
    /// The credential is valid but does not allow this access.
    InsufficientRights(Missing),
    /// The credential may write or delete in this repository, but the project's tag rules protect
    /// this tag.
    TagRules(TagRefusal),
    /// The credential allows the access, but no rule of the config does.
    DeniedByPolicy(RuleRefusal),
    /// The token server that knows the credential did not grant the list of all repositories.
    CatalogClosed,
    /// A provider could not be asked, so the gate knows nothing about the credential. The caller
    /// may try again after `retry_after`.
    ProviderUnavailable { provider: Arc<str>, retry_after: Duration },
    /// The provider has been asked about as many wrong credentials as the config allows, and this
    /// credential is not known to be valid.
    FailureBudgetSpent { provider: Arc<str>, retry_after: Duration },
    /// The caller is over a limit of frequency or concurrency. It may try again after
    /// `retry_after`.
    Limited { limit: Limit, retry_after: Duration },
    /// The line of the audit log that must precede the write cannot be written.
    NotAudited,
    /// The registry behind the gate failed.
    Upstream(UpstreamFault),
    /// The client disconnected, or sent nothing for too long in the middle of its body.
    ClientAborted,
}

impl Denial {
    /// Returns the status and error code of the answer, and the word for `reason` in the access
    /// log. This match is the only place that decides them.
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
            // The client has gone and does not read this answer. The log shows 499, as nginx does.
            Self::ClientAborted => (S::BAD_REQUEST, "UNSUPPORTED", "client_aborted"),
        }
    }

    /// Returns the message for the user at the client. It reveals nothing that this caller may not
    /// know.
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
            // Docker shows only the message, so the missing right is repeated here.
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

    /// Returns the right that would have been needed, for the `detail` of the error.
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

    /// Returns the `error` of an OAuth answer (RFC 6749, 5.2).
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

    /// Returns the `Retry-After` in whole seconds, if it is known (RFC 9110, 10.2.3). The time is
    /// rounded up, to at least one second.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::ProviderUnavailable { retry_after, .. }
            | Self::FailureBudgetSpent { retry_after, .. }
            | Self::Limited { retry_after, .. } => Some(whole_seconds(*retry_after)),
            Self::NotAudited => Some(whole_seconds(NOT_AUDITED_RETRY_AFTER)),
            _ => None,
        }
    }

    /// Returns the provider that gave no answer, for the log. Callers do not learn the names of the
    /// providers.
    pub fn provider(&self) -> Option<&Arc<str>> {
        match self {
            Self::ProviderUnavailable { provider, .. }
            | Self::FailureBudgetSpent { provider, .. } => Some(provider),
            _ => None,
        }
    }

    /// Returns `true` if this denial is a refusal, and `false` if something failed.
    pub fn is_refusal(&self) -> bool {
        !matches!(
            self,
            Self::ProviderUnavailable { .. }
                | Self::NotAudited
                | Self::Upstream(_)
                | Self::ClientAborted
        )
    }

    /// Returns whether the denial refuses a credential or a right that the caller presented.
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
