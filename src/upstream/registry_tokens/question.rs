//! The question to a token server, and its reply.

use std::time::{Duration, Instant};

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;
use zeroize::Zeroizing;

use super::realm::Realm;
use super::{IssuedToken, TokenQuestion, TokenSettings};
use crate::denial::UpstreamFault;
use crate::http_client::AskError;
use crate::strict_json;

/// The lifetime of a token whose reply states none (Distribution, "Token Authentication
/// Specification").
const DEFAULT_LIFETIME: u64 = 60;

/// The shortest lifetime that is believed, in seconds.
const MIN_LIFETIME: u64 = 10;

/// The longest, in seconds. A reply that states more is not worth trusting for longer.
const MAX_LIFETIME: u64 = 24 * 60 * 60;

/// The largest token, in bytes. A request with a longer one fits into no registry's headers.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// An answer without a token, or no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenFailure {
    #[error("{0}")]
    NotReached(AskError),
    #[error("it answered {0}")]
    Unavailable(StatusCode),
    #[error("it answered {status}{}", status.remedy())]
    Refused { status: RefusalStatus },
    #[error("its reply {0}")]
    Unreadable(&'static str),
}

/// The status of a refusal.
#[derive(Debug)]
pub(super) struct RefusalStatus(StatusCode);

impl std::fmt::Display for RefusalStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.as_u16())
    }
}

impl RefusalStatus {
    fn remedy(&self) -> &'static str {
        match self.0 {
            StatusCode::UNAUTHORIZED => {
                "; check upstream.username and upstream.password_file, or set them if it does not \
                 answer anonymous callers"
            }
            StatusCode::FORBIDDEN => "; the gate's account may not do this",
            status if status.is_redirection() => "; the gate does not follow its redirects",
            _ => "",
        }
    }
}

impl TokenFailure {
    /// Returns the fault that the client is told of.
    pub(super) fn fault(&self) -> UpstreamFault {
        match self {
            Self::NotReached(AskError::Timeout(_) | AskError::Connection(_) | AskError::Tls(_))
            | Self::Unavailable(_) => UpstreamFault::TokenServerUnavailable,
            Self::Refused { status: RefusalStatus(StatusCode::FORBIDDEN) } => {
                UpstreamFault::TokenServerForbids
            }
            Self::NotReached(AskError::NotHttp(_) | AskError::Body { .. })
            | Self::Refused { .. }
            | Self::Unreadable(_) => UpstreamFault::TokenServerRefused,
        }
    }
}

/// Asks for a token.
pub(super) async fn ask(
    settings: &TokenSettings,
    realm: &Realm,
    key: &TokenQuestion,
    request_id: &str,
) -> Result<IssuedToken, TokenFailure> {
    let request = request(settings, realm, key, request_id);
    let request = request.map_err(|_| TokenFailure::Unreadable("would not fit into a request"))?;
    let asked = Instant::now();
    let client = if realm.is_own { &settings.own_client } else { &settings.client };
    let reply = client.ask(request).await.map_err(TokenFailure::NotReached)?;
    match reply.status {
        StatusCode::OK => read(&reply.body, asked),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(TokenFailure::Unavailable(status))
        }
        status => Err(TokenFailure::Refused { status: RefusalStatus(status) }),
    }
}

fn request(
    settings: &TokenSettings,
    realm: &Realm,
    key: &TokenQuestion,
    request_id: &str,
) -> http::Result<Request<Full<Bytes>>> {
    let mut address = realm.address.text();
    address.push(if address.contains('?') { '&' } else { '?' });
    let start = address.len();
    let mut query = Serializer::for_suffix(address, start);
    if let Some(service) = &key.service {
        query.append_pair("service", service);
    }
    for scope in key.scope.each() {
        query.append_pair("scope", scope);
    }
    if !settings.user.is_empty() {
        query.append_pair("account", &settings.user);
    }
    let mut request = Request::get(query.finish())
        .header(header::ACCEPT, "application/json")
        .header("x-request-id", request_id);
    if let Some(account) = &settings.account {
        request = request.header(header::AUTHORIZATION, account.clone());
    }
    request.body(Full::default())
}

/// Reads the reply of a token server. Its media type says nothing: GHCR calls it plain text.
fn read(body: &[u8], asked: Instant) -> Result<IssuedToken, TokenFailure> {
    use TokenFailure::Unreadable;
    let reply = strict_json::object(body).map_err(|_| Unreadable("is not a JSON object"))?;
    let text = |name: &str| match reply.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(Unreadable("has a token that is not a text")),
    };
    let token = match (text("token")?, text("access_token")?) {
        (Some(token), Some(other)) if token != other => {
            return Err(Unreadable("has two different tokens"));
        }
        (Some(token), _) | (None, Some(token)) => token,
        (None, None) => return Err(Unreadable("has no token")),
    };
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Unreadable("has a token of more than 16 KiB"));
    }
    let line = Zeroizing::new(format!("Bearer {token}"));
    // A token contains no blank (RFC 6750, 2.1), and nothing that would end the header.
    let is_token = token.bytes().all(|byte| byte.is_ascii_graphic());
    let authorization = HeaderValue::from_str(&line).ok().filter(|_| is_token);
    let mut authorization =
        authorization.ok_or(Unreadable("has a token with characters that no token has"))?;
    authorization.set_sensitive(true);
    let stated = match reply.get("expires_in") {
        None | Some(Value::Null) => None,
        // Some servers write the number as a text, or with a fraction.
        Some(Value::String(text)) => text.parse().ok(),
        Some(number) => number.as_f64(),
    };
    Ok(IssuedToken { authorization, lifetime: usable(stated), obtained: asked })
}

/// Returns the time for which a token is used: 90 % of its lifetime, so that it does not end on the
/// way.
fn usable(stated: Option<f64>) -> Duration {
    let seconds = match stated {
        Some(seconds) if seconds >= 0.0 => seconds.clamp(MIN_LIFETIME as f64, MAX_LIFETIME as f64),
        Some(_) => MIN_LIFETIME as f64,
        None => DEFAULT_LIFETIME as f64,
    };
    Duration::from_secs_f64(seconds * 0.9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(body: &str) -> Option<(String, u64)> {
        let token = read(body.as_bytes(), Instant::now()).ok()?;
        Some((
            token.authorization.to_str().unwrap().to_owned(),
            token.lifetime.as_millis().try_into().unwrap(),
        ))
    }

    #[test]
    fn replies_of_all_forms_are_read() {
        for (body, lifetime) in [
            (r#"{"token":"x"}"#, 54_000),
            (r#"{"access_token":"x","expires_in":300}"#, 270_000),
            (r#"{"token":"x","access_token":"x","expires_in":300,"issued_at":"…"}"#, 270_000),
            (r#"{"token":"x","expires_in":"300"}"#, 270_000),
            (r#"{"token":"x","expires_in":null}"#, 54_000),
            (r#"{"token":"x","expires_in":1}"#, 9_000),
            (r#"{"token":"x","expires_in":-5}"#, 9_000),
            (r#"{"token":"x","expires_in":1e30}"#, 77_760_000),
        ] {
            assert_eq!(token(body), Some(("Bearer x".into(), lifetime)), "{body}");
        }
    }

    #[test]
    fn other_replies_are_not() {
        let long = format!(r#"{{"token":"{}"}}"#, "a".repeat(MAX_TOKEN_BYTES + 1));
        for body in [
            "",
            "[]",
            "{}",
            r#"{"token":""}"#,
            r#"{"token":1}"#,
            r#"{"token":"a","access_token":"b"}"#,
            r#"{"token":"a","token":"b"}"#,
            r#"{"token":"a b"}"#,
            r#"{"token":"a\r\nX: y"}"#,
            r#"{"token":"a"} {}"#,
            &long,
        ] {
            assert_eq!(token(body), None, "{}", body.get(..40).unwrap_or(body));
        }
    }
}
