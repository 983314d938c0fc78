//! The messages that tell the replicas of a refusal.
//!
//! A refusal makes all earlier answers about a credential void. Other replicas may hold some of
//! them, so they are told. A message that is lost costs no more than the rest of `ttl`, so messages
//! have no numbers.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::SharedVerdicts;
use crate::identity::model::keyed_hash::SecretId;
use crate::identity::model::unix_time::unix_micros;
use crate::sealing::SealedKind;

/// The longest sealed message that is read, in bytes.
const MAX_BYTES: usize = 4096;

/// The context of a sealed message, which tells it from other messages.
const CONTEXT: &str = "refusal";

/// A refusal, as the other replicas are told.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusalMessage {
    /// The refused secret, as each replica may know it.
    secrets: Vec<[u8; 16]>,
    /// The times of the question: Unix time and that of Redis, in microseconds.
    asked: (u64, u64),
}

impl SharedVerdicts {
    /// Returns the stream of refusals.
    pub fn refusals(&self) -> String {
        format!("{}:{{gates}}:refusals", self.link.prefix())
    }

    /// Tells all replicas of a refusal.
    pub(super) async fn announce_refusal(&self, secrets: &[SecretId], asked: (u64, u64)) {
        let secrets = secrets.iter().map(|secret| secret.to_bytes()).collect();
        let Ok(bytes) = serde_json::to_vec(&RefusalMessage { secrets, asked }) else { return };
        let bytes = Zeroizing::new(bytes);
        let sealed = self.keys().seal_bytes(SealedKind::Message, CONTEXT, bytes);
        let Some(sealed) = sealed else { return };
        let arguments = [sealed.as_bytes().to_vec()];
        let stream = [self.refusals()];
        let _: Result<i64, _> =
            self.link.call("announce_refusal", &self.announce, &stream, &arguments).await;
    }

    /// Reads a message. Returns the secret, as each replica may know it, and the instant up to
    /// which answers about it are void. `None` if no replica has written the message.
    pub fn read_refusal(&self, sealed: &[u8]) -> Option<(Vec<SecretId>, Instant)> {
        let sealed = str::from_utf8(sealed).ok().filter(|sealed| sealed.len() <= MAX_BYTES)?;
        let bytes = self.keys().open_bytes(SealedKind::Message, CONTEXT, sealed)?;
        let RefusalMessage { secrets, asked } = serde_json::from_slice(&bytes).ok()?;
        let now = Instant::now();
        let (_, asked_redis) = asked;
        // A time that this replica does not believe voids too much rather than too little.
        let age = self.clock().age((asked_redis, asked.0), now, unix_micros()).unwrap_or_default();
        let at = now.checked_sub(age).unwrap_or(now);
        Some((secrets.into_iter().map(SecretId::from_bytes).collect(), at))
    }
}
