//! `POST /revoke`: drops everything that is known about a credential at once, for an incident that
//! cannot wait for `cache.ttl`.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::framing;
use crate::gate::Gate;
use crate::identity::model::credential::Credential;
use crate::identity::model::keyed_hash::Fingerprint;
use crate::identity::model::revocation::Revoked;
use crate::replicas::Replicas;

/// The largest form, in bytes: the largest secret with every byte escaped, and some room.
const MAX_FORM_BYTES: usize = 64 * 1024;

/// The longest time to wait for the form. Operators send one line.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

/// The error of a form with other fields.
const ONE_FIELD: &str = "send one form field: token with the secret itself, or credential with the \
                         fingerprint from the logs";

/// Revokes the token or credential that the form names, at all replicas. The operator must present
/// `token`.
pub(super) async fn revoke(
    request: Request<Incoming>,
    token: Option<&SecretString>,
    gate: &Gate,
    replicas: Option<&Replicas>,
) -> Response<Full<Bytes>> {
    match try_to(request, token, gate).await {
        Ok(what) => {
            // The other replicas are told even if the operator hangs up, which drops this future
            // at the next wait.
            let at = gate.identity.revoker().revoke(&what).unix_micros;
            match replicas {
                None => answer(StatusCode::OK, &json!({ "revoked": true })),
                Some(replicas) => {
                    let confirmed = replicas.publish(&what, at).await;
                    answer(StatusCode::OK, &json!({ "revoked": true, "replicas": confirmed }))
                }
            }
        }
        Err((status, why)) => {
            let mut response = answer(status, &json!({ "error": why }));
            if status == StatusCode::UNAUTHORIZED {
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

type Refusal = (StatusCode, &'static str);

async fn try_to(
    request: Request<Incoming>,
    token: Option<&SecretString>,
    gate: &Gate,
) -> Result<Vec<Revoked>, Refusal> {
    let Some(token) = token else {
        return Err((
            StatusCode::FORBIDDEN,
            "revocation is off; set admin.token_file in the config to use it",
        ));
    };
    if !is_authorized(request.headers(), token) {
        return Err((
            StatusCode::UNAUTHORIZED,
            "the Authorization header is missing or wrong; send Authorization: Bearer with the \
             content of admin.token_file",
        ));
    }
    if !framing::is_form(request.headers()) {
        return Err((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body is not a form; send Content-Type: application/x-www-form-urlencoded",
        ));
    }
    let body = Limited::new(request.into_body(), MAX_FORM_BYTES).collect();
    let Ok(Ok(form)) = tokio::time::timeout(FORM_TIMEOUT, body).await else {
        return Err((
            StatusCode::BAD_REQUEST,
            "the form cannot be read; send at most 64 KiB within 10 s",
        ));
    };
    let form = form.to_bytes();
    let mut fields = form_urlencoded::parse(&form);
    let (Some((name, value)), None) = (fields.next(), fields.next()) else {
        return Err((StatusCode::BAD_REQUEST, ONE_FIELD));
    };
    match &*name {
        "token" => {
            // Pasted text often has more around it than the secret. Without this, the answer would
            // be a success although nothing was revoked.
            let secret = pasted(&value);
            if secret.is_empty() || secret.contains(char::is_control) {
                return Err((
                    StatusCode::BAD_REQUEST,
                    "token must be the secret itself, on one line",
                ));
            }
            let Ok(credential) = gate.tokens.credential_in(SecretString::from(secret)) else {
                return Err((
                    StatusCode::BAD_REQUEST,
                    "the gate token or refresh token has expired, or this gate did not issue it; \
                     send the fingerprint of its credential from the logs",
                ));
            };
            if matches!(credential, Credential::Anonymous) {
                return Err((
                    StatusCode::BAD_REQUEST,
                    "the gate token contains no credential; it was issued to an anonymous caller",
                ));
            }
            tracing::warn!("an operator has revoked a secret");
            Ok(gate.identity.revoker().revocable(&credential))
        }
        "credential" => {
            let Some(fingerprint) = Fingerprint::parse(&value) else {
                return Err((
                    StatusCode::BAD_REQUEST,
                    "credential must be the fingerprint from the logs: 16 hexadecimal digits",
                ));
            };
            tracing::warn!(credential = %fingerprint, "an operator has revoked a credential");
            Ok(vec![Revoked::Credential(fingerprint)])
        }
        _ => Err((StatusCode::BAD_REQUEST, ONE_FIELD)),
    }
}

/// Returns the secret in the text that an operator pasted, without a header's name and scheme,
/// quotes, blanks and line feeds.
fn pasted(text: &str) -> &str {
    let is_around = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`');
    let mut secret = text.trim_matches(is_around);
    for before in ["authorization:", "bearer "] {
        let (start, rest) = secret.split_at_checked(before.len()).unwrap_or_default();
        if start.eq_ignore_ascii_case(before) {
            secret = rest.trim_matches(is_around);
        }
    }
    secret
}

/// Returns whether the request presents this token (RFC 6750, 2.1).
fn is_authorized(headers: &HeaderMap, token: &SecretString) -> bool {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    let presented = line.as_bytes().strip_prefix(b"Bearer ");
    presented
        .is_some_and(|it| verify_slices_are_equal(it, token.expose_secret().as_bytes()).is_ok())
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.to_string().into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
