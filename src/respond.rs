//! The responses that the gate itself gives: OCI error JSON, the challenge, and the header fields
//! of every response.

mod challenge;

use std::rc::Rc;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

use crate::body::{Progress, ResponseBody};
use crate::denial::{Answer, Denial, ErrorCode, RuleRefusal, TokenRequestError};
use crate::identity::model::credential::CredentialKind;
use crate::registry::{Access, CatalogPage, RepositoryName, RequestError};
use crate::request_id::RequestId;
use crate::token_service;
use challenge::ChallengeError;

pub use challenge::Challenge;

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The settings of the config that responses depend on.
pub struct Responder {
    service: String,
    challenge: Challenge,
    /// The challenge of the token service itself.
    basic: Challenge,
}

/// A request that is refused.
pub struct DeniedRequest<'a> {
    /// The head of the request.
    pub head: &'a Parts,
    /// The access that the request needs, as far as it was understood. A mount needs two.
    pub needed: &'a [Option<Access>; 2],
    /// The kind of the presented credential.
    pub kind: CredentialKind,
}

impl Responder {
    /// Creates the responder of the registry that clients know as `service`.
    ///
    /// # Errors
    /// An error if `service` is not valid in a header field.
    pub fn new(service: &str, challenge: Challenge) -> Result<Self, header::InvalidHeaderValue> {
        Ok(Self { service: service.to_owned(), challenge, basic: Challenge::basic(service)? })
    }

    /// Returns the response with an issued token.
    pub fn token(
        &self,
        issued: &token_service::Issued,
        progress: &Rc<Progress>,
    ) -> Response<ResponseBody> {
        let body = Bytes::from_owner(issued.to_json());
        let mut response = json(StatusCode::OK, body, &Method::GET, progress);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// Returns the response to `GET /v2/` with a valid credential.
    pub fn pong(&self, method: &Method, progress: &Rc<Progress>) -> Response<ResponseBody> {
        json(StatusCode::OK, Bytes::from_static(b"{}"), method, progress)
    }

    /// Returns the response with a page of the list of all repositories.
    pub fn catalog(&self, page: &CatalogPage, progress: &Rc<Progress>) -> Response<ResponseBody> {
        let names = page.names.iter().map(RepositoryName::as_str).collect();
        // Strings are always valid JSON.
        let body = serde_json::to_vec(&Catalog { repositories: names }).unwrap_or_default();
        let mut response = json(StatusCode::OK, body.into(), &Method::GET, progress);
        let link =
            page.next.as_ref().map(|next| HeaderValue::try_from(format!("<{next}>; rel=\"next\"")));
        if let Some(Ok(link)) = link {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }

    /// Returns the message for the user about a denial.
    pub fn message(&self, denial: &Denial) -> String {
        denial.message(&self.service)
    }

    /// Returns the response to a refused request, as [`Denial::answer`] defines it.
    pub fn denial(
        &self,
        denial: &Denial,
        refused: &DeniedRequest<'_>,
        progress: &Rc<Progress>,
    ) -> Response<ResponseBody> {
        let Answer { mut status, mut code, .. } = denial.answer();
        let at_token_service = refused.head.uri.path() == token_service::PATH;
        let challenge = if at_token_service { &self.basic } else { &self.challenge };
        // Clients with a valid token of insufficient scope fetch another token only if a 401 tells
        // them to (RFC 6750, section 3.1). A caller with Basic credentials has no other credential
        // to send.
        let fault = match denial {
            // Refusals of a tag keep their 403: tokens contain no tags, so another token would not
            // help.
            Denial::InsufficientRights(_)
            | Denial::InsufficientScope(_)
            | Denial::CatalogClosed
            | Denial::DeniedByPolicy(RuleRefusal::Action(_))
                if challenge.is_bearer()
                    && matches!(
                        refused.kind,
                        CredentialKind::Bearer | CredentialKind::GateToken
                    ) =>
            {
                (status, code) = (StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized);
                Some(ChallengeError::InsufficientScope)
            }
            Denial::NoCredential => None,
            _ => Some(ChallengeError::InvalidToken),
        };
        let message = self.message(denial);
        let body = if at_token_service && refused.head.method == Method::POST {
            serde_json::to_vec(&OAuthError {
                error: denial.oauth_code(),
                error_description: message.clone(),
            })
        } else {
            let error =
                OciError { code: code.as_str(), message: message.clone(), detail: denial.detail() };
            serde_json::to_vec(&OciErrors { errors: [error] })
        };
        // Strings are always valid JSON.
        let mut response =
            json(status, body.unwrap_or_default().into(), &refused.head.method, progress);
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            let fault = fault.map(|fault| (fault, &*message));
            headers.insert(header::WWW_AUTHENTICATE, challenge.line(refused.needed, fault));
        }
        if at_token_service || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if let Some(seconds) = denial.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // RFC 9110, section 15.5.6, requires `Allow` in a 405.
        let allow = match denial {
            Denial::Request(RequestError::MethodNotAllowed { allow }) => Some(*allow),
            Denial::TokenRequest(TokenRequestError::Method) => Some("GET, POST"),
            Denial::ReadOnly => Some("GET, HEAD"),
            _ => None,
        };
        if let Denial::OtherSpelling(target) = denial
            && let Ok(target) = HeaderValue::try_from(&**target)
        {
            headers.insert(header::LOCATION, target);
        }
        if let Some(allow) = allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }

    /// Adds the header fields that every response carries. `close`: the connection ends with this
    /// response.
    pub fn finish(
        &self,
        response: &mut Response<ResponseBody>,
        request_id: &RequestId,
        close: bool,
    ) {
        let headers = response.headers_mut();
        headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        headers.insert(REQUEST_ID, request_id.header());
        if close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// The body of Distribution's HTTP API, "Listing Repositories".
#[derive(Serialize)]
struct Catalog<'a> {
    repositories: Vec<&'a str>,
}

/// The error body of RFC 6749, section 5.2.
#[derive(Serialize)]
struct OAuthError {
    error: &'static str,
    error_description: String,
}

/// The error body of the OCI distribution spec, "Error Codes".
#[derive(Serialize)]
struct OciErrors {
    errors: [OciError; 1],
}

#[derive(Serialize)]
struct OciError {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

fn json(
    status: StatusCode,
    body: Bytes,
    method: &Method,
    progress: &Rc<Progress>,
) -> Response<ResponseBody> {
    let length = HeaderValue::from(body.len());
    // The response to HEAD has the length of the response to GET and no body (RFC 9110, section
    // 9.3.2).
    let body = if method == Method::HEAD { Bytes::new() } else { body };
    let mut response = Response::new(ResponseBody::fixed(body, progress.clone()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}
