//! A server that tells what a token is worth (OAuth 2.0 Token Introspection, RFC 7662).
//!
//! One question for one token, whatever the repository: the scopes that it answers hold everywhere.

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

use super::common::http_client::{ProviderClient, RETRY_AFTER, Reply, ServerSettings};
use super::common::scope_lists::ScopeLists;
use super::common::sources::Sources;
use super::common::strict_json;
use crate::identity::log_pace::{LogPace, LogTopic};
use crate::identity::model::credential::{Credential, basic};
use crate::identity::model::unix_time::unix_now;
use crate::identity::model::{
    Attributes, Granted, Lifetime, NotNow, Principal, Question, Verdict, Verified,
};

/// The settings of a provider with `type: introspection`.
#[derive(Clone, Debug)]
pub struct IntrospectionSettings {
    /// The introspection endpoint.
    pub server: ServerSettings,
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
    /// The system's certificate authorities are needed and cannot be read, or `client_id` and
    /// secret are too long for a header.
    pub fn build(self, name: Arc<str>) -> io::Result<Introspection> {
        let client = ProviderClient::for_server(&self.server)?;
        let Self { server, client_id, client_secret, expected } = self;
        let url = server.endpoint.url();
        Introspection::new(name, url, client_id, &client_secret, expected, client)
            .ok_or_else(|| io::Error::other("identity: client_id cannot stand in a header"))
    }
}

/// One introspection endpoint.
pub struct Introspection {
    sources: Sources,
    url: String,
    client_id: String,
    /// How the gate itself is let in.
    authorization: HeaderValue,
    expected: Expected,
    scopes: ScopeLists,
    client: ProviderClient,
    log_pace: LogPace,
}

impl Introspection {
    /// The endpoint at `url`, asked in the name of `client_id`. `None` where id and secret are too
    /// long for a header.
    pub fn new(
        name: Arc<str>,
        url: String,
        client_id: String,
        client_secret: &SecretString,
        expected: Expected,
        client: ProviderClient,
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
            log_pace: LogPace::default(),
        })
    }

    /// Asks what the Bearer token, or the password of Basic, is worth.
    pub async fn ask(&self, question: &Question) -> Verdict {
        let (user, token) = match &question.credential {
            Credential::Anonymous => return Verdict::NotMine,
            Credential::Basic { user, password } => (Some(user.as_str()), password),
            Credential::Bearer(token) => (None, token),
        };
        let Some(request) = self.request(&question.request_id, token) else {
            return self.unavailable(question, "the question cannot be put into a request");
        };
        let reply = match self.client.ask(request).await {
            Ok(reply) => reply,
            Err(error) => return self.unavailable(question, &error.to_string()),
        };
        if reply.status != StatusCode::OK {
            return self.no_verdict(question, &reply);
        }
        match reply::read(&reply.body, &self.expected, user, unix_now()) {
            Ok(TokenState::NotMine) => Verdict::NotMine,
            Ok(TokenState::NotForHere(why)) => {
                tracing::info!(provider = %self.sources.provider(), request_id = %question.request_id, "an active token was refused: {why}");
                Verdict::NotMine
            }
            Ok(TokenState::NoAccessToken) => Verdict::Unfit,
            Ok(TokenState::Active(token)) => {
                if let Some(odd) = token.odd.text()
                    && let Some(left_out) = self.line(LogTopic::Odd)
                {
                    tracing::warn!(provider = %self.sources.provider(), request_id = %question.request_id, left_out, "an odd reply, which was read all the same: {odd}");
                }
                self.verified(token)
            }
            Err(error) => self.unavailable(question, &error.to_string()),
        }
    }

    /// Returns whether the endpoint answers at all, by a question that no caller can turn: about
    /// the empty token.
    pub async fn is_up(&self) -> bool {
        let Some(request) = self.request("moorgate", &SecretString::from("")) else { return false };
        let Ok(reply) = self.client.ask(request).await else { return false };
        match reply.status {
            // Some say less of what is no token at all.
            StatusCode::OK => strict_json::object(&reply.body).is_ok(),
            status => !status.is_server_error(),
        }
    }

    fn request(&self, request_id: &str, token: &SecretString) -> Option<Request<Full<Bytes>>> {
        let token = token.expose_secret().as_bytes();
        // As large as it can get, so that growing leaves no copy behind; zeroed when it has been
        // sent.
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

    /// What another status than 200 means. A 4xx is about this question or about the config, and
    /// must not count as an outage: whoever can make his own question fail could otherwise
    /// bring one about.
    fn no_verdict(&self, question: &Question, reply: &Reply) -> Verdict {
        let misconfigured = |why: &str| {
            if let Some(left_out) = self.line(LogTopic::Misconfigured) {
                tracing::error!(provider = %self.sources.provider(), request_id = %question.request_id, left_out, status = reply.status.as_u16(), "{why}");
            }
            Verdict::NotNow(NotNow::Misconfigured, RETRY_AFTER)
        };
        match reply.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => misconfigured(&format!(
                "the introspection endpoint refuses the gate itself: see client_id ({}) and client_secret_file",
                self.client_id
            )),
            StatusCode::TOO_MANY_REQUESTS => {
                if let Some(left_out) = self.line(LogTopic::Busy) {
                    tracing::warn!(provider = %self.sources.provider(), request_id = %question.request_id, left_out, "the introspection endpoint is asked too often: 429; see its rate limits");
                }
                Verdict::NotNow(NotNow::Busy, reply.retry_after())
            }
            status if status.is_client_error() => misconfigured(
                "the introspection endpoint does not take the question: see url, which must be the endpoint's own",
            ),
            status if status.is_redirection() => self.unavailable(
                question,
                &format!("status {status}; a redirect is not followed, see url"),
            ),
            status => self.unavailable(question, &format!("status {status}")),
        }
    }

    fn verified(&self, token: ActiveToken) -> Verdict {
        let principal =
            Principal { source: self.sources.typed(None), subject: token.subject.into() };
        let granted = Granted::Scopes(self.scopes.shared(token.scopes));
        let attributes = Attributes { groups: token.groups, ..Attributes::default() };
        let attributes =
            Some(attributes).filter(|attributes| !attributes.groups.is_empty()).map(Box::new);
        let lifetime = Lifetime { answer: None, credential: token.expires };
        Verdict::Verified(Arc::new(Verified { principal, granted, attributes }), lifetime)
    }

    fn unavailable(&self, question: &Question, why: &str) -> Verdict {
        if let Some(left_out) = self.line(LogTopic::NoAnswer) {
            tracing::warn!(provider = %self.sources.provider(), request_id = %question.request_id, left_out, "the introspection endpoint gave no answer: {why}");
        }
        Verdict::Unavailable
    }

    fn line(&self, trouble: LogTopic) -> Option<u64> {
        self.log_pace.line(trouble, Instant::now())
    }
}

/// How a client shows an OAuth server who it is: Basic, with id and secret form-urlencoded before
/// they are put together (RFC 6749, 2.3.1), so that a colon can stand in either. `None` where they
/// are too long for a header.
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
