//! A gate token: the credential that it came from, sealed, with a list of what it is good for.
//!
//! `mg1.<key id>.<nonce and ciphertext>`, the last two in base64url. It is opened here and nowhere
//! else; nobody can read or change one without a key, and nothing in it is believed that the
//! provider does not still say of the credential. So replicas share nothing but a file of keys.
//!
//! AES-256-GCM-SIV (RFC 8452): its nonces may be random without anybody counting them, for two that
//! are equal tell no more than whether two tokens are the same. Version, key id and the registry
//! that the token is for are authenticated with it: a token of one registry is none at another that
//! shares the key.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::io;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::identity::model::credential::Credential;
use crate::identity::model::keyed_hash::HashKey;
use crate::registry::{Access, Actions, CATALOG_SCOPE, RepositoryName};

/// How every gate token begins.
pub const PREFIX: &str = "mg1.";

/// A longer secret is not sealed. Workload tokens with many groups have some 8 KiB.
pub const MAX_SECRET_BYTES: usize = 12 * 1024;

/// A longer token is none, and none is made: headers have to hold it.
pub const MAX_TOKEN_BYTES: usize = 20 * 1024;

/// The most that is sealed, with its padding: what of a token of [`MAX_TOKEN_BYTES`] is not prefix,
/// key id, nonce and tag.
const MAX_SEALED_BYTES: usize = MAX_TOKEN_BYTES / 4 * 3 - 2 * PADDING;

/// A rotation takes two at a time. In a file that is named by mistake there may be any number.
const MAX_KEYS: usize = 16;

/// What is sealed has a multiple of this, so that its length tells little.
const PADDING: usize = 64;

/// How far the clocks of two replicas may differ. Seconds.
const LEEWAY: u64 = 60;

/// The keys of a file: the first seals, all open.
pub struct TokenKeys(Vec<TokenKey>);

struct TokenKey {
    id: String,
    hash_key: HashKey,
    key: LessSafeKey,
}

/// What a gate token holds.
#[derive(Debug)]
pub struct GateToken {
    /// When it was made. Unix time, microseconds: a revocation tells what was made before it from
    /// what was made after it.
    pub issued: u64,
    /// When it ends. Unix time, seconds.
    pub expires: u64,
    /// The most that it is good for.
    pub token_scope: TokenScope,
    /// The credential that it came from.
    pub credential: Credential,
    /// The provider that vouched for it, by its name in the config. Another one need not be shown
    /// the secret, not even by a process that has not seen it before.
    pub provider: Option<Box<str>>,
}

/// What a gate token may be used for, at most. Every token proves who the caller is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenScope {
    /// What may be done where.
    pub repositories: Vec<(RepositoryName, Actions)>,
    /// How much of the list of all repositories may be read.
    pub catalog: CatalogShare,
}

/// How much a gate token shows of the list of all repositories, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatalogShare {
    /// Nothing: the list was not asked for, or is not granted.
    #[default]
    None,
    /// The repositories that the token lists: such were asked for too.
    Listed,
    /// What its credential may see.
    All,
}

/// Why a text is no key file. It quotes nothing of it; the first number is the line, from 1.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyFileError {
    #[error("the file has no key; write one by: openssl rand -base64 32")]
    Empty,
    #[error("this is no base64; write 32 random bytes: openssl rand -base64 32")]
    NotBase64(usize),
    #[error("{1} bytes, where a key has 32; write one by: openssl rand -base64 32")]
    Length(usize, usize),
    #[error("the same key as in line {1}; remove one of the two")]
    Twice(usize, usize),
    #[error(
        "more than {MAX_KEYS} keys; remove those that were replaced more than tokens.lifetime ago"
    )]
    TooMany(usize),
}

/// Why a token is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// No gate token, or none that a key of ours sealed.
    Forged,
    /// Its time is over, or has not come.
    Expired,
}

/// What is sealed, as JSON. Names are short, for each costs a header some bytes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed<'a> {
    #[serde(rename = "iat")]
    issued: u64,
    #[serde(rename = "exp")]
    expires: u64,
    /// Repository and actions, as `pull,push`.
    #[serde(rename = "for", borrow)]
    repositories: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// [`CatalogShare`] as a number.
    #[serde(rename = "cat", default)]
    catalog: u8,
    #[serde(rename = "idp", borrow)]
    provider: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    secret: Option<Cow<'a, str>>,
}

impl TokenKeys {
    /// A key of this process's own, which no other replica has.
    ///
    /// # Errors
    /// Where the system has no randomness to give.
    pub fn random() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut bytes = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *bytes)?;
        Ok(Self(vec![TokenKey::new(&bytes)?]))
    }

    /// Reads a key file: one key a line, 32 bytes in base64. Empty lines and those that begin with
    /// `#` are skipped.
    ///
    /// # Errors
    /// The first line that is no key.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let mut keys: Vec<(usize, TokenKey)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if keys.len() == MAX_KEYS {
                return Err(KeyFileError::TooMany(number));
            }
            let bytes = Zeroizing::new(
                BASE64_STANDARD.decode(line).map_err(|_| KeyFileError::NotBase64(number))?,
            );
            let key: &[u8; 32] = bytes
                .as_slice()
                .try_into()
                .map_err(|_| KeyFileError::Length(number, bytes.len()))?;
            let key = TokenKey::new(key).map_err(|_| KeyFileError::Length(number, bytes.len()))?;
            if let Some((first, _)) = keys.iter().find(|(_, other)| other.id == key.id) {
                return Err(KeyFileError::Twice(number, *first));
            }
            keys.push((number, key));
        }
        if keys.is_empty() {
            return Err(KeyFileError::Empty);
        }
        Ok(Self(keys.into_iter().map(|(_, key)| key).collect()))
    }

    /// The key under which credentials are hashed: that of the first one.
    pub fn hash_key(&self) -> Option<&HashKey> {
        self.0.first().map(|key| &key.hash_key)
    }

    /// Seals a token with the first key, for the registry that clients know as `service` and no
    /// other one that shares the key. Where it lists more repositories than fit into a token,
    /// the last ones are taken out of it.
    ///
    /// # Errors
    /// `None` where the secret or the whole is too long, or the system has no randomness.
    pub fn seal(&self, token: &mut GateToken, service: &str) -> Option<Zeroizing<String>> {
        let key = self.0.first()?;
        let mut bytes = token.to_json()?;
        if bytes.len() > MAX_SEALED_BYTES {
            token.token_scope.drop_bytes(bytes.len() - MAX_SEALED_BYTES);
            bytes = token.to_json().filter(|bytes| bytes.len() <= MAX_SEALED_BYTES)?;
        }
        let padded = bytes.len().next_multiple_of(PADDING);
        // White space behind JSON says nothing.
        bytes.resize(padded, b' ');
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let head = format!("{PREFIX}{}", key.id);
        let aad = associated_data(&head, service);
        key.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&aad),
                &mut *bytes,
            )
            .ok()?;
        let body = Zeroizing::new([&nonce[..], &bytes].concat());
        let mut token =
            Zeroizing::new(String::with_capacity(head.len() + 1 + (4 * body.len()).div_ceil(3)));
        token.push_str(&head);
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(&*body, &mut token);
        Some(token)
    }

    /// Opens a token of the registry that clients know as `service`, at the time `now` (Unix time,
    /// seconds).
    ///
    /// # Errors
    /// Whatever is not whole, not ours, or not of this time.
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
        let (head, body) = token.rsplit_once('.')?;
        let id = head.strip_prefix(PREFIX)?;
        let key = self.0.iter().find(|key| key.id == id)?;
        // Strict: one spelling of each token.
        let mut bytes = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(body).ok()?);
        let (nonce, ciphertext) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let aad = associated_data(head, service);
        let plain = key.key.open_in_place(nonce, Aad::from(&aad), ciphertext).ok()?;
        let sealed: Sealed<'_> = serde_json::from_slice(plain).ok()?;
        let repositories = sealed
            .repositories
            .iter()
            .map(|(name, words)| Some((RepositoryName::parse(name)?, Actions::parse(words)?)));
        let catalog = match sealed.catalog {
            0 => CatalogShare::None,
            1 => CatalogShare::Listed,
            2 => CatalogShare::All,
            _ => return None,
        };
        let credential = match (sealed.user, sealed.secret) {
            (None, None) => Credential::Anonymous,
            // Taken over and not copied: serde's own copy is zeroed with it.
            (Some(user), Some(secret)) => Credential::Basic {
                user: user.into_owned(),
                password: SecretString::from(secret.into_owned()),
            },
            (None, Some(secret)) => Credential::Bearer(SecretString::from(secret.into_owned())),
            (Some(_), None) => return None,
        };
        Some(GateToken {
            issued: sealed.issued,
            expires: sealed.expires,
            token_scope: TokenScope { repositories: repositories.collect::<Option<_>>()?, catalog },
            credential,
            provider: sealed.provider.map(|name| name.into_owned().into()),
        })
    }
}

impl GateToken {
    /// What is sealed, as JSON.
    fn to_json(&self) -> Option<Zeroizing<Vec<u8>>> {
        let (user, secret) = match &self.credential {
            Credential::Anonymous => (None, None),
            Credential::Basic { user, password } => {
                (Some(user.as_str().into()), Some(password.expose_secret()))
            }
            Credential::Bearer(secret) => (None, Some(secret.expose_secret())),
        };
        if secret.is_some_and(|secret| secret.len() > MAX_SECRET_BYTES) {
            return None;
        }
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
            provider: self.provider.as_deref().map(Into::into),
            user,
            secret: secret.map(Into::into),
        };
        // Written twice, so that there is room for all of it, with padding and tag, and growing
        // leaves no copy of the secret.
        let mut length = Length(0);
        serde_json::to_writer(&mut length, &sealed).ok()?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(length.0 + 2 * PADDING));
        serde_json::to_writer(&mut *bytes, &sealed).ok()?;
        Some(bytes)
    }
}

/// Counts what is written, and keeps nothing.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is authenticated beside what is sealed: prefix and key id, and the registry that the token
/// is for. A service holds no line feed.
fn associated_data(head: &str, service: &str) -> Vec<u8> {
    format!("{head}\n{service}").into_bytes()
}

impl KeyFileError {
    /// The line that it is about, from 1.
    pub fn line(&self) -> usize {
        match self {
            Self::Empty => 1,
            Self::NotBase64(line)
            | Self::Length(line, _)
            | Self::Twice(line, _)
            | Self::TooMany(line) => *line,
        }
    }
}

impl TokenKey {
    fn new(bytes: &[u8; 32]) -> Result<Self, aws_lc_rs::error::Unspecified> {
        // Known to everybody who has a token, so it must tell nothing of the key.
        let id = blake3::derive_key("moorgate gate token key id", bytes);
        let id = BASE64_URL_SAFE_NO_PAD
            .encode(id.first_chunk::<6>().ok_or(aws_lc_rs::error::Unspecified)?);
        let hash_key = HashKey::of_token_key(bytes);
        Ok(Self { id, hash_key, key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, bytes)?) })
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl TokenScope {
    /// The same in scopes of the registry token protocol, with spaces between.
    pub fn scopes(&self) -> String {
        let repositories = self.repositories.iter();
        let repositories =
            repositories.map(|(name, actions)| format!("repository:{name}:{}", actions.words()));
        let catalog = (self.catalog != CatalogShare::None).then(|| CATALOG_SCOPE.to_owned());
        repositories.chain(catalog).collect::<Vec<_>>().join(" ")
    }

    /// The repositories that may be shown with it; `None`: whatever its credential may see.
    pub fn shown(&self) -> Option<Vec<RepositoryName>> {
        let pullable = || self.repositories.iter().filter(|(_, actions)| actions.pull);
        (self.catalog != CatalogShare::All)
            .then(|| pullable().map(|(name, _)| name.clone()).collect())
    }

    /// Takes repositories out of it, the last ones first, until what is sealed is shorter by so
    /// many bytes.
    fn drop_bytes(&mut self, mut bytes: usize) {
        while bytes > 0
            && let Some((name, actions)) = self.repositories.pop()
        {
            // As it stands in JSON: `["name","pull,push"],`
            bytes = bytes.saturating_sub(name.as_str().len() + actions.words().len() + 8);
        }
    }

    /// Whether the token says anything of what this is about.
    pub fn mentions(&self, access: &Access) -> bool {
        access
            .repositories()
            .all(|(wanted, _)| self.repositories.iter().any(|(name, _)| name == wanted))
    }

    /// Whether something may be done with the token, as far as the token goes.
    pub fn allows(&self, access: &Access) -> bool {
        match access {
            Access::Login => true,
            Access::Catalog => self.catalog != CatalogShare::None,
            Access::Repository(wanted, action) => self
                .repositories
                .iter()
                .any(|(name, actions)| name == wanted && actions.allow(*action)),
            Access::Repositories(several) => several.iter().all(|(wanted, needed)| {
                self.repositories
                    .iter()
                    .any(|(name, actions)| name == wanted && actions.contain(*needed))
            }),
        }
    }
}
