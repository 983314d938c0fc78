//! Questions about credentials: to the cache, to the other replicas, to the provider.

use std::time::Duration;

use moorgate::identity::model::Verdict;
use moorgate::identity::model::revocation::Revocation;
use moorgate::identity::shared_verdicts::SharedAnswer;
use moorgate::identity::shared_verdicts::values::{self, NewValue};
use moorgate::rate_limit::{Nanos, nanos};

use super::cache::LIMITS;
use super::gate::{Asking, Stage};
use super::look::SECOND;
use super::redis::{Question, Refusal, unix};
use super::replica::Task;
use super::verdict_model::{ClaimReply, Put};
use super::world::{Event, TIMEOUT, World};

/// The time between two looks at a question that another replica asks.
const LOOK: Duration = Duration::from_millis(5);

/// The time by which a replica may believe that the clock of Redis differs from what it is.
const DRIFT: Nanos = SECOND / 5;

impl World {
    /// A request with a credential comes to a replica.
    pub(crate) fn login(&mut self, who: usize, number: usize) {
        let now = self.now;
        let revocation = self.revocation(who, number);
        let gate = &mut self.replicas[number].gate;
        if let Some(is_valid) = gate.cache.look_up(who, revocation.number, now) {
            return self.settle(who, number, is_valid, false);
        }
        if let Some(asking) = gate.asking(who, revocation.number) {
            gate.askings.entry(asking).and_modify(|asking| asking.waiters += 1);
            return;
        }
        self.ask(who, number, revocation, 1);
    }

    pub(crate) fn revocation(&self, who: usize, number: usize) -> Revocation {
        let known_as = &self.provider.credentials[who].question.known_as;
        self.replicas[number].gate.revocations.lookup(known_as)
    }

    fn ask(&mut self, who: usize, number: usize, revocation: Revocation, waiters: u32) {
        let id = self.provider.shared(who, revocation);
        let names = self.provider.names(&id);
        self.asked += 1;
        let (place, now) = (self.asked, self.now);
        let owner = format!("{number}.{place}");
        let stage = Stage::Others(false);
        let asking =
            Asking { who, revocation, id, names, waiters, begun: now, stage, claimed: None, owner };
        let replica = &mut self.replicas[number];
        replica.gate.askings.insert(place, asking);
        if replica.session.is_some() {
            self.claim(number, place);
        } else {
            self.ask_provider(number, place);
        }
    }

    /// Asks whether another replica knows the answer.
    pub(crate) fn claim(&mut self, number: usize, place: u64) {
        let Some(asking) = self.replicas[number].gate.askings.get(&place) else { return };
        let Stage::Others(does_not_suffice) = asking.stage else { return };
        let question =
            Question::Claim(asking.names.clone(), asking.owner.clone(), does_not_suffice);
        self.call(number, Task::Asks(place), question);
    }

    /// Takes what the other replicas know.
    pub(crate) fn claimed(&mut self, number: usize, place: u64, reply: ClaimReply, told: u64) {
        let (now, at) = (self.now, self.at(self.now));
        let gate = &mut self.replicas[number].gate;
        let Some(asking) = gate.askings.get_mut(&place) else { return };
        let who = asking.who;
        let redis_now = gate.clock.told(told, at);
        let unix_now = unix(now, gate.skew);
        let mut suffices = false;
        let has_value = !reply.refusal.is_empty() || !reply.answer.is_empty();
        for (is_refusal, value) in [(true, &reply.refusal), (false, &reply.answer)] {
            let key = &asking.names[usize::from(!is_refusal)];
            let Some(stored) = values::unseal(&self.provider.keys, key, value.as_bytes()) else {
                continue;
            };
            let asked = (stored.asked_redis, stored.asked_unix);
            let Some(age) = gate.clock.age(asked, at, unix_now) else { continue };
            let asked = now.saturating_sub(nanos(age));
            let name = &self.provider.name;
            let learned = values::answer(&stored, is_refusal, &asking.id.credential, name);
            let revoked = asking.revocation.moment.map(|moment| moment.at);
            let is_before =
                revoked.is_some_and(|revoked| self.start + Duration::from_nanos(asked) <= revoked);
            if is_before {
                continue;
            }
            let revision = asking.revocation.number;
            match learned {
                None => continue,
                Some(SharedAnswer::OtherRefused) => gate.cache.other_refused(who, asked),
                Some(SharedAnswer::Verdict(verdict)) => {
                    let is_valid = matches!(verdict, Verdict::Verified(..));
                    gate.cache.keep(who, revision, asked, is_valid);
                }
            }
            suffices |= gate.cache.look_up(who, revision, now).is_some();
        }
        asking.stage = Stage::Others(has_value);
        if suffices {
            self.learned += 1;
            if reply.is_mine {
                let put = Put {
                    owner: asking.owner.clone(),
                    kind: "none",
                    text: String::new(),
                    kept: 1.0,
                    longest: 1.0,
                    asked: 0,
                };
                let question = Question::Put(asking.names.clone(), put);
                self.call(number, Task::Asks(0), question);
            }
            let known = &self.replicas[number].gate;
            let asking = &known.askings[&place];
            let is_valid = known.cache.look_up(asking.who, asking.revocation.number, now);
            self.answer(number, place, is_valid);
            self.replicas[number].gate.askings.remove(&place);
        } else if reply.is_mine || now - asking.begun >= nanos(TIMEOUT) {
            asking.claimed = Some((unix_now, redis_now));
            self.ask_provider(number, place);
        } else {
            self.after(nanos(LOOK), Event::LooksAgain(number, place));
        }
    }

    /// Asks the provider.
    pub(crate) fn ask_provider(&mut self, number: usize, place: u64) {
        let now = self.now;
        let Some(asking) = self.replicas[number].gate.askings.get_mut(&place) else { return };
        (asking.stage, asking.begun) = (Stage::Provider, now);
        let most = if self.random.u8(..50) == 0 { SECOND } else { SECOND / 20 };
        let way = self.random.u64(1_000_000..most);
        self.after(way, Event::Hears(number, place));
    }

    /// The provider hears a question, and its answer is on its way.
    pub(crate) fn hears(&mut self, number: usize, place: u64) {
        let Some(asking) = self.replicas[number].gate.askings.get(&place) else { return };
        self.provider.asked += 1;
        let verdict = (!self.provider.is_down).then(|| self.provider.is_valid(asking.who));
        let way = self.random.u64(1_000_000..SECOND / 20);
        self.after(way, Event::Verdict(number, place, verdict));
    }

    /// The provider has answered; `None`: it has not.
    pub(crate) fn verdict(&mut self, number: usize, place: u64, verdict: Option<bool>) {
        let replica = &mut self.replicas[number];
        let Some(asking) = replica.gate.askings.get_mut(&place).filter(|_| !replica.is_dead) else {
            return;
        };
        asking.stage = Stage::Sharing;
        if let Some(is_valid) = verdict {
            let revision = asking.revocation.number;
            replica.gate.cache.keep(asking.who, revision, asking.begun, is_valid);
        }
        self.answer(number, place, verdict);
        let Some(asking) = self.replicas[number].gate.askings.get(&place) else { return };
        let Some(asked) = asking.claimed.filter(|_| self.replicas[number].session.is_some()) else {
            self.replicas[number].gate.askings.remove(&place);
            return;
        };
        let verdict =
            verdict.map_or(Verdict::Unavailable, |is_valid| self.provider.verdict(is_valid));
        let NewValue { kind, text, kept, longest, asked_redis } = NewValue::new(
            &verdict,
            asked,
            asking.id.credential,
            &asking.names,
            &self.provider.keys,
            LIMITS,
        );
        let put = Put {
            owner: asking.owner.clone(),
            kind,
            text,
            kept: kept.as_millis().max(1) as f64,
            longest: longest.as_millis() as f64,
            asked: asked_redis,
        };
        let question = Question::Put(asking.names.clone(), put);
        self.call(number, Task::Asks(place), question);
    }

    /// The verdict was shared.
    pub(crate) fn was_put(&mut self, number: usize, place: u64, found: i64) {
        let Some(asking) = self.replicas[number].gate.askings.remove(&place) else { return };
        match found {
            2 => {
                let asked = asking.claimed.unwrap_or_default();
                let refusal = Refusal { who: asking.who, asked };
                self.call(number, Task::Asks(0), Question::Announce(refusal));
            }
            3 => {
                let cache = &mut self.replicas[number].gate.cache;
                for who in pair(asking.who) {
                    cache.forget_before(who, asking.begun);
                }
            }
            _ => {}
        }
    }

    /// A replica hears of a refusal at another.
    pub(crate) fn hear_refusal(&mut self, number: usize, refusal: Refusal) {
        let (now, at) = (self.now, self.at(self.now));
        let gate = &mut self.replicas[number].gate;
        let (asked_unix, asked_redis) = refusal.asked;
        let age = gate.clock.age((asked_redis, asked_unix), at, unix(now, gate.skew));
        let until = now.saturating_sub(nanos(age.unwrap_or_default()));
        for who in pair(refusal.who) {
            gate.cache.forget_before(who, until);
        }
    }

    /// Hands an answer to all requests that wait for it.
    fn answer(&mut self, number: usize, place: u64, verdict: Option<bool>) {
        let Some(asking) = self.replicas[number].gate.askings.get_mut(&place) else { return };
        let (who, known, waiters) =
            (asking.who, asking.revocation, std::mem::take(&mut asking.waiters));
        let revocation = self.revocation(who, number);
        if revocation != known {
            // The credential was revoked meanwhile.
            if waiters > 0 {
                self.ask(who, number, revocation, waiters);
            }
            return;
        }
        for _ in 0..waiters {
            let cache = &self.replicas[number].gate.cache;
            let is_stale = verdict.is_none() && cache.is_stale(who, known.number, self.now);
            self.settle(who, number, verdict.unwrap_or(is_stale), is_stale);
        }
    }

    /// Lets a request in, or refuses it. One that is let in must be one that a single gate may let
    /// in: its credential was valid lately, after the last revocation that the replica knows, and
    /// after it last dropped its verdicts.
    fn settle(&mut self, who: usize, number: usize, is_let_in: bool, is_stale: bool) {
        if !is_let_in {
            self.refused += 1;
            return;
        }
        self.let_in += 1;
        let now = self.now;
        let oldest = LIMITS.ttl + if is_stale { LIMITS.stale_if_error } else { Duration::ZERO };
        let mut from = now.saturating_sub(nanos(oldest) + DRIFT + self.clock_error());
        let dropped = self.replicas[number].gate.dropped;
        from = from.max(dropped.saturating_sub(DRIFT + self.clock_error()));
        for fact in self.revoked.iter().filter(|fact| fact.who.contains(&who)) {
            if fact.arrived.get(number).is_some_and(Option::is_some) {
                from = from.max(fact.at);
            }
        }
        if !self.provider.was_valid(who, from, now) {
            self.fail(format!(
                "replica {number} lets credential {who} in{}, which was not valid after {:.3} s; \
                 verdicts were dropped at {:.3} s",
                if is_stale { " by a stale answer" } else { "" },
                from as f64 / 1e9,
                self.replicas[number].gate.dropped as f64 / 1e9,
            ));
        }
    }
}

/// Returns the credentials with the same secret.
pub(crate) fn pair(who: usize) -> [usize; 2] {
    [who / 2 * 2, who / 2 * 2 + 1]
}
