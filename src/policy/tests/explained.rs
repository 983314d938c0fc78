//! The statements about the rules that `explain` reports.

use super::rules::{caller, rule, with_rules};
use super::*;

fn alice() -> Verified {
    caller("p", "alice", None, &[])
}

/// Each need of a token request or of a mount source is listed once, even if several actions have
/// it.
#[test]
fn each_need_of_an_access_is_listed_once() {
    let policy = with_rules(vec![rule("reads", "a", "authenticated", "pull", None)], Mode::Enforce);
    let access = Access::several(vec![
        (RepositoryName::parse("a").unwrap(), Actions::asked("pull,push")),
        (RepositoryName::parse("b").unwrap(), Actions::asked("pull")),
    ]);
    let explained = policy.explain_access(&access, &alice());
    let says: Vec<_> = explained
        .iter()
        .map(|of| (of.need.repository.as_str(), of.need.action, of.rules[0].1))
        .collect();
    assert_eq!(
        says,
        [
            ("a", Action::Pull, Ok(())),
            ("a", Action::Push, Err(Mismatch::Action)),
            ("b", Action::Pull, Err(Mismatch::Repository)),
        ]
    );
    assert!(policy.explain_access(&Access::Login, &alice()).is_empty());
}

#[test]
fn a_mismatch_names_the_key_of_the_config() {
    for (mismatch, key) in [
        (Mismatch::Who, "`who`"),
        (Mismatch::From, "`from`"),
        (Mismatch::Repository, "`repositories`"),
        (Mismatch::Action, "`allow`"),
        (Mismatch::Tag, "`except_tags`"),
        (Mismatch::DeleteByDigest, "a digest"),
    ] {
        assert!(mismatch.to_string().contains(key), "{mismatch}");
    }
}

/// Providers are asked about callers without a credential unless rules alone decide about these
/// callers.
#[test]
fn public_rules_decide_about_anonymous_callers_if_no_grant_is_needed() {
    let of = |rules: Vec<Rule>, grant_needed| {
        policy()
            .with_rules(Rules { rules, grant_needed, ..Rules::default() })
            .rules_decide_for_anonymous()
    };
    let public = || vec![rule("public", "public/**", "anonymous", "pull", None)];
    assert!(of(public(), false));
    assert!(!of(public(), true));
    assert!(!of(Vec::new(), false));
}
