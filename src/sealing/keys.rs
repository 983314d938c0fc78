//! The keys that seal and open texts, and the file that they are read from.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, LessSafeKey, UnboundKey};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::SealedKind;

/// The largest number of keys in a file. A rotation needs two at a time. A file that was named by
/// mistake could have any number.
const MAX_KEYS: usize = 16;

/// The keys of a file. The first key seals, and all keys open.
pub struct TokenKeys(Vec<TokenKey>);

pub(super) struct TokenKey {
    pub(super) id: String,
    hash_key: DerivedKey,
    /// The key under which replicas hash credentials and questions for each other.
    shared_hash_key: DerivedKey,
    /// The key under which replicas hash callers for each other.
    caller_key: [u64; 2],
    gate_tokens: LessSafeKey,
    refresh_tokens: LessSafeKey,
    uploads: LessSafeKey,
    verdicts: LessSafeKey,
    messages: LessSafeKey,
}

/// A key that was derived from a key of the file for one purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct DerivedKey([u8; 32]);

/// The reason why a text is not a key file. The error quotes nothing of the text. Its first number
/// is the line, counted from 1.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyFileError {
    #[error("the file has no key; create one with: openssl rand -base64 32")]
    Empty,
    #[error("this line is not base64; create a key with: openssl rand -base64 32")]
    NotBase64(usize),
    #[error("this line has {1} bytes, but a key has 32; create one with: openssl rand -base64 32")]
    Length(usize, usize),
    #[error("the same key as in line {1}; remove one of the two")]
    Twice(usize, usize),
    #[error(
        "more than {MAX_KEYS} keys; remove those that were replaced more than tokens.lifetime, \
         tokens.session and 24 hours ago"
    )]
    TooMany(usize),
}

impl TokenKeys {
    /// Creates a random key for this process alone, which no other replica has.
    ///
    /// # Errors
    /// An error if the system provides no randomness.
    pub fn random() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut bytes = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *bytes)?;
        Ok(Self(vec![TokenKey::new(&bytes)?]))
    }

    /// Reads a key file: one key a line, 32 bytes in base64. Empty lines and lines that begin with
    /// `#` are skipped.
    ///
    /// # Errors
    /// The error of the first line that is not a valid key.
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

    /// Returns the key that seals.
    pub(super) fn first(&self) -> Option<&TokenKey> {
        self.0.first()
    }

    /// Returns the key with this id.
    pub(super) fn with_id(&self, id: &str) -> Option<&TokenKey> {
        self.0.iter().find(|key| key.id == id)
    }

    /// Returns the key under which credentials are hashed, which belongs to the first key.
    pub fn hash_key(&self) -> Option<&DerivedKey> {
        self.0.first().map(|key| &key.hash_key)
    }

    /// Returns the keys under which gates with this file, or an earlier or later version of it,
    /// hash credentials.
    pub fn hash_keys(&self) -> impl Iterator<Item = &DerivedKey> {
        self.0.iter().map(|key| &key.hash_key)
    }

    /// Returns the key under which replicas hash what they share, which belongs to the first key.
    pub fn shared_hash_key(&self) -> Option<&DerivedKey> {
        self.0.first().map(|key| &key.shared_hash_key)
    }

    /// Returns the key under which replicas hash callers, which belongs to the first key.
    pub fn caller_key(&self) -> Option<[u64; 2]> {
        self.0.first().map(|key| key.caller_key)
    }
}

impl DerivedKey {
    /// Returns the bytes of the key.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl KeyFileError {
    /// Returns the line of the error, counted from 1.
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
        // Every holder of a token sees the id, so it must reveal nothing about the key.
        let id = blake3::derive_key("moorgate gate token key id", bytes);
        let id = BASE64_URL_SAFE_NO_PAD
            .encode(id.first_chunk::<6>().ok_or(aws_lc_rs::error::Unspecified)?);
        // Gate tokens use the key itself, so that tokens of earlier versions stay valid. Every
        // other kind has a derived key.
        let derived = |purpose| Zeroizing::new(blake3::derive_key(purpose, bytes));
        let hash_key = DerivedKey(*derived("moorgate credential hash key"));
        let shared_hash_key = DerivedKey(*derived("moorgate shared hash key"));
        let caller_key = derived("moorgate caller key");
        let (first, rest) = caller_key.split_first_chunk().ok_or(aws_lc_rs::error::Unspecified)?;
        let second = rest.first_chunk().ok_or(aws_lc_rs::error::Unspecified)?;
        Ok(Self {
            id,
            hash_key,
            shared_hash_key,
            caller_key: [u64::from_le_bytes(*first), u64::from_le_bytes(*second)],
            gate_tokens: sealing_key(bytes)?,
            refresh_tokens: sealing_key(&derived("moorgate refresh token"))?,
            uploads: sealing_key(&derived("moorgate sealed upload"))?,
            verdicts: sealing_key(&derived("moorgate shared verdict"))?,
            messages: sealing_key(&derived("moorgate replica message"))?,
        })
    }

    /// Returns the key for this kind of text.
    pub(super) fn of(&self, kind: SealedKind) -> &LessSafeKey {
        match kind {
            SealedKind::GateToken => &self.gate_tokens,
            SealedKind::RefreshToken => &self.refresh_tokens,
            SealedKind::Upload => &self.uploads,
            SealedKind::Verdict => &self.verdicts,
            SealedKind::Message => &self.messages,
        }
    }
}

fn sealing_key(bytes: &[u8; 32]) -> Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, bytes)?))
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}
