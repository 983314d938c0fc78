//! The strict reading of a token server's replies. This module performs no I/O: bytes in, values
//! out.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::identity::provider::common::claims::{self, ClaimError, Oddities, shape};
use crate::registry::{Actions, RepositoryName};
use crate::strict_json;

/// The lifetime of a token if neither the token nor the reply states it (Distribution's token
/// specification, "expires_in").
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// The contents of the token in a reply.
#[derive(Debug)]
pub struct Token {
    /// The caller according to the server (`sub`); `None` if it is missing or empty.
    pub subject: Option<String>,
    /// The kind of credential according to GitLab (`auth_type`).
    pub credential_type: Option<String>,
    /// The further description of the caller by GitLab (`user`), itself a JWT.
    pub user: Option<String>,
    /// The lifetime of the answer, by the server's own clock.
    pub lifetime: Duration,
    /// The end of the token (`exp`; Unix time, seconds), if the token does not state its
    /// beginning.
    pub ends: Option<u64>,
    /// The token itself.
    pub issued: SecretString,
    /// The oddities of the reply.
    pub odd: Oddities,
    access: Vec<AccessEntry>,
}

/// The reason why a reply is not accepted. It prints nothing of the reply's contents.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unreadable {
    /// The reply is not a JSON object with a token, or has the same key twice.
    #[error("the reply is not a JSON object with a token")]
    Reply,
    /// The reply has a `token` and an `access_token` that differ, although both name one token.
    #[error("the reply has two tokens that differ")]
    TwoTokens,
    /// The token does not have three parts, or its middle part is not JSON.
    #[error("the token in the reply cannot be read")]
    Token,
    /// A claim has another type.
    #[error("the token in the reply cannot be read: {0}")]
    Claim(#[from] ClaimError),
    /// The `aud` is not the requested service alone.
    #[error("the token in the reply is not for the service that was asked for")]
    Audience,
    /// The `exp` is not after the `iat`.
    #[error("the token in the reply ends before it begins")]
    Lifetime,
}

/// Reads the body of a 200. The signature of its token is not checked, because the server itself
/// sent the token, over the connection on which it was requested.
///
/// # Errors
/// [`Unreadable`] if the body does not contain a token for `service`.
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
    // If several audiences were allowed, each of them could present the token as its own.
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

/// Reads `access`. An odd entry does not affect the others: without it, the token only grants less.
/// Go writes an empty list as `null`, so each list may be `null`.
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

/// Returns the claims of a JWT, unverified.
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
    /// Returns the actions that the token lists for a repository. The gate never asks for `*`, so
    /// `*` does not count.
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

    /// Returns whether the token lists access to the list of all repositories (Distribution, "Token
    /// Scope Documentation").
    pub fn grants_catalog(&self) -> bool {
        let is_catalog = |entry: &AccessEntry| entry.kind == "registry" && entry.name == "catalog";
        let mut actions =
            self.access.iter().filter(|entry| is_catalog(entry)).flat_map(|entry| &entry.actions);
        actions.any(|action| action == "*")
    }

    /// Returns the further data of GitLab about a repository (`meta`).
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
    /// Reads an entry. Returns `None` and notes the entry if it does not state its subject. The
    /// rules in `meta` apply even if other members of the entry are odd.
    fn read(entry: &Value, odd: &mut Oddities) -> Option<Self> {
        let text = |name| entry.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(kind), Some(name)) = (text("type"), text("name")) else {
            odd.note(format!(
                "`access` holds {} without `type` and `name` as texts, which is left out",
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
                "`actions` is {}, which grants nothing; it must be a list",
                shape(other)
            )),
        }
        Some(Self { kind, name, actions, meta: entry.get("meta").cloned() })
    }
}

#[cfg(test)]
mod tests;
