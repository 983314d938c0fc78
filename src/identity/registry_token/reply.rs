//! The replies of a token server, read strictly. Pure: bytes in, values out.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::identity::strict_json;
use crate::registry::{Actions, RepositoryName};

/// How long a token holds where neither it nor the reply says (Distribution's token specification, "expires_in").
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// What is read of the token in a reply.
#[derive(Debug)]
pub struct Token {
    /// Who the server takes the caller for (`sub`). Where it is empty there is none.
    pub subject: Option<String>,
    /// What GitLab calls the kind of credential (`auth_type`).
    pub credential_type: Option<String>,
    /// What GitLab says of the caller besides (`user`), itself a JWT.
    pub user: Option<String>,
    /// How long the answer holds, by the server's own clock.
    pub lifetime: Duration,
    /// When it ends (`exp`; Unix time, seconds), where it does not say since when it holds.
    pub ends: Option<u64>,
    /// The token itself.
    pub issued: SecretString,
    access: Vec<AccessEntry>,
}

/// Why a reply is none. It prints nothing of what the reply holds.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unreadable {
    /// Not a JSON object, or one with the same key twice.
    #[error("the reply is not the JSON of a token")]
    Reply,
    /// `token` and `access_token` are two names for one thing.
    #[error("the reply has two tokens that differ")]
    TwoTokens,
    /// Not three parts, or no JSON in the middle one, or a claim of another type.
    #[error("the token in the reply cannot be read")]
    Token,
    /// Its `aud` is not our service, and nothing else.
    #[error("the token in the reply is not for the service that was asked for")]
    Audience,
    /// `exp` is not after `iat`.
    #[error("the token in the reply ends before it begins")]
    Lifetime,
}

/// Reads the body of a 200. The signature of its token is not checked: it came from the server itself, over the
/// connection on which it was asked for.
///
/// # Errors
/// Whatever is not a token for `service`.
pub fn read(body: &[u8], service: &str) -> Result<Token, Unreadable> {
    let mut reply = strict_json::object(body).map_err(|_| Unreadable::Reply)?;
    let mut take = |key| match reply.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) => Ok(Some(Zeroizing::new(token))),
        Some(_) => Err(Unreadable::Reply),
    };
    let token = match (take("token")?, take("access_token")?) {
        (Some(token), Some(same)) if token == same => token,
        (Some(_), Some(_)) => return Err(Unreadable::TwoTokens),
        (Some(token), None) | (None, Some(token)) => token,
        (None, None) => return Err(Unreadable::Reply),
    };
    let claims = Value::Object(claims(&token).ok_or(Unreadable::Token)?);
    let claims: Claims = serde_json::from_value(claims).map_err(|_| Unreadable::Token)?;
    if !claims.aud.is_some_and(|audience| audience.is(service)) {
        return Err(Unreadable::Audience);
    }
    let lifetime = match (claims.iat, claims.exp) {
        (Some(from), Some(to)) if to > from => Duration::from_secs(to - from),
        (Some(_), Some(_)) => return Err(Unreadable::Lifetime),
        _ => match reply.get("expires_in") {
            None | Some(Value::Null) => DEFAULT_LIFETIME,
            Some(seconds) => Duration::from_secs(seconds.as_u64().ok_or(Unreadable::Reply)?),
        },
    };
    Ok(Token {
        subject: claims.sub.filter(|subject| !subject.is_empty()),
        credential_type: claims.auth_type.as_ref().and_then(Value::as_str).map(str::to_owned),
        user: claims.user.as_ref().and_then(Value::as_str).map(str::to_owned),
        lifetime,
        ends: claims.exp.filter(|_| claims.iat.is_none()),
        issued: SecretString::from(token.as_str()),
        access: claims.access.unwrap_or_default(),
    })
}

/// Whether the body of a 403 says that the credential is good and the access is not: `{"errors": [{"code": "DENIED"}]}`.
pub fn is_denied(body: &[u8]) -> bool {
    let Ok(reply) = strict_json::object(body) else { return false };
    let Some(Value::Array(errors)) = reply.get("errors") else { return false };
    errors.iter().any(|error| error.get("code").is_some_and(|code| code == "DENIED"))
}

/// The claims of a JWT, unverified.
pub fn claims(jwt: &str) -> Option<Map<String, Value>> {
    let mut parts = jwt.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    strict_json::object(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

impl Token {
    /// What is listed as granted for a repository. `*` is not what anybody asked for, and does not count.
    pub fn granted(&self, repository: &RepositoryName) -> Actions {
        let mut granted = Actions::default();
        for action in self.entries(repository).flat_map(|entry| entry.actions.iter().flatten()) {
            match action.as_str() {
                "pull" => granted.pull = true,
                "push" => granted.push = true,
                "delete" => granted.delete = true,
                _ => {}
            }
        }
        granted
    }

    /// Whether the list of all repositories is listed as granted (Distribution, "Token Scope Documentation").
    pub fn grants_catalog(&self) -> bool {
        let is_catalog = |entry: &AccessEntry| entry.kind == "registry" && entry.name == "catalog";
        let mut actions =
            self.access.iter().filter(|entry| is_catalog(entry)).flat_map(|entry| entry.actions.iter().flatten());
        actions.any(|action| action == "*")
    }

    /// What GitLab says of a repository besides (`meta`).
    pub fn meta(&self, repository: &RepositoryName) -> impl Iterator<Item = &Value> {
        self.entries(repository).filter_map(|entry| entry.meta.as_ref())
    }

    fn entries(&self, repository: &RepositoryName) -> impl Iterator<Item = &AccessEntry> {
        self.access.iter().filter(move |entry| entry.kind == "repository" && entry.name == repository.as_str())
    }
}

/// Go writes an empty list as `null`, so each list may be one.
#[derive(Deserialize)]
struct Claims {
    aud: Option<Audience>,
    sub: Option<String>,
    /// Words of GitLab's. Another server may mean something else by them.
    auth_type: Option<Value>,
    user: Option<Value>,
    exp: Option<u64>,
    iat: Option<u64>,
    access: Option<Vec<AccessEntry>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct AccessEntry {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Option<Vec<String>>,
    meta: Option<Value>,
}

impl Audience {
    fn is(&self, service: &str) -> bool {
        match self {
            Self::One(audience) => audience == service,
            Self::Several(audiences) => matches!(&**audiences, [audience] if audience == service),
        }
    }
}

#[cfg(test)]
mod tests;
