//! The messages between replicas: entries of the stream of revocations, and beats. All of it is
//! sealed, so that only a gate with the same key file can write it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::identity::model::keyed_hash::{Fingerprint, SecretId};
use crate::identity::model::revocation::Revoked;
use crate::sealing::{SealedKind, TokenKeys};

/// The id of a replica, which is random and new with each start: 16 hexadecimal digits.
pub type ReplicaId = String;

/// An entry of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalEntry {
    pub from: ReplicaId,
    /// The number of the entry among those of its replica, from 1.
    pub number: u64,
    pub message: Message,
}

/// The content of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Message {
    /// A new revocation: an operator has revoked all of these.
    Revoked(Vec<RevocationMessage>),
    /// Revocations that still matter, published again.
    StillRevoked(Vec<RevocationMessage>),
    /// The replica may have missed an entry. All replicas publish what they know.
    Again,
}

/// A revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationMessage {
    what: What,
    /// The time of the revocation (Unix time, microseconds).
    pub at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum What {
    Secret([u8; 16]),
    Credential([u8; 8]),
}

/// The statement of a replica about itself, once a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beat {
    pub from: ReplicaId,
    pub version: String,
    /// The number of the last entry that the replica has published.
    pub last: u64,
    /// The number of the last entry of each replica that this one has applied.
    pub applied: BTreeMap<ReplicaId, u64>,
}

impl RevocationMessage {
    /// Creates the message of a revocation.
    pub fn new(what: Revoked, at: u64) -> Self {
        let what = match what {
            Revoked::Secret(secret) => What::Secret(secret.to_bytes()),
            Revoked::Credential(fingerprint) => What::Credential(fingerprint.to_bytes()),
        };
        Self { what, at }
    }

    /// Returns the object of the revocation.
    pub fn what(&self) -> Revoked {
        match self.what {
            What::Secret(bytes) => Revoked::Secret(SecretId::from_bytes(bytes)),
            What::Credential(bytes) => Revoked::Credential(Fingerprint::from_bytes(bytes)),
        }
    }
}

/// Seals an entry or a beat. `context` tells the kinds apart.
pub fn seal(keys: &TokenKeys, context: &str, message: &impl Serialize) -> Option<String> {
    let bytes = Zeroizing::new(serde_json::to_vec(message).ok()?);
    Some(keys.seal_bytes(SealedKind::Message, context, bytes)?.to_string())
}

/// Opens an entry or a beat. `None` if no gate with one of these keys wrote it.
pub fn open<T: DeserializeOwned>(keys: &TokenKeys, context: &str, sealed: &[u8]) -> Option<T> {
    let bytes = keys.open_bytes(SealedKind::Message, context, str::from_utf8(sealed).ok()?)?;
    serde_json::from_slice(&bytes).ok()
}
