//! The registry token service: tokens that clients send as Bearer instead of their credentials.
//!
//! A token is no new right. It is the credential it came from, sealed, with a list that makes it
//! narrower, so a request with it is decided like any other.

pub mod gate_token;
pub mod request;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use secrecy::ExposeSecret;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::denial::{Denial, TokenRequestError};
use crate::identity::model::credential::Credential;
use crate::identity::model::unix_time::{unix_micros, unix_now};
use gate_token::{GateToken, PREFIX, TokenKeys, TokenScope};

/// Where it is, on the registry's own listener.
pub const PATH: &str = "/token";

/// `credential_kind` in logs.
const GATE_TOKEN: &str = "gate_token";

/// A token is good for so much longer than clients are told (seconds): dockerd sends one to the
/// last moment, and takes no refusal of it for an answer.
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
    pub token_scope: Option<TokenScope>,
    /// The provider that vouched for it when it was sealed.
    pub provider: Option<Box<str>>,
    /// When it was sealed (Unix time, microseconds).
    pub sealed: Option<u64>,
}

/// What a token is made of.
pub struct Vouched {
    /// What is sealed.
    pub credential: Credential,
    /// Who vouches for it. `None` for callers without one.
    pub provider: Option<Box<str>>,
    /// What is granted of what was asked.
    pub token_scope: TokenScope,
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
        // Room for all of it, so that growing leaves no copy: twice the token, and the scopes,
        // which are in it too.
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
        if asked.is_none_or(|asked| asked == self.service) {
            Ok(())
        } else {
            Err(TokenRequestError::Service)
        }
    }

    /// Seals a credential for what was granted. `oauth`: the answer is to a POST.
    ///
    /// # Errors
    /// [`TokenRequestError::TooLong`]
    pub fn issue(&self, vouched: Vouched, oauth: bool) -> Result<Issued, TokenRequestError> {
        let Vouched { credential, provider, token_scope, ends } = vouched;
        let now = unix_now();
        let left = ends.map_or(u64::MAX, |ends| ends.saturating_sub(now));
        let expires_in = self.lifetime.as_secs().min(left).max(SHORTEST_LIFE);
        let (issued, expires) = (unix_micros(), now + expires_in + GRACE);
        let mut token = GateToken { issued, expires, token_scope, credential, provider };
        let sealed = self.keys.seal(&mut token, &self.service).ok_or(TokenRequestError::TooLong)?;
        // After that, for what does not fit into a token is not granted.
        let scope = oauth.then(|| token.token_scope.scopes());
        Ok(Issued {
            access_token: sealed.clone(),
            token: sealed,
            expires_in,
            issued_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            scope,
        })
    }

    /// What a request to the registry presents: a gate token is the credential that is sealed in
    /// it, only narrower.
    ///
    /// # Errors
    /// [`Denial::InvalidToken`]; [`Denial::WrongCredential`] for a gate token as a password, of
    /// which no provider hears.
    pub fn unseal(&self, credential: Credential) -> Result<Presented, Denial> {
        match credential {
            Credential::Bearer(token) if token.expose_secret().starts_with(PREFIX) => {
                let opened = self.keys.open(token.expose_secret(), &self.service, unix_now());
                let GateToken { credential, token_scope, provider, issued, .. } =
                    opened.map_err(|_| Denial::InvalidToken)?;
                // None is ever made so; whoever made it has a key.
                if is_sealed(&credential) {
                    return Err(Denial::InvalidToken);
                }
                Ok(Presented {
                    credential,
                    token_scope: Some(token_scope),
                    provider,
                    sealed: Some(issued),
                })
            }
            credential if is_sealed(&credential) => Err(Denial::WrongCredential),
            credential => {
                Ok(Presented { credential, token_scope: None, provider: None, sealed: None })
            }
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
        Credential::Bearer(secret) if secret.expose_secret().starts_with(PREFIX) => GATE_TOKEN,
        credential => credential.kind(),
    }
}

/// How everything begins that this gate seals: gate tokens, refresh tokens and addresses of
/// uploads.
const SEALED_PREFIXES: [&str; 3] = [PREFIX, "mgr1.", "mu1."];

/// Whether it holds something that was sealed here, or looks like it: some clients put tokens where
/// the user name belongs, and people paste them with blanks, quotes or `Bearer ` before them.
/// Beyond requests to the registry a gate token is no credential, and no provider is shown one: a
/// token that was made from a token would outlive it.
pub fn is_sealed(credential: &Credential) -> bool {
    match credential {
        Credential::Anonymous => false,
        Credential::Basic { user, password } => {
            looks_sealed(user) || looks_sealed(password.expose_secret())
        }
        Credential::Bearer(secret) => looks_sealed(secret.expose_secret()),
    }
}

/// A shorter text behind such a prefix was not sealed here. Bytes.
const MIN_SEALED: usize = 40;

fn looks_sealed(text: &str) -> bool {
    begins_sealed(text) || holds_sealed(text)
}

/// With blanks, quotes or a scheme before it, as it is pasted.
fn begins_sealed(text: &str) -> bool {
    const SCHEME: &str = "Bearer";
    let is_around = |c: char| c.is_whitespace() || "\"'`:=\u{201c}\u{2018}".contains(c);
    let text = text.trim_start_matches(is_around);
    let (scheme, rest) = text.split_at_checked(SCHEME.len()).unwrap_or_default();
    let text =
        if scheme.eq_ignore_ascii_case(SCHEME) { rest.trim_start_matches(is_around) } else { text };
    SEALED_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
}

/// A whole one, wherever it stands.
fn holds_sealed(text: &str) -> bool {
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_whole = |behind: &str| {
        behind.len() >= MIN_SEALED && behind.bytes().take(MIN_SEALED).all(is_base64url)
    };
    // Most secrets are shorter, and not searched.
    text.len() > MIN_SEALED
        && SEALED_PREFIXES.iter().any(|prefix| text.split(prefix).skip(1).any(is_whole))
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    /// Whoever has a key could make one. It would be shown to the providers otherwise.
    #[test]
    fn a_token_in_a_token_is_none() {
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

    /// Nothing that was sealed here is shown to a provider, whatever it is and whatever stands
    /// before it.
    #[test]
    fn what_looks_sealed_is_no_credential() {
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
                assert!(is_sealed(&basic("alice", &text)), "{text}");
                assert!(is_sealed(&basic(&text, "secret")), "{text}");
                assert!(
                    is_sealed(&Credential::Bearer(SecretString::from(text.as_str()))),
                    "{text}"
                );
            }
        }
        // A whole one is found wherever it stands.
        let body = "A-_z".repeat(20);
        for text in ["%20mg1.", "token=mg1.", "Basic mgr1.", "\u{feff}mu1.", "x-mg1.", "mg1.x mg1."]
        {
            let credential = Credential::Bearer(SecretString::from(format!("{text}{body}\"")));
            assert!(is_sealed(&credential), "{text}");
        }
        for text in
            ["", "mg1", "xmg1.x", "mg2.x", "mg1-x", "Bearer", "Bearer x mg1.x", "glpat-mg1.x"]
        {
            assert!(!is_sealed(&Credential::Bearer(SecretString::from(text))), "{text}");
        }
    }
}
