//! The registry token service. It issues tokens that clients send as Bearer tokens instead of their
//! credentials.
//!
//! A token gives no new right. It is the sealed credential that it was made from, together with a
//! list that narrows the credential. A request with a token is therefore decided like any other
//! request.

pub mod gate_token;
pub mod request;

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

/// The prefixes of all texts that this gate seals: gate tokens, refresh tokens and upload
/// locations.
const SEALED_PREFIXES: [&str; 3] = [PREFIX, "mgr1.", "mu1."];

/// Returns whether a credential contains a text that this gate sealed, or that looks like one. Some
/// clients put tokens in the user name, and people paste tokens with blanks, quotes or `Bearer `
/// before them. Outside of requests to the registry a gate token is not a credential, and it is
/// never sent to a provider: a token that was made from a token would outlive it.
pub fn may_contain_sealed(credential: &Credential) -> bool {
    match credential {
        Credential::Anonymous => false,
        Credential::Basic { user, password } => {
            looks_sealed(user) || looks_sealed(password.expose_secret())
        }
        Credential::Bearer(secret) => looks_sealed(secret.expose_secret()),
    }
}

/// The length, in bytes, of the shortest text behind such a prefix that this gate can have sealed.
const MIN_SEALED: usize = 40;

fn looks_sealed(text: &str) -> bool {
    begins_sealed(text) || holds_sealed(text)
}

/// Returns whether a text begins with a sealed text, after optional blanks, quotes or a scheme.
fn begins_sealed(text: &str) -> bool {
    const SCHEME: &str = "Bearer";
    let is_around = |c: char| c.is_whitespace() || "\"'`:=\u{201c}\u{2018}".contains(c);
    let text = text.trim_start_matches(is_around);
    let (scheme, rest) = text.split_at_checked(SCHEME.len()).unwrap_or_default();
    let text =
        if scheme.eq_ignore_ascii_case(SCHEME) { rest.trim_start_matches(is_around) } else { text };
    SEALED_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
}

/// Returns whether a text contains a complete sealed text at any position.
fn holds_sealed(text: &str) -> bool {
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_whole = |behind: &str| {
        behind.len() >= MIN_SEALED && behind.bytes().take(MIN_SEALED).all(is_base64url)
    };
    // Most secrets are shorter, and are not searched.
    text.len() > MIN_SEALED
        && SEALED_PREFIXES.iter().any(|prefix| text.split(prefix).skip(1).any(is_whole))
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

    /// A text that was sealed here is never sent to a provider, independent of its kind and of the
    /// characters before it.
    #[test]
    fn a_text_that_looks_sealed_is_recognised_in_every_credential() {
        for prefix in ["mg1.", "mgr1.", "mu1."] {
            for text in [
                format!("{prefix}x"),
                prefix.to_owned(),
                format!(" {prefix}x"),
                format!("\u{a0}\t {prefix}x"),
                format!("\"{prefix}x\""),
                format!("'{prefix}x"),
                format!("\u{201c}{prefix}x"),
                format!("Bearer {prefix}x"),
                format!(" bearer  {prefix}x"),
                format!("Bearer: \"{prefix}x"),
            ] {
                let basic = |user: &str, password: &str| Credential::Basic {
                    user: user.to_owned(),
                    password: SecretString::from(password),
                };
                assert!(may_contain_sealed(&basic("alice", &text)), "{text}");
                assert!(may_contain_sealed(&basic(&text, "secret")), "{text}");
                assert!(
                    may_contain_sealed(&Credential::Bearer(SecretString::from(text.as_str()))),
                    "{text}"
                );
            }
        }
        // A complete sealed text is found at any position.
        let body = "A-_z".repeat(20);
        for text in ["%20mg1.", "token=mg1.", "Basic mgr1.", "\u{feff}mu1.", "x-mg1.", "mg1.x mg1."]
        {
            let credential = Credential::Bearer(SecretString::from(format!("{text}{body}\"")));
            assert!(may_contain_sealed(&credential), "{text}");
        }
        for text in
            ["", "mg1", "xmg1.x", "mg2.x", "mg1-x", "Bearer", "Bearer x mg1.x", "glpat-mg1.x"]
        {
            assert!(!may_contain_sealed(&Credential::Bearer(SecretString::from(text))), "{text}");
        }
    }
}
