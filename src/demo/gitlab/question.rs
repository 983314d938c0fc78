//! What a registry, or a gate in front of one, asks of the token endpoint.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};
use secrecy::SecretString;

use crate::demo::web::Query;

/// One question, as it arrived.
#[derive(Clone, Debug)]
pub struct Question {
    /// The user name of the Basic credential, where there is one.
    pub user: Option<String>,
    /// Its password.
    pub secret: Option<SecretString>,
    pub service: Option<String>,
    /// The scopes, whether `scope` was repeated or held several.
    pub scopes: Vec<String>,
    pub account: Option<String>,
    pub client_id: Option<String>,
    /// `X-Forwarded-For`, several lines joined by a comma.
    pub forwarded_for: Option<String>,
    pub request_id: Option<String>,
    pub asked_at: Instant,
}

impl Question {
    pub(super) fn read(query: Option<&str>, headers: &HeaderMap) -> Self {
        let query = Query::parse(query);
        let parameter = |key| query.first(key).map(str::to_owned);
        let (user, secret) = basic_credential(headers).unzip();
        Self {
            user,
            secret,
            service: parameter("service"),
            scopes: query.all("scope").flat_map(str::split_ascii_whitespace).map(str::to_owned).collect(),
            account: parameter("account"),
            client_id: parameter("client_id"),
            forwarded_for: header(headers, HeaderName::from_static("x-forwarded-for")),
            request_id: header(headers, HeaderName::from_static("x-request-id")),
            asked_at: Instant::now(),
        }
    }
}

/// The credential of an `Authorization: Basic` line; GitLab overlooks every other scheme here.
fn basic_credential(headers: &HeaderMap) -> Option<(String, SecretString)> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).unwrap_or_default();
    let decoded = String::from_utf8_lossy(&decoded);
    let (user, password) = decoded.split_once(':').unwrap_or((&decoded, ""));
    Some((user.to_owned(), SecretString::from(password)))
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}
