use super::*;

const START: Nanos = 10_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);

/// Creates the table of one of several replicas that are connected.
fn table(replicas: u32) -> SharedTable {
    let table = SharedTable::new(false);
    table.set_key([1, 2]);
    table.set_replicas(replicas);
    table.set_connected(true, START);
    table
}

fn reserve(table: &SharedTable, key: CallerKey, quota: Quota) -> Reservation {
    table.reserve(key, quota, START, Duration::ZERO, true)
}

/// The share of the caller is in a bucket in Redis, which still has events.
#[test]
fn the_last_replica_goes_on_with_the_bucket_of_a_busy_caller() {
    let (table, quota) = (table(2), Quota::new(100, HOUR, 100));
    let key = table.key(&"caller");
    table.hear(key, quota, START);
    let questions = table.plan(START, 10);
    let answer = LeaseAnswer {
        exists: true,
        granted: 0,
        level: 60_000_000,
        members: 2,
        full_in: Duration::from_secs(60),
    };
    table.apply(&questions, &[answer], 2, START);
    table.set_replicas(1);
    assert!(matches!(reserve(&table, key, quota), Reservation::Ask(_)));
    assert_eq!(table.remaining(key, quota, START), 60);
    let other = table.key(&"other");
    assert!(matches!(reserve(&table, other, quota), Reservation::Taken(SharedTaken::Own(_), _)));
}

/// Otherwise, whoever has many addresses could lock out all others.
#[test]
fn a_caller_of_a_small_budget_has_its_share_while_too_many_are_busy() {
    let (table, quota) = (table(3), Quota::new(2, HOUR, 3));
    let mut asked = 0;
    while let Reservation::Ask(_) = reserve(&table, table.key(&asked), quota) {
        asked += 1;
        assert!(asked < 100_000, "too many callers are busy");
    }
    let another = table.key(&"another");
    assert!(matches!(
        reserve(&table, another, quota),
        Reservation::Taken(SharedTaken::Own(_), Duration::ZERO)
    ));
    assert!(matches!(reserve(&table, another, quota), Reservation::Refused(_)));
}
