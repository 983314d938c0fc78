//! All reasons to refuse a request, as values: the answer for the caller, and the reason for the
//! log.
//!
//! This module performs no I/O. [`respond`](crate::respond) turns a [`Denial`] into an answer.

mod error_code;
mod framing;
mod limit;
mod reason;
mod rights;
mod token_request;
mod upstream_fault;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::registry::RequestError;

pub use error_code::ErrorCode;
pub use framing::Framing;
pub use limit::Limit;
pub use reason::Reason;
pub use rights::{Missing, RuleRefusal, TagRefusal, Uncovered};
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
    /// The request line is another spelling of an operation. The path and query of the right one.
    OtherSpelling(Box<str>),
    /// The framing of the message is ambiguous: two programs could read it differently.
    Framing(Framing),
    /// The request has no credential, or an empty one.
    NoCredential,
    /// The `Authorization` header does not hold a well-formed credential.
    MalformedCredential(&'static str),
    /// The gate token has expired, or this gate did not make it.
    InvalidToken,
    /// The gate token does not list this access, whether or not its credential allows it.
    InsufficientScope(Uncovered),
    /// The token service does not support this request.
    TokenRequest(TokenRequestError),
    /// Every provider answered that it does not know the credential, or a provider knew the user
    /// and the password was wrong.
    WrongCredential,
    /// No provider accepts the credential. GitLab would, but it is the password of an account, and
    /// only tokens are accepted.
    AccountPassword,
    /// The credential is valid but does not allow this access.
    InsufficientRights(Missing),
    /// The credential may write or delete in this repository, but the project's tag rules protect
    /// this tag.
    TagRules(TagRefusal),
    /// The operator has made the registry read-only for the time being.
    ReadOnly,
    /// The credential allows the access, but no rule of the config does, or a rule makes what it
    /// would change immutable.
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
    /// The address of an upload was sealed by this gate, and is not valid for this request.
    UnknownUpload,
    /// The registry answered 401 to a token that was issued for exactly this request. Registries
    /// answer so for what does not exist, and for what the gate's own account may not do.
    UpstreamGrantsNothing { is_read: bool },
    /// The registry behind the gate failed.
    Upstream(UpstreamFault),
    /// The client disconnected, or sent nothing for too long in the middle of its body.
    ClientAborted,
}

/// The outline of the answer to a denied request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    /// The code in the body.
    pub code: ErrorCode,
    /// The reason in the access log and in the metrics.
    pub reason: Reason,
}

impl Denial {
    /// Returns the answer to the caller and the reason for the log. This match is the only place
    /// that decides them, with that of [`UpstreamFault`].
    pub fn answer(&self) -> Answer {
        use {ErrorCode as C, Reason as R, StatusCode as S};
        let (status, code, reason) = match self {
            Self::Request(error) => match error {
                RequestError::NoSuchOperation => {
                    (S::NOT_FOUND, C::Unsupported, R::UnknownOperation)
                }
                RequestError::MethodNotAllowed { .. } => {
                    (S::METHOD_NOT_ALLOWED, C::Unsupported, R::MethodNotAllowed)
                }
                RequestError::NameInvalid => (S::BAD_REQUEST, C::NameInvalid, R::MalformedRequest),
                RequestError::ReferenceInvalid => {
                    (S::BAD_REQUEST, C::ManifestInvalid, R::MalformedRequest)
                }
                RequestError::DigestInvalid | RequestError::AlgorithmInvalid => {
                    (S::BAD_REQUEST, C::DigestInvalid, R::MalformedRequest)
                }
                RequestError::UploadInvalid => {
                    (S::BAD_REQUEST, C::BlobUploadInvalid, R::MalformedRequest)
                }
                RequestError::PageInvalid => {
                    (S::BAD_REQUEST, C::PaginationNumberInvalid, R::MalformedRequest)
                }
                RequestError::QueryRepeated(_)
                | RequestError::QueryEscape
                | RequestError::QuerySemicolon
                | RequestError::QueryKey(_)
                | RequestError::QueryCharacter
                | RequestError::TooManyTags => {
                    (S::BAD_REQUEST, C::Unsupported, R::MalformedRequest)
                }
            },
            Self::OtherSpelling(_) => (S::PERMANENT_REDIRECT, C::Unsupported, R::OtherSpelling),
            Self::Framing(framing) => (framing.status(), C::Unsupported, R::MalformedMessage),
            Self::NoCredential => (S::UNAUTHORIZED, C::Unauthorized, R::NoCredential),
            Self::MalformedCredential(_) => {
                (S::UNAUTHORIZED, C::Unauthorized, R::MalformedCredential)
            }
            Self::InvalidToken => (S::UNAUTHORIZED, C::Unauthorized, R::InvalidToken),
            Self::InsufficientScope(_) => (S::FORBIDDEN, C::Denied, R::InsufficientScope),
            Self::TokenRequest(TokenRequestError::TooLarge) => {
                (S::PAYLOAD_TOO_LARGE, C::Unsupported, R::MalformedTokenRequest)
            }
            Self::TokenRequest(TokenRequestError::NoForm) => {
                (S::UNSUPPORTED_MEDIA_TYPE, C::Unsupported, R::MalformedTokenRequest)
            }
            Self::TokenRequest(TokenRequestError::Method) => {
                (S::METHOD_NOT_ALLOWED, C::Unsupported, R::MethodNotAllowed)
            }
            Self::TokenRequest(TokenRequestError::Credential(_)) => {
                (S::UNAUTHORIZED, C::Unauthorized, R::MalformedCredential)
            }
            Self::TokenRequest(_) => (S::BAD_REQUEST, C::Unsupported, R::MalformedTokenRequest),
            Self::WrongCredential | Self::AccountPassword => {
                (S::UNAUTHORIZED, C::Unauthorized, R::WrongCredential)
            }
            Self::InsufficientRights(_) => (S::FORBIDDEN, C::Denied, R::InsufficientRights),
            Self::TagRules(refusal) => match refusal {
                TagRefusal::Protected(..) | TagRefusal::DeleteByDigest => {
                    (S::FORBIDDEN, C::Denied, R::TagProtected)
                }
                TagRefusal::Immutable(..) => (S::FORBIDDEN, C::Denied, R::TagImmutable),
                TagRefusal::Unreadable => (S::FORBIDDEN, C::Denied, R::TagRulesUnreadable),
            },
            Self::ReadOnly => (S::METHOD_NOT_ALLOWED, C::Unsupported, R::ReadOnly),
            Self::DeniedByPolicy(RuleRefusal::Immutable(..) | RuleRefusal::ImmutableDigest) => {
                (S::FORBIDDEN, C::Denied, R::TagImmutable)
            }
            Self::DeniedByPolicy(_) => (S::FORBIDDEN, C::Denied, R::DeniedByPolicy),
            Self::CatalogClosed => (S::FORBIDDEN, C::Denied, R::CatalogClosed),
            Self::ProviderUnavailable { .. } => {
                (S::SERVICE_UNAVAILABLE, C::Unavailable, R::ProviderUnavailable)
            }
            Self::FailureBudgetSpent { .. } => {
                (S::TOO_MANY_REQUESTS, C::TooManyRequests, R::FailureBudgetSpent)
            }
            Self::Limited { limit, .. } => {
                let reason = match limit {
                    Limit::PerClient => R::OverPerClient,
                    Limit::FailedLogins => R::OverFailedLogins,
                    Limit::Questions => R::OverQuestions,
                    Limit::PasswordChecks => R::OverPasswordChecks,
                    Limit::PerIdentity => R::OverPerIdentity,
                    Limit::PullsPerIdentity => R::OverPullsPerIdentity,
                    Limit::ConcurrentUploadsPerIdentity => R::OverConcurrentUploadsPerIdentity,
                };
                (S::TOO_MANY_REQUESTS, C::TooManyRequests, reason)
            }
            Self::NotAudited => (S::SERVICE_UNAVAILABLE, C::Unavailable, R::AuditFailed),
            Self::UnknownUpload => (S::NOT_FOUND, C::BlobUploadUnknown, R::UploadUnknown),
            Self::UpstreamGrantsNothing { is_read: true } => {
                (S::NOT_FOUND, C::NameUnknown, R::UpstreamGrantsNothing)
            }
            Self::UpstreamGrantsNothing { is_read: false } => {
                (S::FORBIDDEN, C::Denied, R::UpstreamGrantsNothing)
            }
            Self::Upstream(fault) => fault.answer(),
            // The client has gone and does not read this answer. The log shows 499, as nginx does.
            Self::ClientAborted => (S::BAD_REQUEST, C::Unsupported, R::ClientAborted),
        };
        Answer { status, code, reason }
    }

    /// Returns the message for the user at the client of the registry that clients know as
    /// `service`. It reveals nothing that this caller may not know.
    pub fn message(&self, service: &str) -> String {
        match self {
            Self::Request(error) => error.to_string(),
            Self::OtherSpelling(target) => {
                let path = target.split('?').next().unwrap_or_default();
                format!("this is another spelling of {path}; send the request there")
            }
            Self::Framing(framing) => framing.message().to_owned(),
            Self::NoCredential => {
                format!("authentication required; run docker login {service}")
            }
            Self::MalformedCredential(why) => {
                format!("the Authorization header cannot be read: {why}")
            }
            Self::InvalidToken => {
                "the token has expired or was revoked, or this gate did not issue it; log in again"
                    .to_owned()
            }
            Self::InsufficientScope(uncovered) => uncovered.message(service),
            Self::TokenRequest(error) => error.to_string(),
            Self::WrongCredential => {
                "wrong user name or password, or an expired or revoked token".to_owned()
            }
            Self::AccountPassword => {
                "this is the password of a GitLab account, and this registry accepts only tokens; \
                 log in with a personal, project, group or deploy token as the password"
                    .to_owned()
            }
            Self::InsufficientRights(missing) => {
                format!("the credential is valid but does not allow this: {missing}")
            }
            Self::TagRules(refusal) => refusal.message(),
            Self::ReadOnly => "this registry is read-only for maintenance: it takes no pushes and \
                               deletes now, and pulls go on; try again when the maintenance is over"
                .to_owned(),
            Self::DeniedByPolicy(refusal) => format!("the credential is valid, but {refusal}"),
            Self::CatalogClosed => {
                "the credential is valid but does not allow this: registry:catalog:* was not \
                 granted (GitLab grants it to administrators)"
                    .to_owned()
            }
            Self::ProviderUnavailable { retry_after, .. } => format!(
                "the service that checks credentials gives no usable answer now; try again in {} s",
                whole_seconds(*retry_after)
            ),
            Self::NotAudited => format!(
                "the gate refuses writes now, because it cannot write its audit log; try again in \
                 {} s",
                whole_seconds(NOT_AUDITED_RETRY_AFTER)
            ),
            Self::FailureBudgetSpent { retry_after, .. } => format!(
                "too many wrong credentials were tried recently, so the gate does not check \
                 unknown credentials now; try again in {} s",
                whole_seconds(*retry_after)
            ),
            Self::Limited { limit, retry_after } => {
                format!("{}; try again in {} s", limit.message(), whole_seconds(*retry_after))
            }
            Self::UnknownUpload => {
                "this upload is not known here, or has ended; begin it again".to_owned()
            }
            Self::UpstreamGrantsNothing { is_read: true } => {
                "the registry behind this gate has no such repository or image, or does not show \
                 it to the gate"
                    .to_owned()
            }
            Self::UpstreamGrantsNothing { is_read: false } => {
                "the registry behind this gate does not let the gate write here".to_owned()
            }
            Self::Upstream(fault) => fault.message().to_owned(),
            Self::ClientAborted => "the request broke off".to_owned(),
        }
    }

    /// Returns the `detail` of the error. It says more than the message, which is all that docker
    /// and skopeo show, and repeats nothing of it, because oras and helm show both.
    pub fn detail(&self) -> Option<String> {
        match self {
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
            | Self::AccountPassword
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
            Self::Upstream(fault) => fault.retry_after().map(whole_seconds),
            _ => None,
        }
    }

    /// Returns the provider that caused the denial, for the log. The message to the caller does not
    /// name it. Only [`Missing::Grant`] tells a caller the name of a provider.
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
            | Self::InsufficientScope(_)
            | Self::WrongCredential
            | Self::AccountPassword
            | Self::InsufficientRights(_)
            | Self::DeniedByPolicy(_)
            | Self::TagRules(_)
            | Self::CatalogClosed => true,
            Self::Request(_)
            | Self::OtherSpelling(_)
            | Self::Framing(_)
            | Self::NoCredential
            | Self::TokenRequest(_)
            | Self::ReadOnly
            | Self::ProviderUnavailable { .. }
            | Self::FailureBudgetSpent { .. }
            | Self::Limited { .. }
            | Self::NotAudited
            | Self::UnknownUpload
            | Self::UpstreamGrantsNothing { .. }
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
