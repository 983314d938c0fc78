//! Limits: that they reach the gate, and to which callers the overrides apply.

use std::time::Duration;

use moorgate::limits::settings::IdentityLimits;
use moorgate::policy::Who;
use moorgate::rate_limit::Quota;

use super::{MINIMAL, load, ready};

#[test]
fn limits_reach_the_config() {
    let limits = ready(include_str!("../../fixtures/config/valid/everything-changed.yml")).limits;
    let per = |count, seconds, burst| Some(Quota::new(count, Duration::from_secs(seconds), burst));
    assert_eq!((limits.per_client, limits.failed_logins), (per(200, 1, 400), per(5, 3600, 7)));
    let general = IdentityLimits {
        per_identity: per(100, 60, 1),
        pulls_per_identity: per(5000, 3600, 1_000_000),
        concurrent_uploads_per_identity: Some(16),
    };
    assert_eq!(limits.general, general);
    let [ci, anonymous] = &limits.overrides[..] else { panic!("not two") };
    let user = Who::User { provider: "sso".into(), name: "ci".into() };
    assert_eq!(ci.who, [user, Who::Group { provider: "sso".into(), name: "a/b".into() }]);
    let of_ci = IdentityLimits {
        per_identity: per(1000, 1, 2000),
        concurrent_uploads_per_identity: None,
        ..general
    };
    assert_eq!(ci.limits, of_ci, "what is not named is as for everybody, and null is off");
    assert_eq!(anonymous.limits, IdentityLimits { pulls_per_identity: None, ..general });
}

/// Only wrong credentials are limited by default, so that guessing is slow without any
/// configuration.
#[test]
fn nothing_but_wrong_credentials_is_limited_by_default() {
    for text in [MINIMAL, &format!("{MINIMAL}limits: {{ per_client: null, overrides: [] }}\n")] {
        let limits = ready(text).limits;
        assert_eq!((limits.per_client, limits.general), (None, IdentityLimits::default()));
        assert!(limits.overrides.is_empty());
        assert_eq!(limits.failed_logins, Some(Quota::new(10, Duration::from_secs(60), 20)));
    }
}

#[test]
fn null_turns_the_limit_on_wrong_credentials_off() {
    assert_eq!(
        ready(&format!("{MINIMAL}limits: {{ failed_logins: null }}\n")).limits.failed_logins,
        None
    );
}

/// The rate and the burst have separate defaults, so an operator can set a larger burst without the
/// rate.
#[test]
fn the_rate_and_the_burst_of_failed_logins_have_separate_defaults() {
    for (key, count, burst) in [("rate: 60/m", 60, 20), ("burst: 200", 10, 200)] {
        let limits = ready(&format!("{MINIMAL}limits: {{ failed_logins: {{ {key} }} }}\n")).limits;
        assert_eq!(limits.failed_logins, Some(Quota::new(count, Duration::from_secs(60), burst)));
    }
    let limits = load(MINIMAL, &[("MOORGATE_LIMITS_FAILED_LOGINS_BURST", "200")])
        .expect("valid")
        .config
        .limits;
    assert_eq!(limits.failed_logins, Some(Quota::new(10, Duration::from_secs(60), 200)));
}

#[test]
fn the_environment_sets_limits() {
    let of = |environment| load(MINIMAL, environment).map(|loaded| loaded.config.limits);
    let limits = of(&[
        ("MOORGATE_LIMITS_PER_CLIENT_RATE", "8/m"),
        ("MOORGATE_LIMITS_PER_CLIENT_BURST", "3"),
        ("MOORGATE_LIMITS_CONCURRENT_UPLOADS_PER_IDENTITY", "4"),
    ]);
    let limits = limits.expect("valid");
    assert_eq!(limits.per_client, Some(Quota::new(8, Duration::from_secs(60), 3)));
    assert_eq!(limits.general.concurrent_uploads_per_identity, Some(4));
    let problems = of(&[("MOORGATE_LIMITS_PER_CLIENT_RATE", "8/m")]).expect_err("no burst");
    assert!(
        problems.contains("`limits.per_client.burst` is missing; write burst: 200"),
        "{problems}"
    );
}

/// An override keeps the keys that it does not name unset when it is printed, so that they still
/// follow the general limits.
#[test]
fn overrides_are_printed_as_they_were_written() {
    let limits = "limits: { overrides: [{ who: [authenticated], per_identity: null }] }\n";
    let printed = load(&format!("{MINIMAL}{limits}"), &[]).expect("valid").print();
    let section = "  overrides:\n    - who: [authenticated]\n      per_identity: null\n\n";
    assert!(printed.contains(section), "{printed}");
}
