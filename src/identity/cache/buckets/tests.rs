use std::time::{Duration, Instant};

use secrecy::SecretString;

use super::super::entry::{CachedVerdict, Validity};
use super::*;
use crate::identity::model::credential::Credential;
use crate::identity::model::keyed_hash::{HashKey, QuestionId};

/// A store whose answers are their own weights.
struct Fixture {
    store: Buckets<u32>,
    key: HashKey,
}

impl Fixture {
    fn new(capacity: u64) -> Self {
        let weigh =
            |known: &CachedAnswers<u32>| known.answers().iter().map(|answer| *answer.value()).sum();
        Self { store: Buckets::new(capacity, weigh), key: HashKey::random().unwrap() }
    }

    fn secret(&self, number: u32) -> SecretId {
        self.key.secret(&Credential::Bearer(SecretString::from(number.to_string())))
    }

    fn add(&self, number: u32, weight: u32) {
        self.store.change(self.secret(number), |known| {
            let minute = Duration::from_secs(60);
            let good = Validity { fresh: minute, stale: minute, ends: None };
            let question = QuestionId::any(1);
            let answer = CachedVerdict::new(question, 0, weight, Instant::now(), good);
            Some(CachedAnswers::with(known, answer))
        });
    }

    fn has(&self, number: u32) -> bool {
        self.store.with(self.secret(number), |_| ()).is_some()
    }

    fn weight(&self) -> u64 {
        let counted = self.store.weight.load(Relaxed);
        let weights = self
            .store
            .buckets
            .iter()
            .map(|(_, bucket)| bucket.read().iter().map(|slot| slot.weight()).sum::<u64>());
        assert_eq!(counted, weights.sum::<u64>());
        counted
    }
}

#[test]
fn a_store_holds_as_many_secrets_as_its_capacity() {
    for capacity in [1, 2, 5, 31, 100, 1000, 10_000] {
        let fixture = Fixture::new(capacity.into());
        for number in 0..capacity {
            fixture.add(number, 1);
        }
        assert!((0..capacity).all(|number| fixture.has(number)), "{capacity}");
        for number in capacity..2 * capacity {
            fixture.add(number, 1);
            assert!(fixture.has(number), "{capacity}: a new secret finds a place");
        }
        assert_eq!((fixture.store.len(), fixture.weight()), (capacity.into(), capacity.into()));
    }
}

/// The secrets in use are a third of all and more than there are buckets.
#[test]
fn a_flood_of_new_secrets_drops_only_secrets_that_are_not_in_use() {
    let fixture = Fixture::new(3000);
    let in_use = || 0..1000;
    for number in in_use() {
        fixture.add(number, 1);
    }
    for flood in 0..20 {
        for number in 0..1000 {
            fixture.add(1000 * (flood + 1) + number, 1);
        }
        let left = in_use().filter(|number| fixture.has(*number)).count();
        assert!(left >= 990, "{flood}: {left}");
    }
}

#[test]
fn a_heavy_secret_takes_the_place_of_several_and_never_of_the_whole_store() {
    for capacity in [4, 100, 10_000] {
        let fixture = Fixture::new(capacity.into());
        for number in 0..2 * capacity {
            fixture.add(number, 1);
        }
        for number in 0..10 {
            let heavy = u32::MAX - number;
            fixture.add(heavy, u32::MAX);
            assert!(fixture.has(heavy), "{capacity}");
            assert!(fixture.weight() <= capacity.into(), "{capacity}");
        }
        assert!(fixture.store.len() >= 3, "{capacity}");
    }
}

#[test]
fn a_secret_without_answers_takes_no_weight() {
    let fixture = Fixture::new(100);
    for number in 0..50 {
        fixture.add(number, 1);
    }
    fixture.store.change_all(|known| known.without(|answer| *answer.value() == 1));
    assert_eq!((fixture.store.len(), fixture.weight()), (0, 0));
    fixture.store.change(fixture.secret(0), |known| known.cloned());
    assert_eq!((fixture.store.len(), fixture.weight()), (0, 0));
}

/// Readers of a bucket and writers of it do not wait for each other for long, and none is lost.
#[test]
fn concurrent_changes_of_one_bucket_are_all_kept() {
    let fixture = Fixture::new(31);
    std::thread::scope(|scope| {
        for first in 0..4 {
            let fixture = &fixture;
            scope.spawn(move || {
                for number in (first..28).step_by(4) {
                    fixture.add(number, 1);
                    assert!(fixture.has(number));
                }
            });
        }
    });
    assert_eq!((fixture.store.len(), fixture.weight()), (28, 28));
}

#[test]
fn an_empty_slot_takes_no_more_memory_than_a_full_one() {
    assert_eq!(size_of::<Option<Slot<Arc<()>>>>(), size_of::<Slot<Arc<()>>>());
    assert_eq!(size_of::<Slot<Arc<()>>>(), 72);
}
