//! The questions that a gate asks an introspection endpoint (RFC 7662, section 2.1).

use std::time::Instant;

use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};

use crate::demo::web::{self, Query};

/// One question, as it arrived.
#[derive(Clone, Debug)]
pub struct Question {
    /// The token to introspect. `None` if the form has no token.
    pub token: Option<SecretString>,
    pub token_type_hint: Option<String>,
    /// The user name of the Basic credential, still form-encoded. `None` if the request has no
    /// Basic credential.
    pub client_id: Option<String>,
    /// The password of the Basic credential, still form-encoded.
    pub client_secret: Option<SecretString>,
    pub content_type: Option<String>,
    pub request_id: Option<String>,
    pub asked_at: Instant,
}

impl Question {
    pub(super) fn read(headers: &HeaderMap, form: &[u8]) -> Self {
        let form = Query::parse(Some(&String::from_utf8_lossy(form)));
        let (client_id, client_secret) = web::basic_credential(headers).unzip();
        Self {
            token: form.first("token").map(SecretString::from),
            token_type_hint: form.first("token_type_hint").map(str::to_owned),
            client_id,
            client_secret,
            content_type: web::lines(headers, "content-type").next(),
            request_id: web::lines(headers, "x-request-id").next(),
            asked_at: Instant::now(),
        }
    }

    /// Returns whether this client sent the question. OAuth form-encodes the ID and the secret in a
    /// Basic credential (RFC 6749, section 2.3.1).
    pub(super) fn is_of(&self, id: &str, secret: &str) -> bool {
        let (Some(asked_id), Some(asked_secret)) = (&self.client_id, &self.client_secret) else {
            return false;
        };
        web::unescape(asked_id) == id && web::unescape(asked_secret.expose_secret()) == secret
    }

    pub(super) fn is_form(&self) -> bool {
        let essence = self
            .content_type
            .as_deref()
            .and_then(|value| value.split(';').next())
            .unwrap_or_default();
        essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
    }
}
