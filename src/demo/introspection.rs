//! A stand-in for a server of RFC 7662, token introspection: `POST /oauth2/introspect` with the
//! token in a form, the client's own id and secret in Basic. The answers are
//!
//! - 200 `{"active": true, …}`: the token is good, and this is known of it;
//! - 200 `{"active": false}`: it is not, for whatever reason;
//! - 400: the request is no such form;
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

/// The one client that the stand-in knows.
pub const CLIENT_ID: &str = "moorgate";

/// Its secret, which is public: it opens nothing but a demo or a test.
pub const CLIENT_SECRET: &str = "introspection-demo-secret";

const PATH: &str = "/oauth2/introspect";

/// The longest form that is read, in bytes.
const LONGEST_FORM: usize = 64 * 1024;

/// A running stand-in, which knows the [`sample_tokens`]. It ends when dropped.
pub struct Introspection {
    server: Server,
    instance: Arc<Instance>,
}

/// What the stand-in knows and has seen.
struct Instance {
    url: String,
    tokens: Mutex<Vec<SampleToken>>,
    script: Script,
    ledger: Arc<Ledger<Question>>,
}

impl Introspection {
    /// Serves on the current tokio runtime.
    ///
    /// # Errors
    /// Where the listener cannot be used.
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where it is asked about tokens.
    pub fn url(&self) -> String {
        format!("{}{PATH}", self.instance.url)
    }

    /// Every question asked, once it is told to [`keep`](Ledger::keep) them.
    pub fn ledger(&self) -> Arc<Ledger<Question>> {
        Arc::clone(&self.instance.ledger)
    }

    /// Makes one more token known.
    pub fn add(&self, token: SampleToken) {
        lock(&self.instance.tokens).push(token);
    }

    /// Revokes a token, and says whether it was known.
    pub fn revoke(&self, token: &str) -> bool {
        let mut tokens = lock(&self.instance.tokens);
        let mut revoked = tokens.iter_mut().filter(|known| known.token == token).peekable();
        let known = revoked.peek().is_some();
        revoked.for_each(|known| known.revoked = true);
        known
    }

    /// Replaces the next answers, one each.
    pub fn script(&self, answers: impl IntoIterator<Item = Scripted>) {
        self.instance.script.extend(answers);
    }

    /// What every question gets from now on, an outage, until it ends by `None`.
    pub fn always(&self, answer: Option<Scripted>) {
        self.instance.script.always(answer);
    }

    /// Closes every connection, and returns when they are gone.
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

/// An error as OAuth has them (RFC 6749, section 5.2).
fn refused(status: StatusCode, error: &str) -> Response<Body> {
    let error: Value = json!({ "error": error });
    web::json(status, &error)
}
