//! A stand-in for a token introspection server (RFC 7662): `POST /oauth2/introspect` with the token
//! in a form, and the client's own ID and secret as a Basic credential. The answers are
//!
//! - 200 `{"active": true, …}`: the token is valid, and the other members describe it;
//! - 200 `{"active": false}`: the token is not valid, for any reason;
//! - 400: the request is not a form with a token;
//! - 401: the client is unknown.

mod question;
mod token;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::header::{ALLOW, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::{Value, json};

use super::claims::now;
use super::ledger::{Ledger, lock};
use super::script::{Script, Scripted};
use super::serve::Server;
use super::web::{self, Body};

pub use question::Question;
pub use token::{SampleToken, sample_tokens};

/// The ID of the only client that the stand-in knows.
pub const CLIENT_ID: &str = "moorgate";

/// The secret of that client. It is public, because it only gives access to a demo or a test.
pub const CLIENT_SECRET: &str = "introspection-demo-secret";

const PATH: &str = "/oauth2/introspect";

/// The largest form that is read, in bytes.
const LONGEST_FORM: usize = 64 * 1024;

/// A running stand-in, which knows the [`sample_tokens`]. It stops when it is dropped.
pub struct Introspection {
    server: Server,
    instance: Arc<Instance>,
}

/// The state of the stand-in: the tokens, the scripted answers and the recorded questions.
struct Instance {
    url: String,
    tokens: Mutex<Vec<SampleToken>>,
    script: Script,
    ledger: Arc<Ledger<Question>>,
}

impl Introspection {
    /// Starts the stand-in on the current tokio runtime.
    ///
    /// # Errors
    /// Returns an error if the listener cannot be used.
    pub fn start(listener: std::net::TcpListener) -> io::Result<Self> {
        let instance = Arc::new(Instance {
            url: format!("http://{}", listener.local_addr()?),
            tokens: Mutex::new(sample_tokens()),
            script: Script::default(),
            ledger: Arc::new(Ledger::new()),
        });
        let shared = Arc::clone(&instance);
        let service = service_fn(move |request| {
            let instance = Arc::clone(&shared);
            async move { instance.answer(request).await }
        });
        Ok(Self { server: Server::start(listener, service)?, instance })
    }

    /// Returns the address that the stand-in listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the URL of the introspection endpoint.
    pub fn url(&self) -> String {
        format!("{}{PATH}", self.instance.url)
    }

    /// Returns the ledger of all questions. It is empty until [`keep`](Ledger::keep) is called on
    /// it.
    pub fn ledger(&self) -> Arc<Ledger<Question>> {
        Arc::clone(&self.instance.ledger)
    }

    /// Adds a token.
    pub fn add(&self, token: SampleToken) {
        lock(&self.instance.tokens).push(token);
    }

    /// Revokes a token. Returns whether it was known.
    pub fn revoke(&self, token: &str) -> bool {
        let mut tokens = lock(&self.instance.tokens);
        let mut revoked = tokens.iter_mut().filter(|known| known.token == token).peekable();
        let known = revoked.peek().is_some();
        revoked.for_each(|known| known.revoked = true);
        known
    }

    /// Replaces the next answers: each scripted answer replaces one.
    pub fn script(&self, answers: impl IntoIterator<Item = Scripted>) {
        self.instance.script.extend(answers);
    }

    /// Sets the answer to every question from now on, to simulate an outage. `None` ends the
    /// outage.
    pub fn always(&self, answer: Option<Scripted>) {
        self.instance.script.always(answer);
    }

    /// Closes every connection, and returns when all of them are closed.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}

impl Instance {
    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (head, body) = request.into_parts();
        if head.uri.path() != PATH {
            return Ok(web::answer(StatusCode::NOT_FOUND, &[], web::body("")));
        }
        if head.method != Method::POST {
            return Ok(web::answer(
                StatusCode::METHOD_NOT_ALLOWED,
                &[(ALLOW, "POST")],
                web::body(""),
            ));
        }
        let form =
            Limited::new(body, LONGEST_FORM).collect().await.map_err(io::Error::other)?.to_bytes();
        let question = Question::read(&head.headers, &form);
        self.ledger.enter(|| question.clone());
        if let Some(response) = self.script.play().await? {
            return Ok(response);
        }
        self.judge(&question)
    }

    fn judge(&self, question: &Question) -> io::Result<Response<Body>> {
        if !question.is_of(CLIENT_ID, CLIENT_SECRET) {
            let mut response = refused(StatusCode::UNAUTHORIZED, "invalid_client");
            let challenge = http::HeaderValue::from_static("Basic realm=\"introspection\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            return Ok(response);
        }
        let (true, Some(token)) = (question.is_form(), &question.token) else {
            return Ok(refused(StatusCode::BAD_REQUEST, "invalid_request"));
        };
        let now = now()?;
        let reply = lock(&self.tokens)
            .iter()
            .find(|known| known.is(token))
            .and_then(|known| known.reply(&self.url, now));
        Ok(web::json(StatusCode::OK, &reply.unwrap_or_else(|| json!({ "active": false }))))
    }
}

/// Creates an OAuth error response (RFC 6749, section 5.2).
fn refused(status: StatusCode, error: &str) -> Response<Body> {
    let error: Value = json!({ "error": error });
    web::json(status, &error)
}
