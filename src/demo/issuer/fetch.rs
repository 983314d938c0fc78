//! The HTTP requests that an issuer receives.

use std::time::Instant;

use http::Request;
use secrecy::SecretString;

use crate::demo::web;

/// One request, of any path.
#[derive(Clone, Debug)]
pub struct Fetch {
    pub path: String,
    /// The query. A client has no reason to send one.
    pub query: Option<String>,
    /// The lines of `Authorization`. A client has no reason to send them either.
    pub authorization: Vec<SecretString>,
    pub request_id: Option<String>,
    pub asked_at: Instant,
}

impl Fetch {
    pub(super) fn read<B>(request: &Request<B>) -> Self {
        Self {
            path: request.uri().path().to_owned(),
            query: request.uri().query().map(str::to_owned),
            authorization: web::lines(request.headers(), "authorization")
                .map(SecretString::from)
                .collect(),
            request_id: web::lines(request.headers(), "x-request-id").next(),
            asked_at: Instant::now(),
        }
    }
}
