//! A stand-in for an OIDC issuer: a service that issues tokens which identify workloads, as GitLab
//! does with `id_tokens`. It serves its public keys (RFC 7517), and its discovery document contains
//! their URL. Tokens are obtained by function calls, because no client requests them from an issuer
//! over HTTP.

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

/// The path of the key set, as in GitLab.
const JWKS_PATH: &str = "/oauth/discovery/keys";

/// The path of the discovery document (OpenID Connect Discovery 1.0, section 4).
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// The subject of the tokens.
const SUBJECT: &str = "project_path:demo/app:ref_type:branch:ref:main";

/// The lifetime of a token, in seconds.
const LIFETIME: u64 = 3600;

/// A running stand-in. It stops when it is dropped. All issuers of a process begin with the same
/// key.
pub struct OidcIssuer {
    server: Server,
    instance: Arc<Instance>,
}

/// The state of the stand-in: the keys, the scripted answers and the recorded requests.
struct Instance {
    url: String,
    keys: Mutex<Keys>,
    script: Script,
    ledger: Arc<Ledger<Fetch>>,
}

impl OidcIssuer {
    /// Starts the stand-in on the current tokio runtime.
    ///
    /// # Errors
    /// Returns an error if the listener cannot be used or the key cannot be created.
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

    /// Returns the address that the stand-in listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the name of the issuer: the `iss` of its tokens.
    pub fn url(&self) -> &str {
        &self.instance.url
    }

    /// Returns the URL of the key set.
    pub fn jwks_url(&self) -> String {
        self.instance.jwks_url()
    }

    /// Returns the ledger of all requests. It is empty until [`keep`](Ledger::keep) is called on
    /// it.
    pub fn ledger(&self) -> Arc<Ledger<Fetch>> {
        Arc::clone(&self.instance.ledger)
    }

    /// Replaces the next answers to requests for the keys: each scripted answer replaces one.
    pub fn script(&self, answers: impl IntoIterator<Item = Scripted>) {
        self.instance.script.extend(answers);
    }

    /// Sets the answer to every request for the keys from now on, to simulate an outage. `None`
    /// ends the outage.
    pub fn always(&self, answer: Option<Scripted>) {
        self.instance.script.always(answer);
    }

    /// Returns the JWK set, as it is served.
    pub fn jwks(&self) -> String {
        lock(&self.instance.keys).jwks()
    }

    /// Serves this text instead of the JWK set, until the keys change.
    pub fn set_jwks(&self, text: String) {
        lock(&self.instance.keys).serve_instead(text);
    }

    /// Signs with another RSA key from now on. The old key stays in the set.
    ///
    /// # Errors
    /// Returns an error if the key cannot be created.
    pub fn rotate(&self) -> io::Result<()> {
        lock(&self.instance.keys).rotate()
    }

    /// Signs with a new ES256 key from now on. The old key stays in the set.
    ///
    /// # Errors
    /// Returns an error if the key cannot be created.
    pub fn rotate_to_es256(&self) -> io::Result<()> {
        lock(&self.instance.keys).rotate_to_es256()
    }

    /// Removes every key but the current one from the set.
    pub fn retire_old_keys(&self) {
        lock(&self.instance.keys).retire_old();
    }

    /// Creates a token for this audience, which lives for one hour. The members of `claims` replace
    /// the default ones. A member that is null is left out.
    ///
    /// # Errors
    /// Returns an error if the token cannot be signed.
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

    /// Returns the key ID (`kid`) of the current key.
    pub fn kid(&self) -> String {
        self.current_key().kid().to_owned()
    }

    /// Creates a token with exactly these texts as header and claims, signed with the current key.
    /// It makes tokens that a real issuer would not sign: duplicate members, an algorithm that does
    /// not fit the key, text that is not JSON.
    ///
    /// # Errors
    /// Returns an error if the token cannot be signed.
    pub fn sign_raw(&self, header: &str, claims: &str) -> io::Result<String> {
        self.current_key().sign_text(header, claims)
    }

    /// Closes every connection, and returns when all of them are closed.
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
