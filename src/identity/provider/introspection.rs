//! A server that validates tokens (OAuth 2.0 Token Introspection, RFC 7662).
//!
//! One question decides about one token for all repositories: the scopes in the reply hold
//! everywhere.

pub mod reply;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use form_urlencoded::byte_serialize;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

pub use reply::Expected;
use reply::{ActiveToken, TokenState};

use super::common::last_fault::LastFault;
use super::common::log_topic::LogTopic;
use super::common::scope_lists::ScopeLists;
use super::common::sources::Sources;
use crate::http_client::{HttpClient, HttpServer, RETRY_AFTER, Reply};
use crate::identity::model::credential::{Credential, basic};
use crate::identity::model::unix_time::unix_now;
use crate::identity::model::{
    Attributes, Granted, Lifetime, NotNow, Principal, Question, Verdict, Verified,
};
use crate::log_throttle::LogThrottle;
use crate::strict_json;

/// The settings of a provider with `type: introspection`.
#[derive(Clone, Debug)]
pub struct IntrospectionSettings {
    /// The introspection endpoint.
    pub server: HttpServer,
    /// The id of the gate as a client of the server, without control characters.
    pub client_id: String,
    /// The secret of the client id.
    pub client_secret: SecretString,
    /// The requirements on the reply.
    pub expected: Expected,
}

impl IntrospectionSettings {
    /// Creates the provider.
    ///
    /// # Errors
    /// If the system's certificate authorities are needed and cannot be read, or if `client_id` and
    /// the secret are too long for a header.
    pub fn build(self, name: Arc<str>) -> io::Result<Introspection> {
        let client = HttpClient::for_server(&self.server)?;
        let Self { server, client_id, client_secret, expected } = self;
        let url = server.endpoint.url();
        Introspection::new(name, url, client_id, &client_secret, expected, client).ok_or_else(
            || io::Error::other("identity: client_id and its secret are too long for a header"),
        )
    }
}

/// One introspection endpoint.
pub struct Introspection {
    sources: Sources,
    url: String,
    client_id: String,
    /// The credential with which the gate authenticates itself to the endpoint.
    authorization: HeaderValue,
    expected: Expected,
    scopes: ScopeLists,
    client: HttpClient,
    log_throttle: LogThrottle,
    last_fault: LastFault,
}

impl Introspection {
    /// Creates a provider for the endpoint at `url`, which is asked as the client `client_id`.
    /// Returns `None` if the id and the secret are too long for a header.
    pub fn new(
        name: Arc<str>,
        url: String,
        client_id: String,
        client_secret: &SecretString,
        expected: Expected,
        client: HttpClient,
    ) -> Option<Self> {
        let authorization = client_authorization(&client_id, client_secret)?;
        let (sources, scopes) = (Sources::new(name), ScopeLists::default());
        Some(Self {
            sources,
            url,
            client_id,
            authorization,
            expected,
            scopes,
            client,
            log_throttle: LogThrottle::default(),
            last_fault: LastFault::default(),
        })
    }

    /// Asks the endpoint about the Bearer token, or about the password of Basic.
    pub async fn ask(&self, question: &Question) -> Verdict {
        let (user, token) = match &question.credential {
            Credential::Anonymous => return Verdict::NotMine,
            Credential::Basic { user, password } => (Some(user.as_str()), password),
            Credential::Bearer(token) => (None, token),
        };
        let Some(request) = self.request(&question.request_id, token) else {
            return self.unavailable(question, "the gate cannot build the request");
        };
        question.sends(&request);
        let reply = match self.client.ask(request).await {
            Ok(reply) => reply,
            Err(error) => return self.unavailable(question, &error.to_string()),
        };
        question.receives(reply.status);
        if reply.status != StatusCode::OK {
            return self.no_verdict(question, &reply);
        }
        match reply::read(&reply.body, &self.expected, user, unix_now()) {
            Ok(TokenState::NotMine) => Verdict::NotMine,
            Ok(TokenState::NotForHere(why)) => {
                tracing::info!(
                    provider = %self.sources.provider(),
                    request_id = %question.request_id,
                    "an active token was refused: {why}"
                );
                Verdict::NotMine
            }
            Ok(TokenState::NoAccessToken) => Verdict::Unfit,
            Ok(TokenState::Active(token)) => {
                if let Some(odd) = token.odd.text()
                    && let Some(left_out) = self.line(LogTopic::Odd)
                {
                    tracing::warn!(
                        provider = %self.sources.provider(),
                        request_id = %question.request_id,
                        left_out,
                        "the reply is unusual and was accepted: {odd}"
                    );
                }
                self.verified(token)
            }
            Err(error) => self.unavailable(question, &error.to_string()),
        }
    }

    /// Returns the last error.
    pub fn last_fault(&self) -> &LastFault {
        &self.last_fault
    }

    /// Returns whether the endpoint answers at all. The question is about the empty token, so no
    /// caller can influence the outcome.
    pub async fn is_up(&self) -> bool {
        let Some(request) = self.request("moorgate", &SecretString::from("")) else { return false };
        let Ok(reply) = self.client.ask(request).await else { return false };
        match reply.status {
            // Some servers reply with fewer members to a text that is not a token, so any JSON
            // object counts.
            StatusCode::OK => strict_json::object(&reply.body).is_ok(),
            status => !status.is_server_error(),
        }
    }

    fn request(&self, request_id: &str, token: &SecretString) -> Option<Request<Full<Bytes>>> {
        let token = token.expose_secret().as_bytes();
        // The capacity is the largest possible length, because a reallocation would leave a copy of
        // the token. The form is zeroed when it has been sent.
        let mut form = Zeroizing::new(String::with_capacity(6 + 3 * token.len() + 29));
        form.push_str("token=");
        form.extend(byte_serialize(token));
        form.push_str("&token_type_hint=access_token");
        Request::post(&self.url)
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .header("x-request-id", request_id)
            .body(Full::new(Bytes::from_owner(Form(form))))
            .ok()
    }

    /// Returns the verdict for a reply whose status is not 200. A 4xx concerns this question or the
    /// config and must not count as an outage: otherwise, a caller that can make its own question
    /// fail could cause one.
    fn no_verdict(&self, question: &Question, reply: &Reply) -> Verdict {
        let misconfigured = |why: &str| {
            self.last_fault.note(&format!("status {}: {why}", reply.status.as_u16()));
            if let Some(left_out) = self.line(LogTopic::Misconfigured) {
                tracing::error!(
                    provider = %self.sources.provider(),
                    request_id = %question.request_id,
                    left_out,
                    status = reply.status.as_u16(),
                    "{why}"
                );
            }
            Verdict::NotNow(NotNow::Misconfigured, RETRY_AFTER)
        };
        match reply.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => misconfigured(&format!(
                "the introspection endpoint refuses the gate itself; check client_id ({}) and \
                 client_secret_file",
                self.client_id
            )),
            StatusCode::TOO_MANY_REQUESTS => {
                self.last_fault.note("status 429");
                if let Some(left_out) = self.line(LogTopic::Busy) {
                    tracing::warn!(
                        provider = %self.sources.provider(),
                        request_id = %question.request_id,
                        left_out,
                        "the introspection endpoint answered 429, because the gate asks it too \
                         often; check its rate limits"
                    );
                }
                Verdict::NotNow(NotNow::Busy, reply.retry_after())
            }
            status if status.is_client_error() => misconfigured(
                "the introspection endpoint refused the request; check url, which must be the \
                 endpoint's own address",
            ),
            status if status.is_redirection() => self.unavailable(
                question,
                &format!("status {status}; the gate follows no redirect; check url"),
            ),
            status => self.unavailable(question, &format!("status {status}")),
        }
    }

    fn verified(&self, token: ActiveToken) -> Verdict {
        let principal =
            Principal { source: self.sources.typed(None), subject: token.subject.into() };
        let granted = Granted::Scopes(self.scopes.shared(&token.scopes));
        let attributes = Attributes { groups: token.groups, ..Attributes::default() };
        let attributes =
            Some(attributes).filter(|attributes| !attributes.groups.is_empty()).map(Box::new);
        let lifetime = Lifetime { answer: None, credential: token.expires };
        Verdict::Verified(Arc::new(Verified { principal, granted, attributes }), lifetime)
    }

    fn unavailable(&self, question: &Question, why: &str) -> Verdict {
        self.last_fault.note(why);
        if let Some(left_out) = self.line(LogTopic::NoAnswer) {
            tracing::warn!(
                provider = %self.sources.provider(),
                request_id = %question.request_id,
                left_out,
                "the introspection endpoint gave no usable answer: {why}"
            );
        }
        Verdict::Unavailable
    }

    fn line(&self, trouble: LogTopic) -> Option<u64> {
        self.log_throttle.line(&trouble, Instant::now()).map(|left_out| left_out.same)
    }
}

/// Returns the credential with which a client authenticates itself to an OAuth server: Basic, with
/// the id and the secret form-urlencoded before they are joined (RFC 6749, 2.3.1), so that either
/// may contain a colon. Returns `None` if they are too long for a header.
pub fn client_authorization(id: &str, secret: &SecretString) -> Option<HeaderValue> {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    basic(&encoded(id), &SecretString::from(encoded(secret.expose_secret())))
}

/// A request body that is zeroed when it is dropped.
struct Form(Zeroizing<String>);

impl AsRef<[u8]> for Form {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}
