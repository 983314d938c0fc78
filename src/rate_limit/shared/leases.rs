//! The callers whose share a replica has handed over, and the events that it leases for them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::messages::{LeaseAnswer, LeaseQuestion};
use super::{CallerKey, HANDED_OVER, is_small};
use crate::rate_limit::gcra::{MILLION, Nanos, Quota, nanos};
use crate::rate_limit::table::Table;

/// The time between two questions about a busy caller.
pub const PERIOD: Duration = Duration::from_millis(100);

/// The largest number of callers under one limit whose shares are handed over. Others use the
/// replica's share alone.
const MAX_BUSY: usize = 8192;

/// The callers under one limit that are busy.
#[derive(Default)]
pub(super) struct Leases(Mutex<LeaseTable>);

#[derive(Default)]
struct LeaseTable {
    callers: HashMap<CallerKey, LeaseHolder>,
    /// The time at which Redis is asked about each caller, the earliest first.
    due: BTreeSet<(Nanos, CallerKey)>,
    /// `true` if a request waits for the next answer.
    awaited: bool,
}

/// A busy caller, which holds leases.
struct LeaseHolder {
    quota: Quota,
    standing: Standing,
    /// The leased events that are not used yet.
    events: u32,
    /// The part of the bucket that the replica took over when it went on alone, in millionths. It
    /// is in the bucket as well, until the replica is back.
    took: i64,
    /// The events that were asked for since the last question.
    asked: u32,
    /// The events that are needed until the next question.
    need: u32,
    /// The time of the last question.
    planned_at: Nanos,
    /// The events in the bucket, in millionths, at `heard_at`.
    level: i64,
    heard_at: Nanos,
    /// The time in which the bucket gains one event.
    interval: Nanos,
    /// `true` if every replica that answers has handed its share over.
    all_joined: bool,
    /// The time at which the bucket is full if no replica takes from it.
    full_at: Nanos,
    due: Nanos,
}

/// The place of the replica's share of a caller.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// In the table of this replica.
    Own,
    /// On its way to the bucket, in millionths of an event.
    Joining(i64),
    /// In the bucket.
    Member,
}

/// The outcome of an attempt to take a leased event.
pub(super) enum LeaseAttempt {
    Taken,
    /// No event is available; one will be after this time.
    Refused(Duration),
    /// The answer of Redis decides. Without it, the same as a refusal.
    Ask(Duration),
    /// Too many callers are busy.
    NoRoom,
}

impl Leases {
    pub(super) fn len(&self) -> usize {
        let state = self.lock();
        state.callers.values().filter(|caller| caller.standing == Standing::Member).count()
    }

    /// Returns whether the caller is busy, so that its share may be handed over.
    pub(super) fn has(&self, key: CallerKey) -> bool {
        self.lock().callers.contains_key(&key)
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.lock().awaited
    }

    /// Takes an event that the replica has leased for the caller. `first` is `false` if the request
    /// has waited for an answer before.
    pub(super) fn take(
        &self,
        key: CallerKey,
        quota: Quota,
        now: Nanos,
        first: bool,
    ) -> LeaseAttempt {
        let mut state = self.lock();
        let Some(caller) = state.caller(key, quota, now) else { return LeaseAttempt::NoRoom };
        caller.quota = quota;
        caller.asked = caller.asked.saturating_add(u32::from(first));
        if let Some(left) = caller.events.checked_sub(1) {
            caller.events = left;
            return LeaseAttempt::Taken;
        }
        let wait = caller.next_event(now);
        let next_question = caller.asked_again_at().saturating_sub(now);
        if caller.standing == Standing::Member
            && caller.all_joined
            && (wait > 0 || next_question > 0)
        {
            if caller.due > now.saturating_add(nanos(PERIOD)) {
                state.ask_at(key, now);
            }
            return LeaseAttempt::Refused(Duration::from_nanos(wait.max(next_question)));
        }
        // A request that waits is not idle: the answer that it waited for did not suffice.
        caller.asked = caller.asked.saturating_add(u32::from(!first));
        state.ask_at(key, now);
        state.awaited = true;
        LeaseAttempt::Ask(Duration::from_nanos(wait.max(1)))
    }

    pub(super) fn give_back(&self, key: CallerKey) {
        if let Some(caller) = self.lock().callers.get_mut(&key)
            && caller.standing == Standing::Member
        {
            caller.events = caller.events.saturating_add(1);
        }
    }

    /// Hands the replica's share of a caller over with the next question.
    pub(super) fn note_busy(&self, key: CallerKey, quota: Quota, now: Nanos) {
        self.lock().caller(key, quota, now);
    }

    /// Returns the events that are left to all replicas, if the share of the caller was handed
    /// over.
    pub(super) fn remaining(&self, key: CallerKey, now: Nanos) -> Option<u32> {
        let state = self.lock();
        let caller = state.callers.get(&key).filter(|it| it.standing == Standing::Member)?;
        let in_bucket = u32::try_from(caller.level_at(now).max(0) / MILLION).unwrap_or(u32::MAX);
        Some(in_bucket.saturating_add(caller.events))
    }

    /// Returns the questions about callers that are due. The shares of new callers leave the
    /// table.
    pub(super) fn plan(
        &self,
        table: &Table,
        replicas: u32,
        now: Nanos,
        limit: usize,
    ) -> Vec<LeaseQuestion> {
        let mut state = self.lock();
        state.awaited = false;
        let mut questions = Vec::new();
        while questions.len() < limit {
            let Some(&(due, key)) = state.due.first() else { break };
            if due > now {
                break;
            }
            state.ask_at(key, now.saturating_add(nanos(PERIOD)));
            let Some(caller) = state.callers.get_mut(&key) else { continue };
            let question = caller.question(key, table, replicas, now);
            match question {
                Some(question) => questions.push(question),
                None => {
                    let full_at = caller.full_at;
                    state.ask_at(key, full_at);
                }
            }
        }
        // What did not fit waits for the next call.
        state.awaited |= questions.len() == limit;
        questions
    }

    pub(super) fn apply(
        &self,
        table: &Table,
        questions: &[LeaseQuestion],
        answers: &[LeaseAnswer],
        (replicas, live): (u32, u32),
        now: Nanos,
    ) {
        let mut state = self.lock();
        for (question, answer) in questions.iter().zip(answers) {
            let key = question.key;
            let Some(caller) = state.callers.get_mut(&key) else { continue };
            if caller.standing == Standing::Own {
                // The replica has gone on alone in the meantime.
                continue;
            }
            if !answer.exists {
                // The bucket was full, so every replica has its whole share again.
                table.with(key, now, |word| *word = 0);
                state.remove(key);
                continue;
            }
            caller.hear(question, answer, (replicas, live), now);
            let is_idle = question.want == 0 && caller.asked == 0 && caller.events == 0;
            let due = if is_idle {
                caller.full_at.max(now.saturating_add(nanos(PERIOD)))
            } else if caller.all_joined {
                now.saturating_add(nanos(PERIOD))
            } else {
                // The shares of the others are on their way.
                now.saturating_add(nanos(PERIOD) / 20)
            };
            state.ask_at(key, due);
        }
    }

    /// Returns every share to the table: a part of what was in the bucket as far as is known.
    pub(super) fn go_alone(&self, table: &Table, replicas: u32, now: Nanos) {
        let mut state = self.lock();
        let keys: Vec<_> = state.callers.keys().copied().collect();
        for key in keys {
            let Some(caller) = state.callers.get_mut(&key) else { continue };
            let leased = i64::from(caller.events) * MILLION;
            // What Redis may have is in two places now.
            let (level, took) = match caller.standing {
                Standing::Own => continue,
                Standing::Joining(share) => (share, share.max(caller.took)),
                Standing::Member => {
                    let part = caller.level_at(now) / i64::from(replicas.max(1));
                    (leased + part, part)
                }
            };
            caller.took = took;
            let word = caller.quota.share(replicas).word_at(level, now);
            table.with(key, now, |owed| *owed = word);
            (caller.standing, caller.events) = (Standing::Own, 0);
            state.ask_at(key, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, LeaseTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseTable {
    /// Returns the caller, which becomes busy with this; `None` if too many are.
    fn caller(&mut self, key: CallerKey, quota: Quota, now: Nanos) -> Option<&mut LeaseHolder> {
        if !self.callers.contains_key(&key) {
            if self.callers.len() >= MAX_BUSY {
                return None;
            }
            self.due.insert((now, key));
        }
        Some(self.callers.entry(key).or_insert_with(|| LeaseHolder {
            quota,
            standing: Standing::Own,
            events: 0,
            took: 0,
            asked: 0,
            need: 0,
            planned_at: now,
            level: 0,
            heard_at: now,
            interval: quota.interval(),
            all_joined: false,
            full_at: now,
            due: now,
        }))
    }

    fn ask_at(&mut self, key: CallerKey, due: Nanos) {
        let Some(caller) = self.callers.get_mut(&key) else {
            self.due.retain(|(_, other)| *other != key);
            return;
        };
        self.due.remove(&(caller.due, key));
        caller.due = due;
        self.due.insert((due, key));
    }

    fn remove(&mut self, key: CallerKey) {
        if let Some(caller) = self.callers.remove(&key) {
            self.due.remove(&(caller.due, key));
        }
    }
}

impl LeaseHolder {
    /// Returns the next question about the caller; `None` if none is needed yet.
    fn question(
        &mut self,
        key: CallerKey,
        table: &Table,
        replicas: u32,
        now: Nanos,
    ) -> Option<LeaseQuestion> {
        let is_idle = self.asked == 0 && self.events == 0;
        let mut joins = None;
        match self.standing {
            Standing::Own | Standing::Joining(_) => {
                let share = self.quota.share(replicas);
                let level = table.with(key, now, |word| {
                    let level = share.level(*word, now);
                    let own = (*word != HANDED_OVER).then_some(level);
                    *word = HANDED_OVER;
                    own
                });
                let level = match (self.standing, level) {
                    (Standing::Joining(level), None) => level,
                    (_, level) => level.unwrap_or_default(),
                };
                self.standing = Standing::Joining(level);
                joins = Some(level);
            }
            Standing::Member if is_idle && now < self.full_at => return None,
            // An idle member only asks whether there is a bucket. One that is in use may be missing
            // in a Redis that has lost its data: then this brings back what the replica knows.
            Standing::Member if is_idle => {}
            Standing::Member => joins = Some(self.level_at(now) / i64::from(replicas.max(1))),
        }
        let period = nanos(PERIOD);
        let since = now.saturating_sub(self.planned_at).max(period);
        // A quarter more than lately, so that a caller can get faster.
        let need =
            u64::from(self.asked).saturating_mul(period).saturating_mul(5).div_ceil(since * 4);
        let need = u32::try_from(need).unwrap_or(u32::MAX).min(self.quota.burst());
        // Half of what was needed before stays here, for a caller with pauses of about a period.
        self.need = need.max(self.need / 2);
        let give = self.events.saturating_sub(self.need);
        self.events -= give;
        let want = need.saturating_sub(self.events);
        (self.asked, self.planned_at) = (0, now);
        Some(LeaseQuestion { key, quota: self.quota, want, give, joins, took: self.took })
    }

    fn hear(
        &mut self,
        question: &LeaseQuestion,
        answer: &LeaseAnswer,
        (replicas, live): (u32, u32),
        now: Nanos,
    ) {
        (self.standing, self.took) = (Standing::Member, 0);
        self.events = self.events.saturating_add(answer.granted.min(question.want));
        let most = i64::from(self.quota.burst()).saturating_mul(MILLION);
        (self.level, self.heard_at) = (answer.level.clamp(-most, most), now);
        let members = answer.members.min(live).max(1);
        self.interval = self.quota.interval().saturating_mul(replicas.into()) / u64::from(members);
        self.all_joined = answer.members >= live || is_small(self.quota, replicas);
        self.full_at = now.saturating_add(nanos(answer.full_in));
    }

    /// Returns the time before which Redis is not asked again. A bucket that was empty is asked
    /// once a period, or twice in the time in which it would be full.
    fn asked_again_at(&self) -> Nanos {
        if self.level >= MILLION {
            return self.heard_at;
        }
        let half_full = self.full_at.saturating_sub(self.heard_at) / 2;
        self.heard_at.saturating_add(half_full.min(nanos(PERIOD)))
    }

    /// Returns the events in the bucket, in millionths.
    fn level_at(&self, now: Nanos) -> i64 {
        let since = i128::from(now.saturating_sub(self.heard_at));
        let gained = since * i128::from(MILLION) / i128::from(self.interval.max(1));
        let level = i128::from(self.level) + gained;
        let most = i128::from(self.quota.burst()) * i128::from(MILLION);
        i64::try_from(level.min(most)).unwrap_or_default()
    }

    /// Returns the time until the bucket has an event.
    fn next_event(&self, now: Nanos) -> Nanos {
        let missing = u128::try_from(MILLION - self.level_at(now)).unwrap_or_default();
        let wait = missing * u128::from(self.interval) / u128::from(MILLION.unsigned_abs());
        u64::try_from(wait).unwrap_or(u64::MAX)
    }
}
