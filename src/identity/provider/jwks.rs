//! The public keys of an issuer: a JSON Web Key Set (RFC 7517, 5). Only [`fetcher`] performs I/O.

pub mod fetcher;
mod key;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde_json::Value;

pub use key::PublicKey;

use crate::strict_json::{self, StrictJsonError};

/// The largest size of a key set, in bytes. Real sets have two to ten keys of 1 to 4 KiB.
pub const MAX_JWKS_BYTES: usize = 256 * 1024;

/// The largest number of keys in a set.
const MAX_KEYS: usize = 100;

/// The largest number of keys of the same name that are tried for a signature. Each try costs the
/// gate as much as the first, and any caller can send a token.
const MAX_KEYS_TRIED: usize = 4;

/// The usable keys of an issuer: at least one, and no key twice under the same name.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Arc<PublicKey>>,
    unused: Vec<String>,
}

/// The result of a search for the key of a token.
#[derive(Clone, Debug)]
pub enum KeyMatch {
    /// The key is one of these: a single key, or the few to which the issuer gave the same name.
    Keys(Vec<Arc<PublicKey>>),
    /// The set has no key of this name. The key may be new.
    UnknownId,
    /// The set has no suitable key: the named key is for other algorithms, or the token names no
    /// key and not exactly one key is suitable.
    Unfit,
}

/// The reason why a text is not a usable key set.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    #[error("it has {0} bytes, and a key set may have at most {MAX_JWKS_BYTES}")]
    TooLarge(usize),
    #[error("it is HTML or XML, not a JSON Web Key Set")]
    Markup,
    #[error("it is not a JSON Web Key Set: {0}")]
    Json(#[from] StrictJsonError),
    #[error("it is not a JSON Web Key Set: it has no list `keys`")]
    NoKeys,
    #[error("it has {0} keys, and a key set may have at most {MAX_KEYS}")]
    TooManyKeys(usize),
    #[error(
        "no key can be used{}; at least one public RSA, EC (P-256, P-384) or Ed25519 key for \
         signatures is required",
        listed(.0)
    )]
    NoUsableKey(Vec<String>),
}

impl KeySet {
    /// Reads a set. Keys of another kind or use, and keys that are too weak, too large or odd, are
    /// left out, so that keys which the issuer adds for others do not make the rest unusable; see
    /// [`unused`](Self::unused). A key that is listed more than once under one name, such as for
    /// several algorithms, counts as one.
    ///
    /// # Errors
    /// [`JwksError`] if the text is not a key set, or has no usable key.
    pub fn parse(text: &[u8]) -> Result<Self, JwksError> {
        if text.len() > MAX_JWKS_BYTES {
            return Err(JwksError::TooLarge(text.len()));
        }
        if text.trim_ascii_start().starts_with(b"<") {
            return Err(JwksError::Markup);
        }
        let mut set = strict_json::object_with_odd_parts(text)?;
        let Some(Value::Array(entries)) = set.remove("keys") else { return Err(JwksError::NoKeys) };
        if entries.len() > MAX_KEYS {
            return Err(JwksError::TooManyKeys(entries.len()));
        }
        let (mut keys, mut unused) = (Vec::<PublicKey>::new(), Vec::new());
        for (place, entry) in entries.iter().enumerate() {
            match PublicKey::read(entry) {
                Ok(key) => match keys
                    .iter_mut()
                    .find(|known| known.id() == key.id() && known.is_same_key(&key))
                {
                    Some(known) => known.add_algorithms_of(&key),
                    None => keys.push(key),
                },
                Err(why) => unused.push(format!("key {}: {why}", place + 1)),
            }
        }
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey(unused));
        }
        Ok(Self { keys: keys.into_iter().map(Arc::new).collect(), unused })
    }

    /// Returns the number of usable keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns `false`: a set has at least one key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the keys that were left out, with the reasons.
    pub fn unused(&self) -> &[String] {
        &self.unused
    }

    /// Returns the keys for a token whose header has this `kid` and `alg`. Without a `kid`, returns
    /// the only key that is for `alg`.
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> KeyMatch {
        let fits = |key: &&Arc<PublicKey>| key.is_for(algorithm);
        let found: Vec<_> = match id {
            Some(id) => {
                let mut named = self.keys.iter().filter(|key| key.id() == Some(id)).peekable();
                if named.peek().is_none() {
                    return KeyMatch::UnknownId;
                }
                named.filter(fits).take(MAX_KEYS_TRIED).cloned().collect()
            }
            None => {
                let mut fitting = self.keys.iter().filter(fits);
                let first = fitting.next();
                first
                    .filter(|first| fitting.all(|other| other.is_same_key(first)))
                    .cloned()
                    .into_iter()
                    .collect()
            }
        };
        if found.is_empty() { KeyMatch::Unfit } else { KeyMatch::Keys(found) }
    }
}

fn listed(reasons: &[String]) -> String {
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) }
}
