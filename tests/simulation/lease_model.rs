//! A model of the Lua script that moves events of rate limits between replicas
//! (`src/rate_limit/shared/lease_script.lua`): the same rules in Rust, in memory. A test in
//! `tests/it/replicas` compares both, answer by answer.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use moorgate::rate_limit::shared::{Bell, LeaseAnswer, LeaseQuestion};

/// The buckets of a Redis server, and its clock. Times are in microseconds.
#[derive(Clone, Default)]
pub(crate) struct LeaseModel {
    clock: Option<(f64, f64)>,
    buckets: HashMap<String, Bucket>,
    /// The bells that were not taken out yet, the latest last.
    pub(crate) bells: Vec<Bell>,
}

#[derive(Clone, Default)]
struct Bucket {
    level: f64,
    members: u32,
    at: f64,
    joined: BTreeSet<String>,
    /// What other replicas have wanted lately, and when.
    wanted: Vec<(String, u32, f64)>,
    rung: f64,
    expires: f64,
}

impl LeaseModel {
    /// Answers the questions of a replica, as the script does at this time of the server.
    pub(crate) fn call(
        &mut self,
        now: f64,
        replica: &str,
        (alive, live): (u32, u32),
        questions: &[(char, LeaseQuestion)],
    ) -> Vec<LeaseAnswer> {
        let v = self.tick(now);
        questions
            .iter()
            .map(|(limit, question)| self.answer(now, v, replica, (alive, live), *limit, question))
            .collect()
    }

    /// Moves the clock on.
    pub(crate) fn tick(&mut self, now: f64) -> f64 {
        let (v, last) = self.clock.unwrap_or((0.0, now));
        let v = v + (now - last).clamp(0.0, 3_000_000.0);
        self.clock = Some((v, now));
        v
    }

    fn answer(
        &mut self,
        now: f64,
        v: f64,
        replica: &str,
        (alive, live): (u32, u32),
        limit: char,
        question: &LeaseQuestion,
    ) -> LeaseAnswer {
        const NONE: LeaseAnswer = LeaseAnswer {
            exists: false,
            granted: 0,
            level: 0,
            members: 0,
            full_in: Duration::ZERO,
        };
        let name = question.name(limit);
        let (quota, want, give) = (question.quota, question.want, question.give);
        let (interval, burst) = (quota.interval() as f64 / 1000.0, f64::from(quota.burst()));
        let known = self.buckets.remove(&name).filter(|bucket| bucket.expires > now);
        if known.is_none() && question.joins.is_none() {
            return NONE;
        }
        let exists = known.is_some();
        let small = quota.burst() < 4 * alive;
        let mut bucket = known.unwrap_or_default();
        let replicas = f64::from(alive);
        let cap = |members: u32| (burst * f64::from(members.min(alive)) / replicas).max(1.0);
        let inflow = |members: u32| f64::from(members.min(live).max(1)) / replicas;
        if exists {
            let since = (v - bucket.at).max(0.0);
            bucket.level =
                (bucket.level + since / interval * inflow(bucket.members)).min(cap(bucket.members));
        } else if small {
            let joins = question.joins.unwrap_or_default().max(0) as f64;
            bucket.level = (joins / 1e6 * replicas).min(burst);
        }
        if small {
            bucket.members = alive;
        }
        bucket.wanted.retain(|(other, _, when)| other != replica && v - when < 500_000.0);
        let others = bucket.wanted.iter().map(|(_, wanted, _)| f64::from(*wanted));
        let total = f64::from(want) + others.sum::<f64>();
        let is_idle =
            want == 0 && give == 0 && question.joins.is_none() && bucket.wanted.is_empty();
        if is_idle && bucket.level >= cap(bucket.members) {
            return NONE;
        }
        if let Some(joins) = question.joins
            && !bucket.joined.contains(replica)
        {
            bucket.joined.insert(replica.to_owned());
            if !small {
                bucket.members += 1;
                bucket.level += joins as f64 / 1e6;
            }
        } else if let Some(joins) = question.joins
            && question.took != 0
        {
            let back = (joins - question.took).min(0) as f64 / 1e6;
            bucket.level = (bucket.level + back).max(-cap(bucket.members));
        }
        bucket.level = (bucket.level + f64::from(give)).min(cap(bucket.members));
        bucket.wanted.push((replica.to_owned(), want, v));
        let mut granted = 0.0;
        if want > 0 && bucket.level >= 1.0 {
            granted = f64::from(want);
            if total > bucket.level {
                granted = (bucket.level * f64::from(want) / total).floor();
            }
            granted = granted.min(f64::from(want)).min(bucket.level.floor()).max(1.0);
        }
        bucket.level -= granted;
        let silence = v - bucket.rung;
        let rings = !exists
            || (bucket.members < live && silence > 1_000_000.0)
            || (want > 0 && silence > 10_000_000.0);
        if rings && !small {
            self.bells.push(Bell { limit, key: question.key, quota });
            bucket.rung = v;
        }
        bucket.at = v;
        let full = (cap(bucket.members) - bucket.level).max(0.0) * interval
            / inflow(bucket.members)
            / 1000.0;
        let full = full.min(2_592_000_000.0).ceil();
        bucket.expires = now + (full + 5000.0) * 1000.0;
        let answer = LeaseAnswer {
            exists: true,
            granted: granted as u32,
            level: (bucket.level * 1e6).floor() as i64,
            members: bucket.members,
            full_in: Duration::from_millis(full as u64),
        };
        self.buckets.insert(name, bucket);
        answer
    }
}
