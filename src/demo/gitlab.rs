//! A stand-in for GitLab's token endpoint, `GET /jwt/auth`. It is the only endpoint where a
//! registry can ask GitLab about all six kinds of credentials.
//!
//! A question is a Basic credential and the access it is wanted for:
//! `GET /jwt/auth?service=container_registry&scope=repository:demo/app:pull,push`. The answers are
//!
//! - 200 `{"token": "<JWT>"}`: the credential is valid. The token's claim `access` lists what the
//!   credential may do. It is a subset of the requested access and may be empty;
//! - 401: the credential is not valid;
//! - 403 with `DENIED`: the credential is valid, but gives no access to registries; or the request
//!   has no credential, and nothing is public or no scope is requested; or one of the [`Refusal`]s
//!   applies. A refusal says nothing about a credential, or concerns one repository;
//! - 404: another service, path or method.
//!
//! GitLab also creates the record of a repository when it grants a push to it.

mod credential;
mod grant;
mod question;
mod refusal;
mod token;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::{Value, json};

use super::ledger::{Ledger, lock};
use super::script::{Script, Scripted};
use super::serve::Server;
use super::signing_key::SigningKey;
use super::web::{self, Body};
use grant::Verdict;

pub use credential::{Kind, SampleCredential, Scope, State, sample_credentials};
pub use question::Question;
pub use refusal::Refusal;

/// The only service that the token endpoint answers for.
const SERVICE: &str = "container_registry";

/// GitLab's message about a wrong credential, up to its link to a help page.
const ACCESS_DENIED: &str = "HTTP Basic: Access denied. If a password was provided for Git \
    authentication, the password was incorrect or you're required to use a token instead of a \
    password. If a token was provided, it was either incorrect, expired, or improperly scoped.";

/// A running stand-in, which knows the [`sample_credentials`]. It stops when it is dropped.
pub struct GitLab {
    server: Server,
    instance: Arc<Instance>,
}

/// The state of the stand-in: its settings, the scripted answers and the recorded questions.
struct Instance {
    key: Arc<SigningKey>,
    credentials: Mutex<Vec<SampleCredential>>,
    public: Mutex<Option<String>>,
    meta: Mutex<Value>,
    refusals: Mutex<Vec<Refusal>>,
    script: Script,
    repositories: Mutex<BTreeSet<String>>,
    ledger: Arc<Ledger<Question>>,
}

impl GitLab {
    /// Starts the stand-in on the current tokio runtime.
    ///
    /// # Errors
    /// Returns an error if the listener cannot be used or the key cannot be created.
    pub fn start(listener: std::net::TcpListener) -> io::Result<Self> {
        let instance = Arc::new(Instance {
            key: SigningKey::rsa(0)?,
            credentials: Mutex::new(sample_credentials()),
            public: Mutex::default(),
            meta: Mutex::new(json!({})),
            refusals: Mutex::default(),
            script: Script::default(),
            repositories: Mutex::default(),
            ledger: Arc::new(Ledger::new()),
        });
        let shared = Arc::clone(&instance);
        let service = service_fn(move |request| {
            let instance = Arc::clone(&shared);
            async move { instance.answer(&request).await }
        });
        Ok(Self { server: Server::start(listener, service)?, instance })
    }

    /// Returns the address that the stand-in listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the certificate of the signing key, in PEM. A registry that trusts this stand-in
    /// takes it as its `rootcertbundle`.
    ///
    /// # Errors
    /// Returns an error if the certificate cannot be created.
    pub fn certificate(&self) -> io::Result<String> {
        self.instance.key.certificate()
    }

    /// Returns the signing key as a JWK set (RFC 7517, section 5). Distribution 3 needs this form:
    /// for a certificate it expects another key ID than the one that GitLab writes.
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.instance.key.jwk()] })
    }

    /// Returns the ledger of all questions. It is empty until [`keep`](Ledger::keep) is called on
    /// it.
    pub fn ledger(&self) -> Arc<Ledger<Question>> {
        Arc::clone(&self.instance.ledger)
    }

    /// Adds a credential, and removes every known credential with the same password.
    pub fn add(&self, credential: SampleCredential) {
        let mut credentials = lock(&self.instance.credentials);
        credentials.retain(|known| known.password != credential.password);
        credentials.push(credential);
    }

    /// Makes this group or project public, with everything below it: every caller may pull, with or
    /// without a credential. Initially nothing is public.
    pub fn set_public(&self, group: &str) {
        *lock(&self.instance.public) = Some(group.to_owned());
    }

    /// Revokes every credential with this password. Returns whether one was known.
    pub fn revoke(&self, password: &str) -> bool {
        let mut credentials = lock(&self.instance.credentials);
        let mut revoked =
            credentials.iter_mut().filter(|credential| credential.password == password).peekable();
        let known = revoked.peek().is_some();
        revoked.for_each(|credential| credential.state = State::Revoked);
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

    /// Adds the members of this object to the `meta` of every granted entry from now on, beside
    /// `project_path`. They are the tag rules of a project, such as `tag_deny_access_patterns` and
    /// `tag_immutable_patterns`.
    pub fn set_meta(&self, meta: Value) {
        *lock(&self.instance.meta) = meta;
    }

    /// Replaces the refusals that apply from now on.
    pub fn set_refusals(&self, refusals: impl IntoIterator<Item = Refusal>) {
        *lock(&self.instance.refusals) = refusals.into_iter().collect();
    }

    /// Returns the repositories whose record a granted push has created.
    pub fn created_repositories(&self) -> BTreeSet<String> {
        lock(&self.instance.repositories).clone()
    }

    /// Closes every connection, and returns when all of them are closed.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}

impl Instance {
    async fn answer(&self, request: &Request<Incoming>) -> io::Result<Response<Body>> {
        if request.uri().path() != "/jwt/auth" || request.method() != Method::GET {
            return Ok(not_found());
        }
        let question = Question::read(request.uri().query(), request.headers());
        self.ledger.enter(|| question.clone());
        if let Some(response) = self.script.play().await? {
            return Ok(response);
        }
        self.judge(&question)
    }

    fn judge(&self, question: &Question) -> io::Result<Response<Body>> {
        if question.service.as_deref() != Some(SERVICE) {
            return Ok(not_found());
        }
        let public = lock(&self.public).clone();
        let refusals = lock(&self.refusals).clone();
        let refused =
            |refusal: &Refusal| web::error(StatusCode::FORBIDDEN, "DENIED", refusal.message());
        if let Some(refusal) = refusals.iter().find(|refusal| refusal.is_of_network(question)) {
            return Ok(refused(refusal));
        }
        let credentials = lock(&self.credentials).clone();
        let credential = grant::find(&credentials, question).map(|(credential, _)| credential);
        let is_refused = |refusal: &&Refusal| {
            credential.is_some_and(|credential| refusal.is_of(question, credential))
        };
        if let Some(refusal) = refusals.iter().find(is_refused) {
            return Ok(refused(refusal));
        }
        let verdict = grant::judge(&credentials, public.as_deref(), &lock(&self.meta), question);
        Ok(match verdict {
            Verdict::NotMine => web::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", ACCESS_DENIED),
            Verdict::Denied => web::error(StatusCode::FORBIDDEN, "DENIED", "access forbidden"),
            Verdict::Granted(grant) => {
                lock(&self.repositories).extend(grant.pushed().map(str::to_owned));
                let token = token::token(&self.key, SERVICE, &grant)?;
                web::json(StatusCode::OK, &json!({ "token": token }))
            }
        })
    }
}

fn not_found() -> Response<Body> {
    web::answer(StatusCode::NOT_FOUND, &[], web::body(""))
}
