//! Answers of the gate's own: OCI error JSON, the challenge, and the headers that every answer
//! carries.

mod challenge;

use std::rc::Rc;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

use crate::body::{Progress, ResponseBody};
use crate::denial::{Denial, RuleRefusal, TokenRequestError};
use crate::registry::{Access, CatalogPage, RepositoryName, RequestError};
use crate::token_service;
use challenge::ChallengeError;

pub use challenge::Challenge;

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What answers need to know of the config.
pub struct Responder {
    challenge: Challenge,
    /// How the token service itself asks for a credential.
    basic: Challenge,
}

/// A request that is refused.
pub struct RefusedRequest<'a> {
    /// What came.
    pub head: &'a Parts,
    /// What it takes, as far as it was understood; a mount takes two things.
    pub needed: &'a [Option<Access>; 2],
    /// How the caller showed who it is.
    pub kind: &'static str,
}

impl Responder {
    /// Answers for the registry that clients know as `service`.
    ///
    /// # Errors
    /// Where the name cannot stand in a header.
    pub fn new(service: &str, challenge: Challenge) -> Result<Self, header::InvalidHeaderValue> {
        Ok(Self { challenge, basic: Challenge::basic(service)? })
    }

    /// A token that was asked for.
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

    /// `GET /v2/` with a valid credential.
    pub fn pong(&self, method: &Method, progress: &Rc<Progress>) -> Response<ResponseBody> {
        json(StatusCode::OK, Bytes::from_static(b"{}"), method, progress)
    }

    /// A page of the list of all repositories.
    pub fn catalog(&self, page: &CatalogPage, progress: &Rc<Progress>) -> Response<ResponseBody> {
        let names = page.names.iter().map(RepositoryName::as_str).collect();
        // Strings are always JSON.
        let body = serde_json::to_vec(&Catalog { repositories: names }).unwrap_or_default();
        let mut response = json(StatusCode::OK, body.into(), &Method::GET, progress);
        let link =
            page.next.as_ref().map(|next| HeaderValue::try_from(format!("<{next}>; rel=\"next\"")));
        if let Some(Ok(link)) = link {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }

    /// A refusal, as [`Denial::wire`] decides.
    pub fn denial(
        &self,
        denial: &Denial,
        refused: &RefusedRequest<'_>,
        progress: &Rc<Progress>,
    ) -> Response<ResponseBody> {
        let (mut status, mut code, _) = denial.wire();
        let at_token_service = refused.head.uri.path() == token_service::PATH;
        let challenge = if at_token_service { &self.basic } else { &self.challenge };
        // With a token that is good and does not reach, clients come back with another one if they
        // are told so (RFC 6750, 3.1). To Basic there is nothing else to send.
        let fault = match denial {
            // A tag is in no token, so for one another token would be no better.
            Denial::InsufficientRights(_)
            | Denial::InsufficientScope
            | Denial::CatalogClosed
            | Denial::DeniedByPolicy(RuleRefusal::Action(_))
                if challenge.is_bearer() && matches!(refused.kind, "bearer" | "gate_token") =>
            {
                (status, code) = (StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
                Some(ChallengeError::InsufficientScope)
            }
            Denial::NoCredential => None,
            _ => Some(ChallengeError::InvalidToken),
        };
        let body = if at_token_service && refused.head.method == Method::POST {
            serde_json::to_vec(&OAuthError {
                error: denial.oauth_code(),
                error_description: denial.message(),
            })
        } else {
            let error = OciError { code, message: denial.message(), detail: denial.detail() };
            serde_json::to_vec(&OciErrors { errors: [error] })
        };
        // Strings are always JSON.
        let mut response =
            json(status, body.unwrap_or_default().into(), &refused.head.method, progress);
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            let message = denial.message();
            let fault = fault.map(|fault| (fault, &*message));
            headers.insert(header::WWW_AUTHENTICATE, challenge.line(refused.needed, fault));
        }
        if at_token_service || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if let Some(seconds) = denial.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // RFC 9110, 15.5.6
        let allow = match denial {
            Denial::Request(RequestError::MethodNotAllowed { allow }) => Some(*allow),
            Denial::TokenRequest(TokenRequestError::Method) => Some("GET, POST"),
            _ => None,
        };
        if let Some(allow) = allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }

    /// What every answer carries. `close` says that the connection ends with it.
    pub fn finish(&self, response: &mut Response<ResponseBody>, request_id: &str, close: bool) {
        let headers = response.headers_mut();
        headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        if let Ok(request_id) = HeaderValue::from_str(request_id) {
            headers.insert(REQUEST_ID, request_id);
        }
        if close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Distribution's HTTP API, "Listing Repositories".
#[derive(Serialize)]
struct Catalog<'a> {
    repositories: Vec<&'a str>,
}

/// RFC 6749, 5.2
#[derive(Serialize)]
struct OAuthError {
    error: &'static str,
    error_description: String,
}

/// OCI distribution spec, "Error Codes".
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
    // The answer to HEAD has the length of the answer to GET and no body (RFC 9110, 9.3.2).
    let body = if method == Method::HEAD { Bytes::new() } else { body };
    let mut response = Response::new(ResponseBody::fixed(body, progress.clone()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}
