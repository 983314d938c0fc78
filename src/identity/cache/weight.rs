//! The weight of an entry in a store, which makes a large entry take the space of several.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::ENTRY_BYTES;
use super::buckets::SHARE;
use super::entry::{CachedAnswers, NegativeVerdict};
use crate::identity::model::{Granted, RepositoryGrant, Verified};

/// The memory in bytes that a secret takes besides its answers: its slot in a bucket, and what the
/// allocator adds to each piece. As measured; see `tests/cache_memory.rs`.
const BOOKKEEPING_BYTES: usize = 100;

/// The memory in bytes that an empty bucket takes in the store.
const BUCKET_BYTES: usize = 400;

/// The memory in bytes that answers of weight 1 may take. The rest of an entry is for the bucket,
/// because there are as many buckets if all secrets are heavy.
const UNIT_BYTES: usize = ENTRY_BYTES - BUCKET_BYTES / SHARE as usize;

/// The size of the two reference counts that an `Arc` keeps with its value, in bytes.
const COUNTS_BYTES: usize = 2 * size_of::<usize>();

/// Returns the largest weight of one secret, a quarter of the capacity, so that a heavy one never
/// takes the place of all others.
pub(super) fn largest(capacity: u64) -> u32 {
    u32::try_from(capacity / 4).unwrap_or(u32::MAX).max(1)
}

/// Returns the weight in units of [`UNIT_BYTES`].
pub(super) fn of_verified(known: &CachedAnswers<Arc<Verified>>) -> u32 {
    let answers = known.answers();
    let bytes = BOOKKEEPING_BYTES
        + size_of_val(answers)
        + answers.iter().map(|answer| bytes_of(answer.value())).sum::<usize>();
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

/// Returns the weight of refusals. A refusal weighs 1, unless it names many repositories for which
/// nothing was granted.
pub(super) fn of_refused(known: &CachedAnswers<NegativeVerdict>) -> u32 {
    let weight = |refused: &NegativeVerdict| match refused {
        NegativeVerdict::NothingGranted(verified) => 1 + bytes_of(verified) / UNIT_BYTES,
        NegativeVerdict::NotMine | NegativeVerdict::AccountPassword | NegativeVerdict::Rejected => {
            1
        }
    };
    let weight = known.answers().iter().map(|answer| weight(answer.value())).sum::<usize>();
    u32::try_from(weight).unwrap_or(u32::MAX)
}

/// Returns the approximate size of a verdict, in bytes. Sources are left out, because verdicts
/// share them.
fn bytes_of(verified: &Verified) -> usize {
    let of_grant = |grant: &RepositoryGrant| {
        size_of_val(grant)
            + COUNTS_BYTES
            + grant.repository.as_str().len()
            + grant.tags.heap_bytes()
    };
    let repositories: usize = verified.granted.repositories().iter().map(of_grant).sum();
    let scopes = match &verified.granted {
        Granted::Scopes(scopes) => COUNTS_BYTES + scopes.as_text().len(),
        _ => 0,
    };
    // All grants share one token.
    let token = verified.granted.token().map_or(0, |token| {
        COUNTS_BYTES + size_of::<SecretString>() + token.secret().expose_secret().len()
    });
    let attributes = verified.attributes.as_ref().map_or(0, |attributes| {
        let groups: usize =
            attributes.groups.iter().map(|group| size_of::<String>() + group.len()).sum();
        size_of_val(&**attributes) + groups + bytes_of_object(&attributes.claims)
    });
    let parts = [verified.principal.subject.len(), repositories, scopes, token, attributes];
    size_of_val(verified) + parts.into_iter().sum::<usize>()
}

/// Returns the approximate size of a map, in bytes. It stores a hash and an index with each entry
/// and reserves room for more.
fn bytes_of_object(map: &Map<String, Value>) -> usize {
    let entry = 2 * (size_of::<String>() + size_of::<Value>() + size_of::<[usize; 2]>());
    map.iter().map(|(name, value)| entry + name.len() + bytes_of_json(value)).sum()
}

/// Returns the size of a value, in bytes, without its own slot in a list or a map.
fn bytes_of_json(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => {
            2 * size_of_val(&**items) + items.iter().map(bytes_of_json).sum::<usize>()
        }
        Value::Object(map) => bytes_of_object(map),
    }
}
