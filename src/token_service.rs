//! The registry token service. It issues tokens that clients send as Bearer tokens instead of their
//! credentials.
//!
//! A token gives no new right. It is the sealed credential that it was made from, together with a
//! list that narrows the credential. A request with a token is therefore decided like any other
//! request.

pub mod gate_token;
mod looks_sealed;
pub mod refresh_token;
pub mod request;
mod sealed_text;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::denial::{Denial, TokenRequestError};
use crate::identity::model::Vouched;
use crate::identity::model::credential::{Credential, CredentialKind};
use crate::identity::model::revocation::Revocation;
use crate::identity::model::unix_time::{unix_micros, unix_now};
use crate::sealing::TokenKeys;
use gate_token::{GateToken, PREFIX, TokenScope};
use refresh_token::RefreshToken;

pub use looks_sealed::may_contain_sealed;

/// The path of the token service on the public listener.
pub const PATH: &str = "/token";

/// The time, in seconds, that a token stays valid after the expiry that clients are told. dockerd
/// sends a token until the last moment, and does not handle its refusal.
const GRACE: u64 = 5;

/// The service that seals and opens gate tokens.
pub struct TokenService {
    keys: Arc<TokenKeys>,
    lifetime: Duration,
    /// The lifetime of a refresh token; `None`: none is issued, and none is accepted.
    session: Option<Duration>,
    service: String,
}

/// The credential that a request presents, and the limits of its gate token.
pub struct Presented {
    /// The credential itself, or the credential that was sealed in a gate token.
    pub credential: Credential,
    /// The scope of the gate token; `None`: no gate token narrows the credential.
    pub token_scope: Option<TokenScope>,
    /// The provider that vouched for the credential when it was sealed.
    pub vouched: Option<Vouched>,
    /// The time when the credential was sealed (Unix time, microseconds).
    pub sealed_at: Option<u64>,
}

/// The contents of a token that is to be issued.
pub struct TokenContents {
    /// The credential that is sealed.
    pub credential: Credential,
    /// The provider that vouches for the credential; `None` for callers without a credential.
    pub vouched: Option<Vouched>,
    /// The granted part of what was asked.
    pub token_scope: TokenScope,
    /// The time when what is sealed expires with the credential (Unix time, seconds), if it is
    /// known.
    pub expiry: Option<u64>,
    /// The revocations of the credential that the gate knows.
    pub revocation: Revocation,
    /// The refresh token that goes with the token.
    pub refresh: Refresh,
}

/// The refresh token of a response.
pub enum Refresh {
    /// None: the client did not ask for one, or did not present a password.
    No,
    /// A new one, for the caller with this name; empty if the provider gave none.
    New { subject: Box<str> },
    /// The one that the client has presented. The token does not outlive it, and a revocation that
    /// ends it ends the token too.
    Same {
        token: SecretString,
        /// The time when it was made (Unix time, microseconds).
        issued: u64,
        /// The end of its session (Unix time, seconds).
        expires: u64,
    },
}

/// The response to a client that asked for a token.
#[derive(Serialize)]
pub struct Issued {
    #[serde(serialize_with = "exposed")]
    token: Zeroizing<String>,
    /// The token again, under its OAuth name.
    #[serde(serialize_with = "exposed")]
    access_token: Zeroizing<String>,
    /// The lifetime that the client is told, in seconds.
    expires_in: u64,
    issued_at: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed_if_any")]
    refresh_token: Option<Zeroizing<String>>,
    /// The granted scopes. The response to a GET does not have this field.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

impl Issued {
    /// Returns the body of the response.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        // The buffer has room for the whole body, so that growing it leaves no copy of the token.
        // The body contains the token twice, and the scopes, which the token contains too.
        let refresh_token = self.refresh_token.as_ref().map_or(0, |token| token.len());
        let length = 3 * self.token.len() + refresh_token + 256;
        let mut json = Zeroizing::new(Vec::with_capacity(length));
        // Strings and numbers are always valid JSON.
        let _ = serde_json::to_writer(&mut *json, self);
        json
    }
}

/// Serializes a token in plain text, because the client that asked for it must receive it.
fn exposed<S: Serializer>(token: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token)
}

fn exposed_if_any<S: Serializer>(
    token: &Option<Zeroizing<String>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    token.as_deref().map(String::as_str).serialize(serializer)
}

impl TokenService {
    /// Creates a service for the registry that clients know as `service`. Its tokens live for
    /// `lifetime`. It issues no refresh tokens.
    pub fn new(keys: Arc<TokenKeys>, lifetime: Duration, service: String) -> Self {
        Self { keys, lifetime, session: None, service }
    }

    /// Lets the service issue refresh tokens that live for `session`; `None`: it issues none.
    #[must_use]
    pub fn with_sessions(self, session: Option<Duration>) -> Self {
        Self { session, ..self }
    }

    /// Checks whether this service issues tokens for the service that the client asked for.
    ///
    /// # Errors
    /// [`TokenRequestError::Service`] if the client asked for another service.
    pub fn check_service(&self, asked: Option<&str>) -> Result<(), TokenRequestError> {
        if asked.is_none_or(|asked| asked == self.service) {
            Ok(())
        } else {
            Err(TokenRequestError::Service)
        }
    }

    /// Seals a credential together with what was granted. `oauth`: the response is to a POST.
    ///
    /// # Errors
    /// [`TokenRequestError::TooLong`] if the token cannot be sealed, which is usually because it is
    /// too long.
    pub fn issue(&self, vouched: TokenContents, oauth: bool) -> Result<Issued, TokenRequestError> {
        let TokenContents { credential, vouched, token_scope, expiry, revocation, refresh } =
            vouched;
        let now = unix_now();
        let mut issued = revocation.seals_at(unix_micros());
        let mut left = expiry.map_or(u64::MAX, |expiry| expiry.saturating_sub(now));
        let mut latest = u64::MAX;
        let refresh_token = match (refresh, &vouched) {
            (Refresh::Same { token, issued: at, expires }, _) => {
                (issued, latest) = (at, expires);
                left = left.min(expires.saturating_sub(now));
                Some(Zeroizing::new(token.expose_secret().to_owned()))
            }
            (Refresh::New { subject }, Some(vouched)) => {
                self.new_refresh_token(&credential, vouched, subject, issued, now, left)
            }
            _ => None,
        };
        let expires_in = self.lifetime.as_secs().min(left);
        let expires = (now + expires_in + GRACE).min(latest);
        let in_session = vouched.as_ref().is_some_and(|vouched| vouched.in_session);
        let provider = vouched.map(|vouched| vouched.by);
        let mut token =
            GateToken { issued, expires, token_scope, credential, provider, in_session };
        let sealed = self.keys.seal(&mut token, &self.service).ok_or(TokenRequestError::TooLong)?;
        // The scope is read after sealing, because `seal` removes repositories that do not fit into
        // the token, and these are not granted.
        let scope = oauth.then(|| token.token_scope.scopes());
        Ok(Issued {
            access_token: sealed.clone(),
            token: sealed,
            refresh_token,
            expires_in,
            issued_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            scope,
        })
    }

    /// Seals a refresh token, if the service issues any. `None` also if the credential is too long:
    /// the client then keeps it.
    fn new_refresh_token(
        &self,
        credential: &Credential,
        vouched: &Vouched,
        subject: Box<str>,
        issued: u64,
        now: u64,
        left: u64,
    ) -> Option<Zeroizing<String>> {
        // A login in the last moments of its credential would be over at once.
        let session = self.session?.as_secs().min(left);
        let expires = (session > 0).then_some(now + session)?;
        let (credential, vouched) = (credential.clone(), vouched.clone());
        let token = RefreshToken { issued, expires, credential, vouched, subject };
        token.seal(&self.keys, &self.service)
    }

    /// Opens a refresh token that a client presents at the token service.
    ///
    /// # Errors
    /// [`Denial::InvalidToken`] if it is not a refresh token of this service, if its session has
    /// ended, or if the service issues none any more. [`TokenRequestError::GrantType`] for another
    /// text if the service issues none.
    pub fn refresh(&self, token: &SecretString) -> Result<RefreshToken, Denial> {
        match self.session {
            Some(session) => {
                let token = self.open_refresh_token(token)?;
                // The config may have shortened the sessions since then.
                let expires = token.expires.min(token.issued / 1_000_000 + session.as_secs());
                let is_over = expires <= unix_now();
                if is_over {
                    Err(Denial::InvalidToken)
                } else {
                    Ok(RefreshToken { expires, ..token })
                }
            }
            None if token.expose_secret().starts_with(refresh_token::PREFIX) => {
                Err(Denial::InvalidToken)
            }
            None => Err(Denial::TokenRequest(TokenRequestError::GrantType)),
        }
    }

    fn open_refresh_token(&self, token: &SecretString) -> Result<RefreshToken, Denial> {
        let opened =
            RefreshToken::open(token.expose_secret(), &self.keys, &self.service, unix_now());
        // The gate never seals a sealed text in another one. The maker of such a token has a key.
        let opened = opened.ok().filter(|token| !may_contain_sealed(&token.credential));
        opened.ok_or(Denial::InvalidToken)
    }

    /// Returns the credential that a text stands for: the one in a gate token or refresh token, or
    /// the text itself.
    ///
    /// # Errors
    /// As [`unseal`](Self::unseal).
    pub fn credential_in(&self, text: SecretString) -> Result<Credential, Denial> {
        if text.expose_secret().starts_with(refresh_token::PREFIX) {
            return self.open_refresh_token(&text).map(|token| token.credential);
        }
        self.unseal(Credential::Bearer(text)).map(|presented| presented.credential)
    }

    /// Returns the credential that a request to the registry presents. A gate token stands for the
    /// credential that is sealed in it, narrowed by its scope.
    ///
    /// # Errors
    /// [`Denial::InvalidToken`] if the gate token is not valid. [`Denial::WrongCredential`] if a
    /// gate token was sent as a password, which is never sent to a provider.
    pub fn unseal(&self, credential: Credential) -> Result<Presented, Denial> {
        match credential {
            Credential::Bearer(token) if token.expose_secret().starts_with(PREFIX) => {
                let opened = self.keys.open(token.expose_secret(), &self.service, unix_now());
                let GateToken { credential, token_scope, provider, in_session, issued, .. } =
                    opened.map_err(|_| Denial::InvalidToken)?;
                // The gate never seals a gate token in another one. The maker of such a token has a
                // key.
                if may_contain_sealed(&credential) {
                    return Err(Denial::InvalidToken);
                }
                Ok(Presented {
                    credential,
                    token_scope: Some(token_scope),
                    vouched: provider.map(|by| Vouched { by, alone: false, in_session }),
                    sealed_at: Some(issued),
                })
            }
            credential if may_contain_sealed(&credential) => Err(Denial::WrongCredential),
            credential => {
                Ok(Presented { credential, token_scope: None, vouched: None, sealed_at: None })
            }
        }
    }
}

impl Presented {
    /// Returns whether the caller presented no credential, neither directly nor in a gate token.
    pub fn is_anonymous(&self) -> bool {
        matches!(self.credential, Credential::Anonymous)
    }
}

/// Returns the kind of a credential for logs. The credential has not been verified yet.
pub fn kind(credential: &Credential) -> CredentialKind {
    match credential {
        Credential::Bearer(secret) if secret.expose_secret().starts_with(PREFIX) => {
            CredentialKind::GateToken
        }
        credential => credential.kind(),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    /// A revocation that ends a refresh token also ends what was made from it, even if the gate
    /// heard of it later.
    #[test]
    fn a_token_for_a_refresh_token_is_as_old_as_that_and_does_not_outlive_it() {
        let keys = Arc::new(TokenKeys::random().unwrap());
        let lifetime = Duration::from_secs(3600);
        let service = TokenService::new(keys.clone(), lifetime, "registry.test".into());
        let (issued, expires) = (unix_micros() - 1_000_000_000, unix_now() + 30);
        let contents = TokenContents {
            credential: Credential::Bearer(SecretString::from("secret")),
            vouched: Some(Vouched { by: "gitlab".into(), alone: false, in_session: false }),
            token_scope: TokenScope::default(),
            expiry: None,
            revocation: Revocation::default(),
            refresh: Refresh::Same { token: SecretString::from("mgr1.x"), issued, expires },
        };
        let answer = service.issue(contents, true).unwrap();
        assert_eq!(answer.refresh_token.as_deref().map(String::as_str), Some("mgr1.x"));
        let token = keys.open(&answer.token, "registry.test", unix_now()).unwrap();
        assert_eq!((token.issued, token.expires), (issued, expires));
    }

    /// A holder of a key could make such a token. Without this check the inner token would be sent
    /// to the providers.
    #[test]
    fn a_gate_token_inside_a_gate_token_is_invalid() {
        let keys = Arc::new(TokenKeys::random().unwrap());
        let service =
            TokenService::new(keys.clone(), Duration::from_secs(60), "registry.test".into());
        let sealed = |credential| {
            let token_scope = TokenScope::default();
            let (issued, expires) = (unix_micros(), unix_now() + 60);
            let (provider, in_session) = (None, false);
            let mut token =
                GateToken { issued, expires, token_scope, credential, provider, in_session };
            keys.seal(&mut token, "registry.test").unwrap().as_str().to_owned()
        };
        let bearer = |token: &str| Credential::Bearer(SecretString::from(token));
        let inner = sealed(bearer("opaque"));
        assert!(service.unseal(bearer(&inner)).is_ok());
        let as_password = Credential::Basic {
            user: "alice".into(),
            password: SecretString::from(inner.as_str()),
        };
        for credential in [bearer(&inner), as_password] {
            let outer = bearer(&sealed(credential));
            assert_eq!(service.unseal(outer).err(), Some(Denial::InvalidToken));
        }
    }
}
