//! The contents of an introspection reply (RFC 7662, 2.2). This module performs no I/O.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::identity::model::ClaimPath;
use crate::identity::provider::common::claims::{self, ClaimError, Oddities};
use crate::strict_json::{self, StrictJsonError};

/// The largest tolerated difference between the server's clock and the gate's, in seconds, for a
/// token that the server calls active although its `nbf` has not come yet.
const LEEWAY: u64 = 60;

/// The requirements of the config on a reply.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The audience that `aud` must contain.
    pub audience: Option<String>,
    /// `true` if `username` must equal the user name that came with the token.
    pub match_username: bool,
    /// The member that lists groups.
    pub groups_claim: Option<ClaimPath>,
}

/// The server's statement about a token.
#[derive(Debug, PartialEq, Eq)]
pub enum TokenState {
    /// The server does not know the token, or it is not active.
    NotMine,
    /// The server calls the token active, but it is not valid for this use at this time, for this
    /// reason.
    NotForHere(&'static str),
    /// The token is active, but it is not an access token.
    NoAccessToken,
    /// The token is active.
    Active(ActiveToken),
}

/// An active token.
#[derive(Debug, PartialEq, Eq)]
pub struct ActiveToken {
    /// `sub`, else `username`, else `client:` and the `client_id`.
    pub subject: String,
    /// The scopes; empty without a `scope`.
    pub scopes: Vec<String>,
    /// The groups in the member that lists groups.
    pub groups: Vec<String>,
    /// `exp`, Unix time in seconds.
    pub expires: Option<u64>,
    /// The oddities of the reply.
    pub odd: Oddities,
}

/// The reason why a reply cannot be used. It prints no value of the reply.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    #[error("not a JSON object: {0}")]
    Json(#[from] StrictJsonError),
    #[error("`active` is {0}; it must be true or false")]
    Active(String),
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(
        "the token is active, but the reply does not name its owner: it has no `sub`, \
         `username` or `client_id`"
    )]
    NoSubject,
}

/// The prefix of the subject of a client that acts only for itself. A user whose name has this
/// prefix is refused.
const CLIENT_PREFIX: &str = "client:";

/// Reads the body of a reply with status 200. `user` is the user name that came with the token.
/// `now` is the Unix time in seconds.
///
/// # Errors
/// [`ReplyError`] if the reply cannot be understood. Such a reply is neither a yes nor a no.
pub fn read(
    body: &[u8],
    expected: &Expected,
    user: Option<&str>,
    now: u64,
) -> Result<TokenState, ReplyError> {
    let reply = strict_json::object_with_odd_parts(body)?;
    match reply.get("active") {
        Some(Value::Bool(true)) => {}
        // No other member counts then, and servers do not send any.
        Some(Value::Bool(false)) => return Ok(TokenState::NotMine),
        other => {
            return Err(ReplyError::Active(
                other.map_or_else(|| "missing".to_owned(), claims::shape),
            ));
        }
    }
    let mut odd = Oddities::default();
    let mut expires = seconds(&reply, "exp", &mut odd)?;
    // Doorkeeper writes 0 for a token that does not expire (RFC 7662 leaves `exp` out then).
    if expires == Some(0) && reply.get("exp").and_then(Value::as_f64).is_none_or(|end| end == 0.0) {
        odd.note("`exp` is 0, which is taken for no end".to_owned());
        expires = None;
    }
    let begins = seconds(&reply, "nbf", &mut odd)?;
    if expires.is_some_and(|end| end <= now) {
        return Ok(TokenState::NotForHere("its `exp` has passed; do the clocks agree?"));
    }
    if begins.is_some_and(|begin| begin > now.saturating_add(LEEWAY)) {
        return Ok(TokenState::NotForHere("its `nbf` is to come; do the clocks agree?"));
    }
    if let Some(audience) = &expected.audience
        && !claims::texts_among(&reply, "aud", &mut odd)?.contains(audience)
    {
        return Ok(TokenState::NotForHere("its `aud` does not hold the audience of the config"));
    }
    // A Bearer token comes without a user name, so it cannot be used under another user's name.
    if expected.match_username && user.is_some() && claims::text(&reply, "username")? != user {
        return Ok(TokenState::NotForHere(
            "its `username` is not the user name that came with it (match_username)",
        ));
    }
    if claims::text(&reply, "token_use")?
        .is_some_and(|token_use| !matches!(token_use, "access" | "access_token"))
    {
        return Ok(TokenState::NoAccessToken);
    }
    let subject = subject(&reply, &mut odd)?;
    let Some(subject) = subject else {
        return Ok(TokenState::NotForHere(
            "its subject begins with `client:` as that of a client does, and it is none",
        ));
    };
    Ok(TokenState::Active(ActiveToken {
        subject,
        scopes: claims::scopes(&reply, &mut odd),
        groups: claims::groups(&reply, expected.groups_claim.as_ref(), &mut odd),
        expires,
        odd,
    }))
}

/// Returns a point in time in seconds. Some servers write the number as a text.
fn seconds(
    reply: &Map<String, Value>,
    name: &str,
    odd: &mut Oddities,
) -> Result<Option<u64>, ClaimError> {
    if let Some(value @ Value::String(text)) = reply.get(name)
        && let Ok(seconds) = text.parse()
    {
        odd.note(format!("`{name}` is {}, which is read as a number", claims::shape(value)));
        return Ok(Some(seconds));
    }
    claims::seconds(reply, name)
}

/// Returns the subject of the token. A name that cannot be used counts as absent and is noted.
/// Returns `None` if a user has the name of a client.
fn subject(reply: &Map<String, Value>, odd: &mut Oddities) -> Result<Option<String>, ReplyError> {
    let mut named = |name| match claims::subject(reply, name) {
        Ok(subject) => subject,
        Err(error) => {
            odd.note(error.to_string());
            None
        }
    };
    for name in ["sub", "username"] {
        if let Some(subject) = named(name) {
            let client = subject.strip_prefix(CLIENT_PREFIX);
            let is_somebody_elses = client.is_some() && client != named("client_id");
            return Ok((!is_somebody_elses).then(|| subject.to_owned()));
        }
    }
    let client = named("client_id").ok_or(ReplyError::NoSubject)?;
    Ok(Some(format!("{CLIENT_PREFIX}{client}")))
}
