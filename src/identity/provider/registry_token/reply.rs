//! The replies of a token server, read strictly. Pure: bytes in, values out.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::identity::provider::common::claims::{self, ClaimError, Oddities, shape};
use crate::identity::provider::common::strict_json;
use crate::registry::{Actions, RepositoryName};

/// How long a token holds where neither it nor the reply says (Distribution's token specification,
/// "expires_in").
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
    /// What was odd about the reply.
    pub odd: Oddities,
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
    /// Not three parts, or no JSON in the middle one.
    #[error("the token in the reply cannot be read")]
    Token,
    /// A claim of another type.
    #[error("the token in the reply cannot be read: {0}")]
    Claim(#[from] ClaimError),
    /// Its `aud` is not our service, and nothing else.
    #[error("the token in the reply is not for the service that was asked for")]
    Audience,
    /// `exp` is not after `iat`.
    #[error("the token in the reply ends before it begins")]
    Lifetime,
}

/// Reads the body of a 200. The signature of its token is not checked: it came from the server
/// itself, over the connection on which it was asked for.
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
    let claims = self::claims(&token).ok_or(Unreadable::Token)?;
    // Of several audiences each could present the token as its own.
    if claims::texts(&claims, "aud")?.as_deref() != Some(&[service]) {
        return Err(Unreadable::Audience);
    }
    let mut odd = Oddities::default();
    let (issued, ends) = (claims::seconds(&claims, "iat")?, claims::seconds(&claims, "exp")?);
    let lifetime = match (issued, ends) {
        (Some(from), Some(to)) if to > from => Duration::from_secs(to - from),
        (Some(_), Some(_)) => return Err(Unreadable::Lifetime),
        _ => claims::seconds(&reply, "expires_in")
            .unwrap_or_else(|error| {
                odd.note(error.to_string());
                None
            })
            .map_or(DEFAULT_LIFETIME, Duration::from_secs),
    };
    let of_gitlab = |name| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(Token {
        subject: claims::text(&claims, "sub")?
            .filter(|subject| !subject.is_empty())
            .map(str::to_owned),
        credential_type: of_gitlab("auth_type"),
        user: of_gitlab("user"),
        lifetime,
        ends: ends.filter(|_| issued.is_none()),
        issued: SecretString::from(token.as_str()),
        access: access(&claims, &mut odd)?,
        odd,
    })
}

/// Reads `access`. What is odd about one entry takes nothing from the others: it grants less by
/// that. Go writes an empty list as `null`, so each list may be one.
fn access(claims: &Map<String, Value>, odd: &mut Oddities) -> Result<Vec<AccessEntry>, ClaimError> {
    let entries = match claims.get("access") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(entries)) => entries,
        Some(other) => {
            let (name, shape) = ("access".to_owned(), shape(other));
            return Err(ClaimError::Unreadable { name, shape, needed: "a list" });
        }
    };
    Ok(entries.iter().filter_map(|entry| AccessEntry::read(entry, odd)).collect())
}

/// The claims of a JWT, unverified.
pub fn claims(jwt: &str) -> Option<Map<String, Value>> {
    let mut parts = jwt.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    strict_json::object(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

impl Token {
    /// What is listed as granted for a repository. `*` is not what anybody asked for, and does not
    /// count.
    pub fn granted(&self, repository: &RepositoryName) -> Actions {
        let mut granted = Actions::default();
        for action in self.entries(repository).flat_map(|entry| &entry.actions) {
            match action.as_str() {
                "pull" => granted.pull = true,
                "push" => granted.push = true,
                "delete" => granted.delete = true,
                _ => {}
            }
        }
        granted
    }

    /// Whether the list of all repositories is listed as granted (Distribution, "Token Scope
    /// Documentation").
    pub fn grants_catalog(&self) -> bool {
        let is_catalog = |entry: &AccessEntry| entry.kind == "registry" && entry.name == "catalog";
        let mut actions =
            self.access.iter().filter(|entry| is_catalog(entry)).flat_map(|entry| &entry.actions);
        actions.any(|action| action == "*")
    }

    /// What GitLab says of a repository besides (`meta`).
    pub fn meta(&self, repository: &RepositoryName) -> impl Iterator<Item = &Value> {
        self.entries(repository).filter_map(|entry| entry.meta.as_ref())
    }

    fn entries(&self, repository: &RepositoryName) -> impl Iterator<Item = &AccessEntry> {
        self.access
            .iter()
            .filter(move |entry| entry.kind == "repository" && entry.name == repository.as_str())
    }
}

#[derive(Debug)]
struct AccessEntry {
    kind: String,
    name: String,
    actions: Vec<String>,
    meta: Option<Value>,
}

impl AccessEntry {
    /// Reads an entry; `None` for what does not say what it is about, which is noted. Rules in
    /// `meta` hold whatever else is odd.
    fn read(entry: &Value, odd: &mut Oddities) -> Option<Self> {
        let text = |name| entry.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(kind), Some(name)) = (text("type"), text("name")) else {
            odd.note(format!(
                "`access` holds {} without a text `type` and `name`, which is left out",
                shape(entry)
            ));
            return None;
        };
        let mut actions = Vec::new();
        match entry.get("actions") {
            None | Some(Value::Null) => {}
            Some(Value::Array(listed)) => {
                for action in listed {
                    match action.as_str() {
                        Some(action) => actions.push(action.to_owned()),
                        None => odd
                            .note(format!("`actions` holds {}, which is left out", shape(action))),
                    }
                }
            }
            Some(other) => odd.note(format!(
                "`actions` is {}, which grants nothing; needed is a list",
                shape(other)
            )),
        }
        Some(Self { kind, name, actions, meta: entry.get("meta").cloned() })
    }
}

#[cfg(test)]
mod tests;
