//! What a registry, or a gate in front of one, asks of the token endpoint.

use std::time::Instant;

use http::HeaderMap;
use secrecy::SecretString;

use crate::demo::web::{self, Query};

/// One question, as it arrived.
#[derive(Clone, Debug)]
pub struct Question {
    /// The user name of the Basic credential. `None` where there is no such credential at all.
    pub user: Option<String>,
    /// Its password.
    pub secret: Option<SecretString>,
    pub service: Option<String>,
    /// The scopes, whether `scope` was repeated or held several.
    pub scopes: Vec<String>,
    pub account: Option<String>,
    pub client_id: Option<String>,
    /// The lines of `X-Forwarded-For`, as they were sent.
    pub forwarded_for: Vec<String>,
    pub request_id: Option<String>,
    pub asked_at: Instant,
}

impl Question {
    pub(super) fn read(query: Option<&str>, headers: &HeaderMap) -> Self {
        let query = Query::parse(query);
        let parameter = |key| query.first(key).map(str::to_owned);
        let (user, secret) = web::basic_credential(headers).unzip();
        Self {
            user,
            secret,
            service: parameter("service"),
            scopes: query
                .all("scope")
                .flat_map(str::split_ascii_whitespace)
                .map(str::to_owned)
                .collect(),
            account: parameter("account"),
            client_id: parameter("client_id"),
            forwarded_for: web::lines(headers, "x-forwarded-for").collect(),
            request_id: web::lines(headers, "x-request-id").next(),
            asked_at: Instant::now(),
        }
    }
}
