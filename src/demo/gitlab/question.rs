//! The questions that a registry, or a gate in front of one, asks the token endpoint.

use std::time::Instant;

use http::HeaderMap;
use secrecy::SecretString;

use crate::demo::web::{self, Query};

/// One question, as it arrived.
#[derive(Clone, Debug)]
pub struct Question {
    /// The user name of the Basic credential. `None` if the request has no Basic credential.
    pub user: Option<String>,
    /// The password of the Basic credential.
    pub secret: Option<SecretString>,
    pub service: Option<String>,
    /// The requested scopes, collected from repeated `scope` parameters and from parameters with
    /// several scopes.
    pub scopes: Vec<String>,
    pub account: Option<String>,
    pub client_id: Option<String>,
    /// The lines of `X-Forwarded-For`, as the client sent them.
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
