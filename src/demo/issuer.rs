//! A stand-in for an OIDC issuer: whatever gives workloads tokens that say who they are, as GitLab
//! does with `id_tokens`. It serves its public keys (RFC 7517), and says in its discovery document
//! where they are. The tokens it hands out by calls, for no client asks an issuer for them over
//! HTTP.

mod fetch;
mod keys;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::header::{ALLOW, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::{Value, json};

use super::claims::{changed, now};
use super::ledger::{Ledger, lock};
use super::script::{Script, Scripted};
use super::serve::Server;
use super::signing_key::SigningKey;
use super::web::{self, Body};
use keys::Keys;

pub use fetch::Fetch;

/// Where GitLab has its keys.
const JWKS_PATH: &str = "/oauth/discovery/keys";

/// OpenID Connect Discovery 1.0, section 4.
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// Whom the tokens are about.
const SUBJECT: &str = "project_path:demo/app:ref_type:branch:ref:main";

/// How long a token lives, in seconds.
const LIFETIME: u64 = 3600;

/// A running stand-in. It ends when dropped. All issuers of a process begin with the same key.
pub struct OidcIssuer {
    server: Server,
    instance: Arc<Instance>,
}

/// What the stand-in knows and has seen.
struct Instance {
    url: String,
    keys: Mutex<Keys>,
    script: Script,
    ledger: Arc<Ledger<Fetch>>,
}

impl OidcIssuer {
    /// Serves on the current tokio runtime.
    ///
    /// # Errors
    /// Where the listener cannot be used, or no key can be made.
    pub fn start(listener: std::net::TcpListener) -> io::Result<Self> {
        let instance = Arc::new(Instance {
            url: format!("http://{}", listener.local_addr()?),
            keys: Mutex::new(Keys::new()?),
            script: Script::default(),
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

    /// Its name: the `iss` of its tokens.
    pub fn url(&self) -> &str {
        &self.instance.url
    }

    /// Where its keys are.
    pub fn jwks_url(&self) -> String {
        self.instance.jwks_url()
    }

    /// Every request, once it is told to [`keep`](Ledger::keep) them.
    pub fn ledger(&self) -> Arc<Ledger<Fetch>> {
        Arc::clone(&self.instance.ledger)
    }

    /// Replaces the next answers with the keys, one each.
    pub fn script(&self, answers: impl IntoIterator<Item = Scripted>) {
        self.instance.script.extend(answers);
    }

    /// What every question gets from now on, an outage, until it ends by `None`.
    pub fn always(&self, answer: Option<Scripted>) {
        self.instance.script.always(answer);
    }

    /// The JWK set, as it is served.
    pub fn jwks(&self) -> String {
        lock(&self.instance.keys).jwks()
    }

    /// Serves this text instead of the JWK set, until the keys change.
    pub fn set_jwks(&self, text: String) {
        lock(&self.instance.keys).serve_instead(text);
    }

    /// Signs with another RSA key from now on. The old one stays in the set.
    ///
    /// # Errors
    /// Where no key can be made.
    pub fn rotate(&self) -> io::Result<()> {
        lock(&self.instance.keys).rotate()
    }

    /// Signs with a new ES256 key from now on. The old key stays in the set.
    ///
    /// # Errors
    /// Where no key can be made.
    pub fn rotate_to_es256(&self) -> io::Result<()> {
        lock(&self.instance.keys).rotate_to_es256()
    }

    /// Takes every key but the current one out of the set.
    pub fn retire_old_keys(&self) {
        lock(&self.instance.keys).retire_old();
    }

    /// A token for this audience, which lives an hour. The members of `claims` replace the usual
    /// ones; what is null is left out.
    ///
    /// # Errors
    /// Where it cannot be signed.
    pub fn id_token(&self, audience: &str, claims: &Value) -> io::Result<String> {
        let now = now()?;
        let usual = json!({
            "iss": self.instance.url,
            "sub": SUBJECT,
            "aud": audience,
            "jti": web::uuid()?,
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME,
            "namespace_id": "42",
            "namespace_path": "demo",
            "project_path": "demo/app",
        });
        self.current_key().sign(&changed(usual, claims))
    }

    /// The name of the key that signs now (`kid`).
    pub fn kid(&self) -> String {
        self.current_key().kid().to_owned()
    }

    /// A token with exactly these texts for header and claims, signed with the current key, for
    /// what no issuer would sign: members given twice, an algorithm that is not the key's, text
    /// that is not JSON.
    ///
    /// # Errors
    /// Where it cannot be signed.
    pub fn sign_raw(&self, header: &str, claims: &str) -> io::Result<String> {
        self.current_key().sign_text(header, claims)
    }

    /// Closes every connection, and returns when they are gone.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }

    fn current_key(&self) -> Arc<SigningKey> {
        Arc::clone(lock(&self.instance.keys).current())
    }
}

impl Instance {
    async fn answer(&self, request: &Request<Incoming>) -> io::Result<Response<Body>> {
        self.ledger.enter(|| Fetch::read(request));
        if request.method() != Method::GET {
            return Ok(web::answer(
                StatusCode::METHOD_NOT_ALLOWED,
                &[(ALLOW, "GET")],
                web::body(""),
            ));
        }
        Ok(match request.uri().path() {
            DISCOVERY_PATH => web::json(StatusCode::OK, &self.discovery()),
            JWKS_PATH => match self.script.play().await? {
                Some(scripted) => scripted,
                None => {
                    let headers = [(CONTENT_TYPE, "application/json; charset=utf-8")];
                    let jwks = lock(&self.keys).jwks();
                    web::answer(StatusCode::OK, &headers, web::body(jwks))
                }
            },
            _ => web::answer(StatusCode::NOT_FOUND, &[], web::body("")),
        })
    }

    fn discovery(&self) -> Value {
        json!({
            "issuer": self.url,
            "jwks_uri": self.jwks_url(),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        })
    }

    fn jwks_url(&self) -> String {
        format!("{}{JWKS_PATH}", self.url)
    }
}
