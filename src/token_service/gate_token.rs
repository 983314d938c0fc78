//! A gate token: the credential that it was made from, sealed, with a list of what it may be used
//! for.
//!
//! Only the gate opens a gate token: it is [sealed](crate::sealing). The gate believes nothing in
//! it that the provider does not still confirm about the credential, except that the signature of a
//! workload token with a session was checked. Replicas therefore share only
//! a file of keys. The registry that the token is for is authenticated with it: a token of one
//! registry is not valid at another registry that shares the key.

#[cfg(test)]
mod tests;
mod token_scope;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::sealed_text::{self, PADDING};
use crate::identity::model::credential::Credential;
use crate::registry::{Action, Actions, RepositoryName};
use crate::sealing::{SealedKind, TokenKeys};

pub use super::sealed_text::MAX_SECRET_BYTES;
pub use token_scope::{CatalogShare, MAX_REFUSED, RefusedAccess, TokenScope};

/// The prefix of every gate token.
pub const PREFIX: &str = SealedKind::GateToken.prefix();

/// The largest gate token that is made or opened, in bytes. Header fields must be able to hold it.
pub const MAX_TOKEN_BYTES: usize = 20 * 1024;

/// The largest number of sealed bytes, with padding: [`MAX_TOKEN_BYTES`] without prefix, key id,
/// nonce and tag.
const MAX_SEALED_BYTES: usize = MAX_TOKEN_BYTES / 4 * 3 - 2 * PADDING;

/// The largest difference between the clocks of two replicas, in seconds.
pub(super) const LEEWAY: u64 = 60;

/// The contents of a gate token.
#[derive(Debug)]
pub struct GateToken {
    /// The time when the token was made (Unix time, microseconds). A revocation uses it to
    /// distinguish earlier tokens from later ones.
    pub issued: u64,
    /// The time when the token expires (Unix time, seconds).
    pub expires: u64,
    /// The limit of what the token may be used for.
    pub token_scope: TokenScope,
    /// The credential that the token was made from.
    pub credential: Credential,
    /// The provider that vouched for the credential, by its name in the config. No other provider
    /// needs to receive the secret, even from a process that has not seen the credential before.
    pub provider: Option<Box<str>>,
    /// `true` if the credential is a workload token with a session: its provider had checked its
    /// signature.
    pub in_session: bool,
}

/// The reason why a token is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The text is not a gate token, or none of these keys sealed it for this service.
    Forged,
    /// The token has expired, or its time has not come yet.
    Expired,
}

/// The sealed text, as JSON. The names are short, because every byte lengthens a header field.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed<'a> {
    #[serde(rename = "iat")]
    issued: u64,
    #[serde(rename = "exp")]
    expires: u64,
    /// The repository and its actions, as in `pull,push`.
    #[serde(rename = "for", borrow)]
    repositories: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The [`CatalogShare`] as a number.
    #[serde(rename = "cat", default)]
    catalog: u8,
    /// The [`RefusedAccess`]es: the repository, the action and the message. The list of all
    /// repositories has neither repository nor action.
    #[serde(rename = "no", default, skip_serializing_if = "Vec::is_empty", borrow)]
    refused: Vec<(Cow<'a, str>, Cow<'a, str>, Cow<'a, str>)>,
    #[serde(rename = "idp", borrow)]
    provider: Option<Cow<'a, str>>,
    // Left out where it is false, so that earlier versions of the gate read the token.
    #[serde(rename = "ses", default, skip_serializing_if = "std::ops::Not::not")]
    in_session: bool,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    secret: Option<Cow<'a, str>>,
}

impl TokenKeys {
    /// Seals a token with the first key, for the registry that clients know as `service` and for no
    /// other registry that shares the key. If the token lists more repositories than fit, the last
    /// ones are removed from `token`.
    ///
    /// # Errors
    /// `None` if the secret or the whole token is too long, or if the system provides no
    /// randomness.
    pub fn seal(&self, token: &mut GateToken, service: &str) -> Option<Zeroizing<String>> {
        let mut bytes = token.to_json()?;
        if bytes.len() > MAX_SEALED_BYTES {
            token.token_scope.drop_bytes(bytes.len() - MAX_SEALED_BYTES);
            bytes = token.to_json().filter(|bytes| bytes.len() <= MAX_SEALED_BYTES)?;
        }
        sealed_text::pad(&mut bytes);
        self.seal_bytes(SealedKind::GateToken, service, bytes)
    }

    /// Opens a token of the registry that clients know as `service`, at the time `now` (Unix time,
    /// seconds).
    ///
    /// # Errors
    /// [`OpenError::Forged`] if the token is damaged or was not sealed with one of these keys for
    /// this service. [`OpenError::Expired`] if `now` is not within its lifetime.
    pub fn open(&self, token: &str, service: &str, now: u64) -> Result<GateToken, OpenError> {
        let token = self.decrypt(token, service).ok_or(OpenError::Forged)?;
        if token.expires <= now || token.issued / 1_000_000 > now.saturating_add(LEEWAY) {
            return Err(OpenError::Expired);
        }
        Ok(token)
    }

    fn decrypt(&self, token: &str, service: &str) -> Option<GateToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let plain = self.open_bytes(SealedKind::GateToken, service, token)?;
        let sealed: Sealed<'_> = serde_json::from_slice(&plain).ok()?;
        let repositories = sealed
            .repositories
            .iter()
            .map(|(name, words)| Some((RepositoryName::parse(name)?, Actions::parse(words)?)));
        let refused = sealed.refused.iter().map(|(name, action, message)| {
            let action = match (&**name, &**action) {
                ("", "") => None,
                (name, action) => Some((RepositoryName::parse(name)?, Action::parse(action)?)),
            };
            Some(RefusedAccess { action, message: message.as_ref().into() })
        });
        let refused = refused.collect::<Option<_>>()?;
        let catalog = match sealed.catalog {
            0 => CatalogShare::None,
            1 => CatalogShare::Listed,
            2 => CatalogShare::All,
            _ => return None,
        };
        let credential = sealed_text::credential(sealed.user, sealed.secret)?;
        Some(GateToken {
            issued: sealed.issued,
            expires: sealed.expires,
            token_scope: TokenScope {
                repositories: repositories.collect::<Option<_>>()?,
                catalog,
                refused,
            },
            credential,
            provider: sealed.provider.map(|name| name.into_owned().into()),
            in_session: sealed.in_session,
        })
    }
}

impl GateToken {
    /// Returns the text that is sealed, as JSON; `None` if the secret is too long.
    fn to_json(&self) -> Option<Zeroizing<Vec<u8>>> {
        let (user, secret) = sealed_text::parts(&self.credential)?;
        let repositories = self.token_scope.repositories.iter();
        let sealed = Sealed {
            issued: self.issued,
            expires: self.expires,
            repositories: repositories
                .map(|(name, actions)| (name.as_str().into(), actions.words().into()))
                .collect(),
            catalog: match self.token_scope.catalog {
                CatalogShare::None => 0,
                CatalogShare::Listed => 1,
                CatalogShare::All => 2,
            },
            refused: self.token_scope.refused.iter().map(sealed_refusal).collect(),
            provider: self.provider.as_deref().map(Into::into),
            in_session: self.in_session,
            user,
            secret,
        };
        sealed_text::to_json(&sealed)
    }
}

fn sealed_refusal(refused: &RefusedAccess) -> (Cow<'_, str>, Cow<'_, str>, Cow<'_, str>) {
    let (name, action) = match &refused.action {
        Some((name, action)) => (name.as_str(), action.as_str()),
        None => ("", ""),
    };
    (name.into(), action.into(), (&*refused.message).into())
}
