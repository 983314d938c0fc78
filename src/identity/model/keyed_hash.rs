//! Keyed hashes of fixed size for credentials and questions: the keys of the cache and the
//! identifiers in logs.

#[cfg(test)]
mod tests;

use std::fmt;

use zeroize::Zeroize as _;

use super::Question;
use super::credential::Credential;
use crate::hex;
use crate::registry::{Access, Actions};
use crate::sealing::DerivedKey;

/// The number of bytes of a [`QuestionId`] that depend on the credential only.
const CREDENTIAL_BYTES: usize = 4;

/// The length, in bytes, up to which a credential is hashed in one piece.
const SHORT: usize = 192;

/// The key for hashing secrets. Without it, a hash from a log or from memory cannot be checked
/// against guessed tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct HashKey([u8; 32]);

/// The hash of a credential (its kind, user name and secret) under the key of the process. Two ids
/// differ if any of the three differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CredentialId([u8; 32]);

/// The hash of a secret alone under the key of the process. It does not depend on the user name or
/// the scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretId([u8; 16]);

/// 8 bytes of a keyed hash, written as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 8]);

/// The identifiers of a credential for operators: logs show them and revocations look them up. They
/// leave out everything that a holder can vary without changing the credential. For a JWT, this is
/// the user name sent with it, the scheme, and the signature: anyone who has one valid ECDSA
/// signature can compute a second one (`s` and `n - s`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownAs {
    /// The hash of the secret, independent of the user name and the scheme. For a JWT, the hash of
    /// its signed part.
    pub secret: SecretId,
    /// The identifier in logs. It depends on the scheme, the user name and the secret; for a JWT,
    /// on its signed part only.
    pub fingerprint: Fingerprint,
}

/// The hash of a question to one provider: of the credential and of everything else that the answer
/// depends on.
///
/// 96 bits are taken from the keyed hash. Without the key, an attacker cannot search for
/// collisions, and an accidental collision among the few questions kept is negligible. The other 32
/// bits, which stand first, depend on the credential only; they tell apart credentials that share
/// one secret. Few credentials share a secret, and a collision there only drops a cached answer too
/// early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuestionId([u8; 16]);

/// The identifiers of a question for all replicas, which have the key of these hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedQuestionId {
    /// The secret alone. For a caller without a credential, the question.
    pub secret: [u8; 16],
    /// The provider. Its settings contain secrets, so they are hashed with the key too.
    pub provider: [u8; 16],
    /// The question.
    pub question: [u8; 16],
    /// The provider and the credential alone.
    pub credential: [u8; 16],
}

/// The inputs, besides the credential, that the answer of a provider depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DependsOn {
    /// Nothing else: the answer lists the rights of the credential everywhere.
    Credential,
    /// The repository and the action.
    Repository,
    /// The repository, the action and the address of the client, which the provider receives and
    /// takes into account.
    RepositoryAndAddress,
}

impl HashKey {
    /// Creates the key that was derived from a token key of the gate. Replicas with the same key
    /// file therefore compute the same hashes.
    pub fn new(key: &DerivedKey) -> Self {
        Self(*key.bytes())
    }

    /// Creates a random key.
    ///
    /// # Errors
    /// If the system cannot provide random bytes.
    pub fn random() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key)?;
        Ok(Self(key))
    }

    /// Hashes a credential.
    pub fn credential(&self, credential: &Credential) -> CredentialId {
        let (kind, user, secret) = credential.parts();
        let mut text = CredentialText::new();
        if text.push(&[kind]) && text.push_counted(user) && text.push_counted(secret) {
            return CredentialId(*blake3::keyed_hash(&self.0, text.as_bytes()).as_bytes());
        }
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[kind]);
        length_prefixed(&mut hasher, user.as_bytes());
        length_prefixed(&mut hasher, secret.as_bytes());
        CredentialId(*hasher.finalize().as_bytes())
    }

    /// Hashes the secret of a credential.
    pub fn secret(&self, credential: &Credential) -> SecretId {
        let (_, _, secret) = credential.parts();
        self.text(secret)
    }

    /// Returns the identifiers for operators of a credential; `id` and `secret` are its hashes.
    pub fn known_as(&self, credential: &Credential, id: CredentialId, secret: SecretId) -> KnownAs {
        let Some(signed) = signed_part(credential.parts().2) else {
            return KnownAs { secret, fingerprint: id.fingerprint() };
        };
        let secret = self.text(signed);
        KnownAs {
            secret,
            fingerprint: Fingerprint(secret.0.first_chunk().copied().unwrap_or_default()),
        }
    }

    /// Hashes something of this kind for other replicas: 32 hexadecimal digits.
    pub fn tagged(&self, kind: &[u8], parts: &[&[u8]]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        length_prefixed(&mut hasher, kind);
        for part in parts {
            length_prefixed(&mut hasher, part);
        }
        hasher.finalize().to_hex().chars().take(32).collect()
    }

    /// Returns the identifiers for operators of a credential.
    pub fn of_credential(&self, credential: &Credential) -> KnownAs {
        self.known_as(credential, self.credential(credential), self.secret(credential))
    }

    fn text(&self, text: &str) -> SecretId {
        let hash = blake3::keyed_hash(&self.0, text.as_bytes());
        SecretId(hash.as_bytes().first_chunk().copied().unwrap_or_default())
    }

    /// Hashes a question to the provider with this number.
    pub fn question(&self, provider: u32, depends: DependsOn, question: &Question) -> QuestionId {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&provider.to_le_bytes());
        hasher.update(&question.id.0);
        // Numbers of revocations start at 1, so 0 stands for "not revoked".
        hasher.update(&question.revocation.number.unwrap_or_default().to_le_bytes());
        what_the_answer_depends_on(&mut hasher, depends, question);
        let mut id = hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default();
        for (byte, of_credential) in id.iter_mut().zip(question.id.0).take(CREDENTIAL_BYTES) {
            *byte = of_credential;
        }
        QuestionId(id)
    }

    /// Hashes a question to the provider with these settings, for other replicas. This key is one
    /// that all replicas have.
    pub fn shared_question(
        &self,
        provider: &[u8; 16],
        depends: DependsOn,
        question: &Question,
    ) -> SharedQuestionId {
        let CredentialId(credential) = self.credential(&question.credential);
        let group = match question.credential {
            // What callers without a credential may read has no secret to belong to.
            Credential::Anonymous => None,
            _ => Some(self.secret(&question.credential).0),
        };
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(provider);
        hasher.update(&credential);
        hasher.update(&question.revocation.stamp().to_le_bytes());
        what_the_answer_depends_on(&mut hasher, depends, question);
        let id = hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default();
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"credential");
        hasher.update(provider);
        hasher.update(&credential);
        hasher.update(&question.revocation.stamp().to_le_bytes());
        let credential = hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default();
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"provider");
        hasher.update(provider);
        let provider = hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default();
        SharedQuestionId { secret: group.unwrap_or(id), provider, question: id, credential }
    }
}

/// Hashes what an answer depends on besides the provider and the credential.
fn what_the_answer_depends_on(
    hasher: &mut blake3::Hasher,
    depends: DependsOn,
    question: &Question,
) {
    if depends != DependsOn::Credential {
        match &question.access {
            Access::Login => length_prefixed(hasher, b"login"),
            Access::Catalog => length_prefixed(hasher, b"catalog"),
            Access::Repository(name, action) => {
                length_prefixed(hasher, action.as_str().as_bytes());
                length_prefixed(hasher, name.as_str().as_bytes());
            }
            Access::Repositories(several) => {
                length_prefixed(hasher, b"repositories");
                hasher.update(&(several.len() as u64).to_le_bytes());
                for (name, Actions { pull, push, delete }) in several.iter() {
                    length_prefixed(hasher, name.as_str().as_bytes());
                    hasher.update(&[u8::from(*pull), u8::from(*push), u8::from(*delete)]);
                }
            }
        }
    }
    if depends == DependsOn::RepositoryAndAddress {
        match question.client {
            std::net::IpAddr::V4(address) => length_prefixed(hasher, &address.octets()),
            std::net::IpAddr::V6(address) => length_prefixed(hasher, &address.octets()),
        }
    }
}

impl QuestionId {
    /// Returns whether both questions are about the same credential. Only meaningful for questions
    /// about the same secret.
    pub(in crate::identity) fn is_about_credential_of(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).take(CREDENTIAL_BYTES).all(|(mine, its)| *mine == its)
    }

    /// Returns a substitute secret for a caller without a credential, so that each of its questions
    /// has an entry of its own.
    pub(in crate::identity) fn in_place_of_secret(self) -> SecretId {
        SecretId(self.0)
    }
}

impl SecretId {
    /// Returns a part of the hash as a number, by which secrets are spread over the buckets of the
    /// cache. It is taken from the end, because a substitute for a secret begins with bytes that
    /// all callers without a credential share.
    pub(in crate::identity) fn as_number(self) -> u64 {
        self.0.last_chunk().copied().map(u64::from_le_bytes).unwrap_or_default()
    }
}

impl SecretId {
    /// Returns the bytes of the hash.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Takes the bytes of a hash that another replica computed.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl CredentialId {
    /// Returns a part of the hash as a number, by which credentials are spread over a table.
    pub(in crate::identity) fn as_number(self) -> u64 {
        self.0.last_chunk().copied().map(u64::from_le_bytes).unwrap_or_default()
    }

    /// Returns the bytes of the hash.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Returns the id of the same credential in its session at this provider, in which other
    /// answers hold than when it is presented by itself. Of that id, the result is the first one.
    #[must_use]
    pub fn in_session(mut self, provider: &str) -> Self {
        let of_provider = blake3::hash(provider.as_bytes());
        self.0.iter_mut().zip(of_provider.as_bytes()).for_each(|(byte, other)| *byte ^= other);
        self
    }

    /// Returns the identifier that logs show for a credential that is not a JWT.
    pub fn fingerprint(self) -> Fingerprint {
        Fingerprint(self.0.first_chunk().copied().unwrap_or_default())
    }
}

impl Fingerprint {
    /// Returns the bytes of the hash.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// Takes the bytes of a hash that another replica computed.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Parses a fingerprint as logs show it; returns `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain =
            text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        Some(Self(u64::from_str_radix(text, 16).ok().filter(|_| is_plain)?.to_be_bytes()))
    }

    /// Returns the 16 hexadecimal digits of the fingerprint, in ASCII.
    pub fn digits(self) -> [u8; 16] {
        hex::digits(u64::from_be_bytes(self.0))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
impl QuestionId {
    /// Creates an arbitrary id for tests.
    pub fn any(number: u8) -> Self {
        Self([number; 16])
    }
}

/// The parts of a short credential in one piece, which is hashed faster than its parts. It is
/// zeroed when dropped.
struct CredentialText {
    bytes: [u8; SHORT],
    used: usize,
}

impl CredentialText {
    fn new() -> Self {
        Self { bytes: [0; SHORT], used: 0 }
    }

    /// Adds a part. Returns `false` if it does not fit.
    fn push(&mut self, part: &[u8]) -> bool {
        let end = self.used + part.len();
        let Some(room) = self.bytes.get_mut(self.used..end) else { return false };
        room.copy_from_slice(part);
        self.used = end;
        true
    }

    /// Adds a part with its length in front, as [`length_prefixed`] does.
    fn push_counted(&mut self, part: &str) -> bool {
        self.push(&(part.len() as u64).to_le_bytes()) && self.push(part.as_bytes())
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }
}

impl Drop for CredentialText {
    fn drop(&mut self) {
        self.bytes.get_mut(..self.used).unwrap_or_default().zeroize();
    }
}

/// Returns the signed part (header and claims) of a secret that looks like a JWT (RFC 7515, 7.1):
/// three parts in base64url, the first of which begins like the encoding of a JSON object.
fn signed_part(secret: &str) -> Option<&str> {
    let signed = secret.starts_with('e').then(|| secret.rsplit_once('.'))??.0;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (signed.split('.').count() == 2 && secret.bytes().all(allowed)).then_some(signed)
}

/// Hashes a part with its length in front. Without the length, the end of one part could be taken
/// for the start of the next.
fn length_prefixed(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}
