//! The registry token service: tokens that clients send as Bearer instead of their credentials.
//!
//! A token is no new right. It is the credential it came from, sealed, with a list that makes it narrower, so a request
//! with it is decided like any other.

pub mod gate_token;
pub mod request;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use secrecy::ExposeSecret;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::denial::{Denial, TokenRequestError};
use crate::identity::clock::unix_now;
use crate::identity::credential::Credential;
use gate_token::{GateToken, GoodFor, PREFIX, TokenKeys};

/// Where it is, on the registry's own listener.
pub const PATH: &str = "/token";

/// `credential_kind` in logs.
const GATE_TOKEN: &str = "gate_token";

/// A token is good for so much longer than clients are told (seconds): dockerd sends one to the last moment, and takes
/// no refusal of it for an answer.
const GRACE: u64 = 5;

/// Clients take a shorter life for this, or for a mistake.
const SHORTEST_LIFE: u64 = 60;

/// Seals tokens and opens them.
pub struct TokenService {
    keys: Arc<TokenKeys>,
    lifetime: Duration,
    service: String,
}

/// What a request presents.
pub struct Presented {
    /// The credential itself, or what was sealed in a gate token.
    pub credential: Credential,
    /// The most that it is good for; `None`: whatever the credential is good for.
    pub good_for: Option<GoodFor>,
    /// The provider that vouched for it when it was sealed.
    pub provider: Option<Box<str>>,
}

/// What a token is made of.
pub struct Vouched {
    /// What is sealed.
    pub credential: Credential,
    /// Who vouches for it. `None` for callers without one.
    pub provider: Option<Box<str>>,
    /// What is granted of what was asked.
    pub good_for: GoodFor,
    /// When the credential itself ends (Unix time, seconds), where that is known.
    pub ends: Option<u64>,
}

/// The answer to a client that asked for a token.
#[derive(Serialize)]
pub struct Issued {
    #[serde(serialize_with = "exposed")]
    token: Zeroizing<String>,
    /// The same, by its name in OAuth.
    #[serde(serialize_with = "exposed")]
    access_token: Zeroizing<String>,
    /// Seconds.
    expires_in: u64,
    issued_at: String,
    /// What was granted. A GET has no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

impl Issued {
    /// The answer's body.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        // Room for all of it, so that growing leaves no copy: twice the token, and the scopes, which are in it too.
        let mut json = Zeroizing::new(Vec::with_capacity(3 * self.token.len() + 256));
        // Strings and numbers are always JSON.
        let _ = serde_json::to_writer(&mut *json, self);
        json
    }
}

/// Whoever asked for a token is shown it.
fn exposed<S: Serializer>(token: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token)
}

impl TokenService {
    /// A service for the registry that clients know as `service`, whose tokens live for `lifetime`.
    pub fn new(keys: Arc<TokenKeys>, lifetime: Duration, service: String) -> Self {
        Self { keys, lifetime, service }
    }

    /// Whether a token for this service may be asked for here.
    ///
    /// # Errors
    /// [`TokenRequestError::Service`] where it is another's.
    pub fn check_service(&self, asked: Option<&str>) -> Result<(), TokenRequestError> {
        if asked.is_none_or(|asked| asked == self.service) { Ok(()) } else { Err(TokenRequestError::Service) }
    }

    /// Seals a credential for what was granted. `oauth`: the answer is to a POST.
    ///
    /// # Errors
    /// [`TokenRequestError::TooLong`]
    pub fn issue(&self, vouched: Vouched, oauth: bool) -> Result<Issued, TokenRequestError> {
        let Vouched { credential, provider, good_for, ends } = vouched;
        let scope = oauth.then(|| good_for.scopes());
        let issued = unix_now();
        let left = ends.map_or(u64::MAX, |ends| ends.saturating_sub(issued));
        let expires_in = self.lifetime.as_secs().min(left).max(SHORTEST_LIFE);
        let token = GateToken { issued, expires: issued + expires_in + GRACE, good_for, credential, provider };
        let token = self.keys.seal(&token).ok_or(TokenRequestError::TooLong)?;
        Ok(Issued {
            access_token: token.clone(),
            token,
            expires_in,
            issued_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            scope,
        })
    }

    /// What a request to the registry presents: a gate token is the credential that is sealed in it, only narrower.
    ///
    /// # Errors
    /// [`Denial::InvalidToken`]; [`Denial::WrongCredential`] for a gate token as a password, of which no provider hears.
    pub fn unseal(&self, credential: Credential) -> Result<Presented, Denial> {
        match credential {
            Credential::Bearer(token) if token.expose_secret().starts_with(PREFIX) => {
                let opened = self.keys.open(token.expose_secret(), unix_now()).map_err(|_| Denial::InvalidToken)?;
                let GateToken { credential, good_for, provider, .. } = opened;
                // None is ever made so; whoever made it has a key.
                if is_gate_token(&credential) {
                    return Err(Denial::InvalidToken);
                }
                Ok(Presented { credential, good_for: Some(good_for), provider })
            }
            credential if is_gate_token(&credential) => Err(Denial::WrongCredential),
            credential => Ok(Presented { credential, good_for: None, provider: None }),
        }
    }
}

impl Presented {
    /// Whether there is no credential, be it in a token or not.
    pub fn is_nobody(&self) -> bool {
        matches!(self.credential, Credential::Anonymous)
    }
}

/// How a credential was presented, as logs say it, before anybody knows whether it is good.
pub fn kind(credential: &Credential) -> &'static str {
    match credential {
        Credential::Bearer(_) if is_gate_token(credential) => GATE_TOKEN,
        credential => credential.kind(),
    }
}

/// Whether it holds a gate token, or what looks like one: some clients put tokens where the user name belongs. For more
/// than requests to the registry it is no credential: a token that was made from a token would outlive it.
pub fn is_gate_token(credential: &Credential) -> bool {
    let looks_like_one = |text: &str| text.trim_start().starts_with(PREFIX);
    match credential {
        Credential::Anonymous => false,
        Credential::Basic { user, password } => looks_like_one(user) || looks_like_one(password.expose_secret()),
        Credential::Bearer(secret) => looks_like_one(secret.expose_secret()),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    /// Whoever has a key could make one. It would be shown to the providers otherwise.
    #[test]
    fn a_token_in_a_token_is_none() {
        let keys = Arc::new(TokenKeys::random().unwrap());
        let service = TokenService::new(keys.clone(), Duration::from_secs(60), "registry.test".into());
        let sealed = |credential| {
            let good_for = GoodFor::default();
            let (issued, expires) = (unix_now(), unix_now() + 60);
            let token = GateToken { issued, expires, good_for, credential, provider: None };
            keys.seal(&token).unwrap().as_str().to_owned()
        };
        let bearer = |token: &str| Credential::Bearer(SecretString::from(token));
        let inner = sealed(bearer("opaque"));
        assert!(service.unseal(bearer(&inner)).is_ok());
        let as_password = Credential::Basic { user: "alice".into(), password: SecretString::from(inner.as_str()) };
        for credential in [bearer(&inner), as_password] {
            let outer = bearer(&sealed(credential));
            assert_eq!(service.unseal(outer).err(), Some(Denial::InvalidToken));
        }
    }
}
