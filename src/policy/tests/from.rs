//! Rules that are only for some addresses.

use std::net::IpAddr;

use super::rules::{caller, rule, with_rules};
use super::*;
use crate::denial::RuleRefusal;

/// Returns a rule that is only for these networks.
fn from(networks: &str, rule: Rule) -> Rule {
    let networks = networks.split(',').map(|network| network.parse().unwrap());
    Rule { from: networks.collect(), ..rule }
}

fn office(who: &str, allow: &str) -> Rule {
    from("10.0.0.0/8,fd00::/8", rule("office", "a/**", who, allow, None))
}

fn at<'a>(address: Option<&str>, verified: &'a Verified) -> Caller<'a> {
    Caller { verified, address: address.map(|it| it.parse::<IpAddr>().unwrap()) }
}

#[test]
fn a_rule_with_networks_is_only_for_addresses_in_them() {
    let policy = with_rules(vec![office("authenticated", "pull,push")], Mode::Enforce);
    assert!(policy.looks_at_addresses());
    let alice = caller("p", "alice", None, &[]);
    for (address, allowed) in [
        (Some("10.1.2.3"), true),
        (Some("::ffff:10.1.2.3"), true),
        (Some("fd00::1"), true),
        (Some("11.0.0.1"), false),
        (Some("fe80::1"), false),
        (Some("::a00:1"), false),
        (None, false),
    ] {
        for method in [Method::GET, Method::PUT] {
            let wanted = request(method.clone(), "/v2/a/b/manifests/v1");
            let decided = policy.authorize(wanted, at(address, &alice));
            assert_eq!(decided.is_ok(), allowed, "{address:?} {method}");
            let refusal = RuleRefusal::Action(Action::Pull);
            assert!(allowed || decided.unwrap_err() == Denial::DeniedByPolicy(refusal));
        }
    }
    // A caller without an address is in no network.
    assert!(policy.authorize(request(Method::GET, "/v2/a/b/manifests/v1"), &alice).is_err());
}

#[test]
fn a_rule_without_networks_is_for_every_address() {
    let policy = with_rules(
        vec![
            rule("reads", "a/**", "authenticated", "pull", None),
            office("authenticated", "push"),
            from("192.0.2.7/32", rule("deletes", "a/**", "authenticated", "delete", None)),
        ],
        Mode::Enforce,
    );
    let alice = caller("p", "alice", None, &[]);
    for (address, method, allowed) in [
        (None, Method::GET, true),
        (Some("192.0.2.1"), Method::GET, true),
        (Some("192.0.2.1"), Method::PUT, false),
        (Some("10.0.0.1"), Method::PUT, true),
        (Some("10.0.0.1"), Method::DELETE, false),
        (Some("192.0.2.7"), Method::DELETE, true),
    ] {
        let wanted = request(method.clone(), "/v2/a/b/manifests/v1");
        let decided = policy.authorize(wanted, at(address, &alice));
        assert_eq!(decided.is_ok(), allowed, "{address:?} {method}");
    }
    let others = with_rules(vec![rule("r", "a", "anonymous", "pull", None)], Mode::Enforce);
    assert!(!others.looks_at_addresses());
}

/// The address counts for everything that rules decide: mounts, tokens, anonymous callers and the
/// catalog.
#[test]
fn the_address_counts_in_every_decision() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let policy = with_rules(
        vec![
            rule("target", "b", "authenticated", "pull,push", None),
            office("authenticated,anonymous", "pull"),
            from("10.0.0.0/8", rule("lists", "**", "user:p/lister", "catalog", None)),
        ],
        Mode::Enforce,
    );
    let (alice, lister) = (caller("p", "alice", None, &[]), caller("p", "lister", None, &[]));
    let nobody = caller("p", "", None, &[]);
    for (address, is_inside) in
        [(Some("10.0.0.1"), true), (Some("192.0.2.1"), false), (None, false)]
    {
        let alice = at(address, &alice);
        let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a/b");
        let decision = policy.authorize(request(Method::POST, &mount), alice).unwrap();
        let decision = policy.allow_mount(decision, alice);
        assert_eq!(decision.request().mount_source().is_some(), is_inside, "{address:?}");

        let asked = Access::several(vec![(
            RepositoryName::parse("a/b").unwrap(),
            Actions { pull: true, ..Actions::default() },
        )]);
        assert_eq!(policy.granted(&asked, alice).len(), usize::from(is_inside), "{address:?}");
        assert_eq!(policy.refused(&asked, alice).count(), usize::from(!is_inside), "{address:?}");

        let wanted = request(Method::GET, "/v2/a/b/manifests/v1");
        let decided = policy.authorize(wanted, at(address, &nobody));
        assert_eq!(decided.err(), (!is_inside).then_some(Denial::NoCredential), "{address:?}");

        let name = RepositoryName::parse("a/b").unwrap();
        let shows = |caller: Caller<'_>| {
            let decision = policy.authorize(request(Method::GET, "/v2/_catalog"), caller).unwrap();
            let permit = decision.permit(&[]).unwrap();
            permit.catalog_filter().map(|filter| filter.shows(&name))
        };
        assert_eq!(shows(alice), Some(is_inside), "{address:?}");
        let everything = if is_inside { None } else { Some(false) };
        assert_eq!(shows(at(address, &lister)), everything, "{address:?}");
    }
}

#[test]
fn an_explanation_says_that_the_address_is_another_one() {
    let policy = with_rules(vec![office("authenticated", "pull")], Mode::Enforce);
    let (alice, bob) = (caller("p", "alice", None, &[]), caller("p", "", None, &[]));
    let wanted = request(Method::GET, "/v2/a/b/manifests/v1");
    for (caller, outcome) in [
        (at(Some("10.0.0.1"), &alice), Ok(())),
        (at(Some("192.0.2.1"), &alice), Err(Mismatch::From)),
        (at(None, &alice), Err(Mismatch::From)),
        (at(Some("192.0.2.1"), &bob), Err(Mismatch::Who)),
    ] {
        assert_eq!(policy.explain(&wanted, caller)[0].rules, [("office", outcome)]);
        let access = wanted.required();
        assert_eq!(policy.explain_access(&access, caller)[0].rules, [("office", outcome)]);
        let effects = policy.explain_catalog(caller);
        match (outcome, &effects[0].1) {
            (Ok(()), CatalogEffect::Listed(_)) => {}
            (Err(expected), CatalogEffect::Nothing(why)) => assert_eq!(*why, expected),
            (_, effect) => panic!("{effect:?}"),
        }
    }
}
