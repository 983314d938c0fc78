//! Revocations by operators: a verdict from before a revocation is never used again, neither fresh
//! nor stale.
//!
//! A revocation is part of every later question about the credential. Cached answers, questions
//! under way and resting questions therefore become unreachable at once. A revocation overrides the
//! cache, not the provider: if the provider still accepts the credential, the caller is admitted
//! again. Workload tokens are the exception: no provider can be asked whether one is still valid,
//! so a revoked one is refused. Every gate token that was sealed before the revocation is refused
//! as well, because its holder is the caller that the operator wants to shut out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::keyed_hash::{Fingerprint, KnownAs, SecretId};
use super::unix_time::unix_micros;

/// The largest number of revocations that are kept individually, at about 80 bytes each. Beyond it,
/// the oldest one is dropped and its instant applies to every credential.
const MAX_REVOCATIONS: usize = 10_000;

/// The largest difference between the clocks of gates that are told of a revocation. A gate token
/// is refused if it was sealed up to this time after the revocation: it may come from a gate whose
/// clock is fast, or from before a clock was set back.
const CLOCKS_DIFFER: Duration = Duration::from_secs(10);

/// All revocations.
#[derive(Default)]
pub struct Revocations {
    /// The number of the latest revocation, 0 until the first one. Most gates never revoke
    /// anything and then skip the lookup.
    latest: AtomicU64,
    table: RwLock<RevocationTable>,
}

#[derive(Default)]
struct RevocationTable {
    /// The number of the latest revocation.
    latest: u64,
    revoked: HashMap<Revoked, (u64, Moment)>,
    floor: Option<Moment>,
}

/// The object of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// A secret, with any user name and scheme.
    Secret(SecretId),
    /// A credential, by the identifier in logs.
    Credential(Fingerprint),
}

/// An instant on the monotonic clock and on the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time on the monotonic clock, compared with events in this process.
    pub at: Instant,
    /// The Unix time in microseconds, compared with times stated by others and in sealed tokens.
    pub unix_micros: u64,
}

impl Moment {
    /// Returns the current instant on both clocks.
    pub fn now() -> Self {
        Self { at: Instant::now(), unix_micros: unix_micros() }
    }

    /// Returns the Unix time in whole seconds.
    pub fn unix(&self) -> u64 {
        self.unix_micros / 1_000_000
    }
}

/// The revocations of a credential at the time of a question about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revocation {
    /// The number of the last revocation of the credential, which makes questions before it differ
    /// from questions after it. `None` if the credential was not revoked.
    pub number: Option<u64>,
    /// The instant at which the gate was told of that revocation, and the latest time at which the
    /// credential was revoked, by the clocks of all replicas.
    pub moment: Option<Moment>,
    /// The time up to which all answers about all credentials are void.
    pub floor: Option<Moment>,
}

impl Revocation {
    /// Returns the later of two revocations of one credential.
    #[must_use]
    pub fn or_later(self, other: Self) -> Self {
        let (mut later, earlier) =
            if other.number > self.number { (other, self) } else { (self, other) };
        if let (Some(moment), Some(earlier)) = (&mut later.moment, earlier.moment) {
            moment.unix_micros = moment.unix_micros.max(earlier.unix_micros);
        }
        later
    }

    /// Returns the identifier of the revocations at all replicas, 0 if there is none.
    pub fn stamp(&self) -> u64 {
        self.moment.map_or(0, |moment| moment.unix_micros)
    }

    /// Returns whether a gate token of the credential that was sealed at this time (Unix time,
    /// microseconds) is refused.
    pub fn refuses_sealed_at(&self, unix_micros: u64) -> bool {
        self.sealed_before_at_latest().is_some_and(|latest| unix_micros <= latest)
    }

    /// Returns the time for a gate token of the credential that is sealed now (Unix time,
    /// microseconds). The gate knows these revocations, so they do not refuse the token.
    pub fn seals_at(&self, now: u64) -> u64 {
        self.sealed_before_at_latest().map_or(now, |latest| now.max(latest.saturating_add(1)))
    }

    /// Returns the latest time of a gate token that may have been sealed before the revocations.
    fn sealed_before_at_latest(&self) -> Option<u64> {
        let differ = u64::try_from(CLOCKS_DIFFER.as_micros()).unwrap_or(u64::MAX);
        let moments = [self.moment, self.floor].into_iter().flatten();
        moments.map(|revoked| revoked.unix_micros.saturating_add(differ)).max()
    }
}

impl Revocations {
    /// Takes over a revocation that another replica has published, and perhaps not for the first
    /// time. Returns `false` if it is known already, or a later one of the same.
    pub fn learn_again(&self, what: Revoked, moment: Moment) -> bool {
        let is_known = {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            let known = table.revoked.get(&what);
            known.is_some_and(|(_, known)| known.unix_micros >= moment.unix_micros)
        };
        if !is_known {
            self.add(what, moment);
        }
        !is_known
    }

    /// Returns all revocations, with their Unix times in microseconds.
    pub fn all(&self) -> Vec<(Revoked, u64)> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.revoked.iter().map(|(what, (_, moment))| (*what, moment.unix_micros)).collect()
    }

    /// Revokes a secret or a credential, here or at another replica, whose clock may differ.
    pub fn revoke(&self, what: Revoked, moment: Moment) {
        let known = {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            table.revoked.get(&what).map(|(_, known)| known.unix_micros)
        };
        // Of two revocations that two replicas heard in a different order, each makes the other
        // later, so both replicas come to the same time.
        let unix_micros = known
            .map_or(moment.unix_micros, |known| known.max(moment.unix_micros).saturating_add(1));
        self.add(what, Moment { unix_micros, ..moment });
    }

    fn add(&self, what: Revoked, moment: Moment) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.latest += 1;
        let number = table.latest;
        table.revoked.insert(what, (number, moment));
        if table.revoked.len() > MAX_REVOCATIONS {
            let oldest =
                table.revoked.iter().min_by_key(|(_, (number, _))| *number).map(|(what, _)| *what);
            let gone = oldest.and_then(|oldest| table.revoked.remove(&oldest));
            table.floor = gone.map(|(_, moment)| moment).or(table.floor);
        }
        self.latest.store(number, Ordering::Release);
    }

    /// Returns the number of the latest revocation, of any credential. As long as it does not
    /// change, [`lookup`](Self::lookup) has the same result.
    pub fn revision(&self) -> u64 {
        self.latest.load(Ordering::Acquire)
    }

    /// Returns the revocations of this credential.
    pub fn lookup(&self, credential: &KnownAs) -> Revocation {
        if self.revision() == 0 {
            return Revocation::default();
        }
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let of = |what| {
            let found = table.revoked.get(&what).copied().unzip();
            Revocation { number: found.0, moment: found.1, floor: table.floor }
        };
        of(Revoked::Secret(credential.secret))
            .or_later(of(Revoked::Credential(credential.fingerprint)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::SecretString;

    use super::*;
    use crate::identity::model::credential::Credential;
    use crate::identity::model::keyed_hash::HashKey;

    fn known_as(key: &HashKey, user: &str, secret: &str) -> KnownAs {
        let credential =
            Credential::Basic { user: user.into(), password: SecretString::from(secret) };
        key.known_as(&credential, key.credential(&credential), key.secret(&credential))
    }

    #[test]
    fn secrets_and_credentials_are_revoked_separately() {
        let (revocations, key) = (Revocations::default(), HashKey::random().unwrap());
        let of = |user, secret| revocations.lookup(&known_as(&key, user, secret));
        let now = Moment { at: Instant::now(), unix_micros: 1000 };
        assert_eq!(of("a", "x"), Revocation::default());
        revocations.revoke(Revoked::Secret(known_as(&key, "a", "x").secret), now);
        assert_eq!(
            (of("a", "x"), of("b", "x")),
            (of("b", "x"), of("a", "x")),
            "whoever presents it"
        );
        assert_eq!((of("a", "x").number, of("a", "y").number), (Some(1), None));
        revocations.revoke(Revoked::Credential(known_as(&key, "a", "y").fingerprint), now);
        assert_eq!((of("a", "y").number, of("b", "y").number), (Some(2), None));
        revocations.revoke(Revoked::Credential(known_as(&key, "a", "x").fingerprint), now);
        assert_eq!(
            (of("a", "x").number, of("b", "x").number),
            (Some(3), Some(1)),
            "the latest of both"
        );
        revocations.revoke(Revoked::Secret(known_as(&key, "a", "x").secret), now);
        assert_eq!(of("b", "x").number, Some(4), "again");
    }

    #[test]
    fn gate_tokens_sealed_up_to_the_revocation_are_refused() {
        let (revocations, key) = (Revocations::default(), HashKey::random().unwrap());
        let of = |user| revocations.lookup(&known_as(&key, user, "x"));
        let moment = |unix_micros| Moment { at: Instant::now(), unix_micros };
        assert!(!of("a").refuses_sealed_at(0));
        revocations.revoke(Revoked::Secret(known_as(&key, "a", "x").secret), moment(1000));
        revocations.revoke(Revoked::Credential(known_as(&key, "a", "x").fingerprint), moment(2000));
        // Another gate, whose clock is fast, may have sealed a token before the revocation.
        const DIFFER: u64 = 10_000_000;
        for (sealed, a, b) in [
            (999, true, true),
            (1000 + DIFFER, true, true),
            (1001 + DIFFER, true, false),
            (2000 + DIFFER, true, false),
        ] {
            assert_eq!(
                (of("a").refuses_sealed_at(sealed), of("b").refuses_sealed_at(sealed)),
                (a, b),
                "{sealed}"
            );
        }
        assert!(!of("a").refuses_sealed_at(2001 + DIFFER), "sealed afterwards");
        let floor = Revocation { floor: Some(moment(5)), ..Revocation::default() };
        assert!(floor.refuses_sealed_at(5 + DIFFER) && !floor.refuses_sealed_at(6 + DIFFER));
    }

    #[test]
    fn a_gate_token_that_is_sealed_after_a_revocation_is_refused_by_the_next_one() {
        let (revocations, key) = (Revocations::default(), HashKey::random().unwrap());
        let of = || revocations.lookup(&known_as(&key, "a", "x"));
        let what = Revoked::Secret(known_as(&key, "a", "x").secret);
        let moment = |unix_micros| Moment { at: Instant::now(), unix_micros };
        assert_eq!(of().seals_at(1000), 1000);
        revocations.revoke(what, moment(1000));
        let sealed = of().seals_at(1001);
        assert!(!of().refuses_sealed_at(sealed));
        assert_eq!(of().seals_at(sealed + 1), sealed + 1);
        // From a gate whose clock is slow.
        revocations.revoke(what, moment(500));
        assert!(of().refuses_sealed_at(sealed));
    }

    #[test]
    fn two_revocations_have_one_time_in_either_order() {
        let key = HashKey::random().unwrap();
        let what = Revoked::Secret(known_as(&key, "a", "x").secret);
        let moment = |unix_micros| Moment { at: Instant::now(), unix_micros };
        let stamps = [[1000, 500], [500, 1000]].map(|order| {
            let revocations = Revocations::default();
            for at in order {
                revocations.revoke(what, moment(at));
            }
            revocations.lookup(&known_as(&key, "a", "x")).stamp()
        });
        assert_eq!(stamps, [1001, 1001]);
        let revocations = Revocations::default();
        revocations.revoke(what, moment(1000));
        for (at, is_new) in [(999, false), (1000, false), (1001, true), (1001, false)] {
            assert_eq!(revocations.learn_again(what, moment(at)), is_new, "{at}");
        }
        assert_eq!(revocations.lookup(&known_as(&key, "a", "x")).number, Some(2));
    }

    #[test]
    fn a_full_list_drops_the_oldest_revocations_and_sets_a_floor_for_all() {
        let (revocations, key) = (Revocations::default(), HashKey::random().unwrap());
        let start = Instant::now();
        let moment =
            |number: u64| Moment { at: start + Duration::from_secs(number), unix_micros: number };
        let credential = |number: u64| known_as(&key, "a", &number.to_string());
        let last = MAX_REVOCATIONS as u64 + 1;
        for number in 0..=last {
            revocations.revoke(Revoked::Secret(credential(number).secret), moment(number));
        }
        let of = |number| revocations.lookup(&credential(number));
        assert_eq!(of(last + 7), Revocation { floor: Some(moment(1)), ..Revocation::default() });
        assert_eq!((of(1).number, of(2).number), (None, Some(3)));
    }
}
