//! The questions of a replica to Redis about the limits of callers, and the answers. Nothing in it
//! names a caller: keys are keyed hashes.

use std::time::Duration;

use super::CallerKey;
use crate::rate_limit::gcra::{Nanos, Quota};

/// The Lua script that answers the questions, all of one call at once.
pub const LEASE_SCRIPT: &str = include_str!("lease_script.lua");

/// The largest number of callers in one call, so that a call takes Redis a few milliseconds.
pub const MAX_CALLERS: usize = 256;

/// The number of answers of the script about one caller.
const ANSWERS: usize = 5;

/// The largest burst of a config, and the longest time for one event: what Redis says beyond these
/// was not said by a gate.
const MAX_BURST: u32 = 1_000_000;

/// A question about one caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseQuestion {
    pub key: CallerKey,
    pub quota: Quota,
    /// The number of events to lease.
    pub want: u32,
    /// The number of leased events that are given back.
    pub give: u32,
    /// The share that the replica hands over if it is not a member yet, in millionths of an event.
    /// `None` if there may be no bucket any more.
    pub joins: Option<i64>,
    /// The part of the bucket that the replica used as its own while it was alone, in millionths:
    /// a member brings back `joins` in place of it. 0 if it was not alone.
    pub took: i64,
}

/// The answer about one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseAnswer {
    /// `true` if the caller has a bucket.
    pub exists: bool,
    /// The number of events that were leased.
    pub granted: u32,
    /// The events left in the bucket, in millionths.
    pub level: i64,
    /// The number of replicas that have handed their shares over.
    pub members: u32,
    /// The time until the bucket is full.
    pub full_in: Duration,
}

/// The message that a caller is busy at some replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bell {
    /// The letter of the limit.
    pub limit: char,
    pub key: CallerKey,
    pub quota: Quota,
}

impl LeaseQuestion {
    /// Returns the name of the caller's bucket under the limit with this letter.
    pub fn name(&self, limit: char) -> String {
        format!("{limit}{:016x}", self.key.as_number())
    }

    /// Returns the arguments of the script about this caller.
    pub fn arguments(&self, limit: char) -> [String; 7] {
        [
            self.name(limit),
            self.quota.interval().to_string(),
            self.quota.burst().to_string(),
            self.want.to_string(),
            self.give.to_string(),
            self.joins.map(|joins| joins.to_string()).unwrap_or_default(),
            self.took.to_string(),
        ]
    }
}

impl LeaseAnswer {
    /// Reads the numbers that the script returns. `None` if they are not those of so many callers.
    pub fn read(numbers: &[i64], callers: usize) -> Option<Vec<Self>> {
        if numbers.len() != callers.checked_mul(ANSWERS)? {
            return None;
        }
        numbers.chunks_exact(ANSWERS).map(Self::read_one).collect()
    }

    fn read_one(numbers: &[i64]) -> Option<Self> {
        let &[exists, granted, level, members, full_in] = numbers else { return None };
        Some(Self {
            exists: exists == 1,
            granted: u32::try_from(granted).ok()?,
            level,
            members: u32::try_from(members).ok()?,
            full_in: Duration::from_millis(u64::try_from(full_in).ok()?),
        })
    }
}

impl Bell {
    /// Reads the text that the script writes: the name, the nanoseconds an event and the burst.
    pub fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (name, interval, burst) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() {
            return None;
        }
        let mut letters = name.chars();
        let limit = letters.next()?;
        let key = Some(letters.as_str()).filter(|digits| digits.len() == 16)?;
        let key = CallerKey::new(u64::from_str_radix(key, 16).ok()?);
        let (interval, burst): (Nanos, u32) = (interval.parse().ok()?, burst.parse().ok()?);
        let is_sane = interval > 0 && (1..=MAX_BURST).contains(&burst);
        is_sane.then(|| Self { limit, key, quota: Quota::with_interval(interval, burst) })
    }
}
