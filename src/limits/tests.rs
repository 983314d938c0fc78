//! Tests of the limits alone. Rates are per hour, so that no test depends on its speed.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use super::*;
use crate::identity::{Granted, Principal, Source};
use crate::rate_limit::Quota;

const HOUR: Duration = Duration::from_secs(3600);

fn limits(per_client: Option<Quota>, general: IdentityLimits) -> Limits {
    Limits::new(
        Settings { per_client, failed_logins: None, general, overrides: Vec::new() },
        Arc::default(),
    )
}

fn pulls(burst: u32) -> IdentityLimits {
    IdentityLimits {
        pulls_per_identity: Some(Quota::new(1, HOUR, burst)),
        ..IdentityLimits::default()
    }
}

fn caller(provider: &str, credential_type: &str, subject: &str) -> Verified {
    let source = Source {
        provider: provider.into(),
        credential_type: Some(credential_type.into()),
        folds_case: false,
    }
    .into();
    let principal = Principal { source, subject: subject.into() };
    Verified { principal, granted: Granted::Nothing, attributes: None }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Takes a pull. A gate without replicas never waits for that.
fn pull_now(account: &Account) -> Result<Charge, Denial> {
    let mut pull = pin!(account.pull());
    match pull.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(pulled) => pulled,
        Poll::Pending => panic!("the pull waits"),
    }
}

#[tokio::test]
async fn clients_are_counted_by_network() {
    let limits = limits(Some(Quota::new(1, HOUR, 1)), IdentityLimits::default());
    let mut passed = Vec::new();
    for text in [
        "192.0.2.1",
        "::ffff:192.0.2.1",
        "192.0.2.2",
        "2001:db8::1",
        "2001:db8::2",
        "2001:db8:0:1::1",
    ] {
        passed.push(limits.client(address(text), OnLimit::Reject).await.is_ok());
    }
    assert_eq!(passed, [true, false, true, true, false, true]);
}

#[test]
fn an_identity_is_a_provider_and_a_subject() {
    let limits = limits(None, pulls(1));
    let pull = |caller: &Verified, from: &str| {
        limits
            .for_caller(Some(caller), address(from))
            .unwrap()
            .pulls()
            .is_some_and(|account| pull_now(&account).map(Charge::keep).is_ok())
    };
    assert!(pull(&caller("gitlab", "personal_access_token", "alice"), "192.0.2.1"));
    assert!(!pull(&caller("gitlab", "oauth", "alice"), "192.0.2.2"), "another token, elsewhere");
    assert!(
        pull(&caller("sso", "oauth", "alice"), "192.0.2.1"),
        "the same name at another provider"
    );
    assert!(pull(&caller("gitlab", "oauth", "bob"), "192.0.2.1"));
    // A caller without a credential has no name, so its address counts.
    assert!(pull(&caller("gitlab", "", ""), "192.0.2.1"));
    assert!(!pull(&caller("gitlab", "", ""), "192.0.2.1"));
    assert!(pull(&caller("gitlab", "", ""), "192.0.2.2"));
    assert!(
        pull_now(&limits.for_caller(None, address("192.0.2.2")).unwrap().pulls().unwrap()).is_err()
    );
}

#[test]
fn a_pull_that_is_not_kept_costs_nothing() {
    let limits = limits(None, pulls(2));
    let account = limits.for_caller(None, address("192.0.2.1")).unwrap().pulls().unwrap();
    let first = pull_now(&account).ok().unwrap();
    assert_eq!(account.remaining(), 1);
    drop(first);
    assert_eq!(account.remaining(), 2);
    pull_now(&account).ok().unwrap().keep();
    assert_eq!(account.remaining(), 1);
}

#[tokio::test]
async fn a_write_waits_where_the_wait_is_short() {
    let limits = limits(Some(Quota::new(10, Duration::from_secs(1), 1)), IdentityLimits::default());
    let begun = Instant::now();
    for _ in 0..3 {
        limits.client(address("192.0.2.1"), OnLimit::Wait).await.unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_caller_that_disconnects_while_waiting_costs_nothing() {
    let interval = Duration::from_millis(1500);
    let limits = limits(Some(Quota::new(2, interval * 2, 1)), IdentityLimits::default());
    let client = address("192.0.2.1");
    limits.client(client, OnLimit::Wait).await.unwrap();
    for _ in 0..100 {
        let waiting = pin!(limits.client(client, OnLimit::Wait));
        let _ = waiting.poll(&mut Context::from_waker(Waker::noop()));
    }
    if let Err(Denial::Limited { retry_after, .. }) = limits.client(client, OnLimit::Reject).await {
        assert!(retry_after <= interval, "{retry_after:?}");
    }
}

/// The rates are those of the newest config, and the usage is kept.
#[test]
fn the_usage_is_kept_when_the_config_changes() {
    let accounts = Arc::<Accounts>::default();
    let of = |general| Limits::new(Settings { general, ..Settings::default() }, accounts.clone());
    let pull = |limits: &Limits| {
        limits
            .for_caller(None, address("192.0.2.1"))
            .unwrap()
            .pulls()
            .is_some_and(|account| pull_now(&account).map(Charge::keep).is_ok())
    };
    let old = of(pulls(2));
    assert!(pull(&old) && pull(&old) && !pull(&old));
    assert!(!pull(&of(pulls(2))));
    assert!(pull(&of(pulls(3))));
    assert!(of(IdentityLimits::default()).for_caller(None, address("192.0.2.1")).is_none());
}

/// All workers share the usage: however they race, exactly the burst plus the refill of the rate is
/// admitted.
#[test]
fn all_workers_of_a_gate_share_one_limit() {
    // The burst takes ten seconds to refill, so no refill is lost even if the test runs slowly.
    let (rate, burst) = (1000, 10_000);
    let quota = Quota::new(rate, Duration::from_secs(1), burst);
    let general = IdentityLimits { pulls_per_identity: Some(quota), ..IdentityLimits::default() };
    let limits = limits(None, general);
    let account = || limits.for_caller(None, address("192.0.2.1")).unwrap().pulls().unwrap();
    let begun = Instant::now();
    for _ in 0..5000 {
        pull_now(&account()).ok().unwrap().keep();
    }
    // A full account gains nothing over time. From here on the account is never full.
    let owing = Instant::now();
    let mut admitted: u128 = 5000
        + thread::scope(|scope| {
            let worker = || {
                let (account, mut admitted) = (account(), 0);
                while begun.elapsed() < Duration::from_millis(300) {
                    admitted += u128::from(pull_now(&account).map(Charge::keep).is_ok());
                }
                admitted
            };
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum::<u128>()
        });
    let given =
        |elapsed: Duration| u128::from(burst) + elapsed.as_micros() * u128::from(rate) / 1_000_000;
    let mut least = given(owing.elapsed());
    while pull_now(&account()).map(Charge::keep).is_ok() {
        admitted += 1;
        least = given(owing.elapsed());
    }
    let most = given(begun.elapsed());
    assert!((least - 1..=most).contains(&admitted), "{admitted}, not {least} to {most}");
}
