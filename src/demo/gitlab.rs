//! A stand-in for GitLab's token endpoint, `GET /jwt/auth`, the only door through which a registry
//! can ask GitLab about all six kinds of credentials.
//!
//! A question is a Basic credential and what it is wanted for:
//! `GET /jwt/auth?service=container_registry&scope=repository:demo/app:pull,push`. The answers are
//!
//! - 200 `{"token": "<JWT>"}`: the credential is good. What it may do is in the token's `access`, a
//!   subset of what was asked, and it may be empty;
//! - 401: the credential is not;
//! - 403 with `DENIED`: it is good, but for nothing that concerns registries; or there is none, and
//!   nothing is public or asked for; or one of the [`Refusal`]s, which say nothing about a
//!   credential or something about one repository;
//! - 404: another service, path or method.
//!
//! A granted push creates the record of the repository in GitLab, as a side effect of the question.

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

/// The one service that GitLab's registry answers for.
const SERVICE: &str = "container_registry";

/// What GitLab says of a wrong credential, up to its link to a help page.
const ACCESS_DENIED: &str = "HTTP Basic: Access denied. If a password was provided for Git authentication, the password was \
    incorrect or you're required to use a token instead of a password. If a token was provided, it was either incorrect, \
    expired, or improperly scoped.";

/// A running stand-in, which knows the [`sample_credentials`]. It ends when dropped.
pub struct GitLab {
    server: Server,
    instance: Arc<Instance>,
}

/// What the stand-in knows and has seen.
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
    /// Serves on the current tokio runtime.
    ///
    /// # Errors
    /// Where the listener cannot be used, or no key can be made.
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The certificate of the key that it signs with, in PEM: the `rootcertbundle` of a registry
    /// that believes it.
    ///
    /// # Errors
    /// Where none can be made.
    pub fn certificate(&self) -> io::Result<String> {
        self.instance.key.certificate()
    }

    /// The same as a JWK set (RFC 7517, section 5). Distribution 3 needs it: of a certificate it
    /// expects another key id than the one that GitLab writes.
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.instance.key.jwk()] })
    }

    /// Every question asked, once it is told to [`keep`](Ledger::keep) them.
    pub fn ledger(&self) -> Arc<Ledger<Question>> {
        Arc::clone(&self.instance.ledger)
    }

    /// Makes a credential known, in place of whichever has the same password.
    pub fn add(&self, credential: SampleCredential) {
        let mut credentials = lock(&self.instance.credentials);
        credentials.retain(|known| known.password != credential.password);
        credentials.push(credential);
    }

    /// From now on, this group or project is public with everything below: whoever asks may pull,
    /// with or without a credential. Nothing is at first.
    pub fn set_public(&self, group: &str) {
        *lock(&self.instance.public) = Some(group.to_owned());
    }

    /// Revokes every credential with this password, and says whether there was one.
    pub fn revoke(&self, password: &str) -> bool {
        let mut credentials = lock(&self.instance.credentials);
        let mut revoked =
            credentials.iter_mut().filter(|credential| credential.password == password).peekable();
        let known = revoked.peek().is_some();
        revoked.for_each(|credential| credential.state = State::Revoked);
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

    /// From now on, every granted entry has the members of this object in its `meta`, beside
    /// `project_path`: the tag rules of a project, such as `tag_deny_access_patterns` and
    /// `tag_immutable_patterns`.
    pub fn set_meta(&self, meta: Value) {
        *lock(&self.instance.meta) = meta;
    }

    /// From now on these refusals hold, and no other ones.
    pub fn set_refusals(&self, refusals: impl IntoIterator<Item = Refusal>) {
        *lock(&self.instance.refusals) = refusals.into_iter().collect();
    }

    /// The repositories whose record a granted push has created.
    pub fn created_repositories(&self) -> BTreeSet<String> {
        lock(&self.instance.repositories).clone()
    }

    /// Closes every connection, and returns when they are gone.
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
