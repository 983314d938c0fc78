//! The registry token service. It issues tokens that clients send as Bearer tokens instead of their
//! credentials.
//!
//! A token gives no new right. It is the sealed credential that it was made from, together with a
//! list that narrows the credential. A request with a token is therefore decided like any other
//! request.

pub mod gate_token;
mod looks_sealed;
pub mod request;
mod sealed_text;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use secrecy::ExposeSecret;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::denial::{Denial, TokenRequestError};
use crate::identity::model::credential::{Credential, CredentialKind};
use crate::identity::model::revocation::Revocation;
use crate::identity::model::unix_time::{unix_micros, unix_now};
use crate::sealing::TokenKeys;
use gate_token::{GateToken, PREFIX, TokenScope};

pub use looks_sealed::may_contain_sealed;

/// The path of the token service on the public listener.
pub const PATH: &str = "/token";

/// The time, in seconds, that a token stays valid after the expiry that clients are told. dockerd
/// sends a token until the last moment, and does not handle its refusal.
const GRACE: u64 = 5;

/// The shortest lifetime of a token, in seconds. Clients replace a shorter one by this value, or
/// treat it as a mistake.
const SHORTEST_LIFE: u64 = 60;

/// The service that seals and opens gate tokens.
pub struct TokenService {
    keys: Arc<TokenKeys>,
    lifetime: Duration,
    service: String,
}

/// The credential that a request presents, and the limits of its gate token.
pub struct Presented {
    /// The credential itself, or the credential that was sealed in a gate token.
    pub credential: Credential,
    /// The scope of the gate token; `None`: no gate token narrows the credential.
    pub token_scope: Option<TokenScope>,
    /// The provider that vouched for the credential when it was sealed.
    pub provider: Option<Box<str>>,
    /// The time when the credential was sealed (Unix time, microseconds).
    pub sealed_at: Option<u64>,
}

/// The contents of a token that is to be issued.
pub struct TokenContents {
    /// The credential that is sealed.
    pub credential: Credential,
    /// The provider that vouches for the credential; `None` for callers without a credential.
    pub provider: Option<Box<str>>,
    /// The granted part of what was asked.
    pub token_scope: TokenScope,
    /// The time when the credential itself expires (Unix time, seconds), if it is known.
    pub expiry: Option<u64>,
    /// The revocations of the credential that the gate knows.
    pub revocation: Revocation,
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
    /// The granted scopes. The response to a GET does not have this field.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

impl Issued {
    /// Returns the body of the response.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        // The buffer has room for the whole body, so that growing it leaves no copy of the token.
        // The body contains the token twice, and the scopes, which the token contains too.
        let mut json = Zeroizing::new(Vec::with_capacity(3 * self.token.len() + 256));
        // Strings and numbers are always valid JSON.
        let _ = serde_json::to_writer(&mut *json, self);
        json
    }
}

/// Serializes a token in plain text, because the client that asked for it must receive it.
fn exposed<S: Serializer>(token: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token)
}

impl TokenService {
    /// Creates a service for the registry that clients know as `service`. Its tokens live for
    /// `lifetime`.
    pub fn new(keys: Arc<TokenKeys>, lifetime: Duration, service: String) -> Self {
        Self { keys, lifetime, service }
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
        let TokenContents { credential, provider, token_scope, expiry, revocation } = vouched;
        let now = unix_now();
        let left = expiry.map_or(u64::MAX, |expiry| expiry.saturating_sub(now));
        let expires_in = self.lifetime.as_secs().min(left).max(SHORTEST_LIFE);
        let (issued, expires) = (revocation.seals_at(unix_micros()), now + expires_in + GRACE);
        let mut token = GateToken { issued, expires, token_scope, credential, provider };
        let sealed = self.keys.seal(&mut token, &self.service).ok_or(TokenRequestError::TooLong)?;
        // The scope is read after sealing, because `seal` removes repositories that do not fit into
        // the token, and these are not granted.
        let scope = oauth.then(|| token.token_scope.scopes());
        Ok(Issued {
            access_token: sealed.clone(),
            token: sealed,
            expires_in,
            issued_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            scope,
        })
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
                let GateToken { credential, token_scope, provider, issued, .. } =
                    opened.map_err(|_| Denial::InvalidToken)?;
                // The gate never seals a gate token in another one. The maker of such a token has a
                // key.
                if may_contain_sealed(&credential) {
                    return Err(Denial::InvalidToken);
                }
                Ok(Presented {
                    credential,
                    token_scope: Some(token_scope),
                    provider,
                    sealed_at: Some(issued),
                })
            }
            credential if may_contain_sealed(&credential) => Err(Denial::WrongCredential),
            credential => {
                Ok(Presented { credential, token_scope: None, provider: None, sealed_at: None })
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
            let mut token = GateToken { issued, expires, token_scope, credential, provider: None };
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
