//! The index and the plain loop over all rules find the same rule.

use proptest::prelude::*;

use super::*;
use crate::identity::{Attributes, Granted, Principal, Source};
use crate::policy::{Need, RepositoryPattern, TagChoice, TagPattern, Target, Who};
use crate::registry::{Action, Actions, RepositoryName, Tag};

const PATTERNS: &[&str] = &[
    "**",
    "*",
    "a",
    "a/**",
    "a/*",
    "a/b",
    "a/b/**",
    "a/b/c",
    "a-b/**",
    "a*",
    "a/b*/c",
    "*/b",
    "**/c",
    "b/a/**",
    "b",
    "${user}/**",
    "a/${user}",
    "${claims.project}/**",
];

const WHO: &[&str] = &[
    "anonymous",
    "authenticated",
    "user:p/alice",
    "user:q/alice",
    "user:p/bob",
    "group:p/dev",
    "group:q/dev",
    "group:p/ops",
    "provider:p",
    "provider:q",
    "credential:build",
    "credential:other",
];

const NAMES: &[&str] =
    &["a", "a/b", "a/b/c", "a/bx/c", "a-b/c", "ab", "b", "b/a/c", "alice/x", "a/alice", "g/p/x"];

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let some = |texts: &'static [&str]| prop::collection::vec(prop::sample::select(texts), 1..4);
    let allow = prop::sample::select(vec!["pull", "push", "delete", "pull,push", "*"]);
    let rule = (some(PATTERNS), some(WHO), allow, any::<bool>()).prop_map(
        |(repositories, who, allow, tags)| Rule {
            name: "r".into(),
            repositories: repositories
                .iter()
                .map(|text| RepositoryPattern::parse(text).unwrap())
                .collect(),
            who: who.iter().map(|text| Who::parse(text, &["p", "q"]).unwrap()).collect(),
            allow: Actions::asked(allow),
            catalog: false,
            tags: tags.then(|| TagChoice {
                tags: vec![TagPattern::parse("v*").unwrap()],
                except: Vec::new(),
            }),
        },
    );
    // Many rules for few patterns, so that most groups have an index of the callers.
    prop::collection::vec(rule, 0..120)
}

fn callers() -> impl Strategy<Value = Verified> {
    let names = prop::sample::select(vec!["", "alice", "Alice", "bob"]);
    let types = prop::sample::select(vec![None, Some("build"), Some("other")]);
    let groups = prop::collection::vec(prop::sample::select(vec!["dev", "ops", "none"]), 0..3);
    let provider = prop::sample::select(vec!["p", "q"]);
    (provider, names, types, groups, any::<bool>()).prop_map(
        |(provider, subject, credential_type, groups, folds_case)| {
            let credential_type = credential_type.map(Into::into);
            let source = Source { provider: provider.into(), credential_type, folds_case };
            let claims = serde_json::json!({ "project": "g/p" }).as_object().unwrap().clone();
            let groups = groups.into_iter().map(str::to_owned).collect();
            Verified {
                principal: Principal { source: source.into(), subject: subject.into() },
                granted: Granted::Nothing,
                attributes: Some(Attributes { groups, claims, session_ends: None }.into()),
            }
        },
    )
}

/// Returns a rule for each name, all of the same shape.
fn many(shape: impl Fn(usize) -> (String, String)) -> Vec<Rule> {
    let rule = |number| {
        let (repositories, who) = shape(number);
        Rule {
            name: number.to_string().into(),
            repositories: vec![RepositoryPattern::parse(&repositories).unwrap()],
            who: vec![Who::parse(&who, &["p"]).unwrap()],
            allow: Actions { pull: true, ..Actions::default() },
            catalog: false,
            tags: None,
        }
    };
    (0..1000).map(rule).collect()
}

fn alice() -> Verified {
    let source = Source { provider: "p".into(), credential_type: None, folds_case: false };
    let principal = Principal { source: source.into(), subject: "alice".into() };
    Verified { principal, granted: Granted::Nothing, attributes: None }
}

/// A rule is looked at only if it is for the repository or for the caller.
#[test]
fn few_of_a_thousand_rules_are_looked_at() {
    let looked_at = |rules: Vec<Rule>, repository: &str| {
        let count = std::cell::Cell::new(0);
        RuleIndex::new(&rules).first(repository, &alice(), |_| {
            count.set(count.get() + 1);
            false
        });
        count.get()
    };
    let by_name = many(|number| (format!("team-{number}/**"), "authenticated".to_owned()));
    assert_eq!(looked_at(by_name, "team-500/x"), 1);
    let within_a_segment = many(|number| (format!("team/{number}-*"), "authenticated".to_owned()));
    assert_eq!(looked_at(within_a_segment, "team/500-x"), 1);
    let by_user = many(|number| ("**".to_owned(), format!("user:p/u{number}")));
    assert_eq!(looked_at(by_user, "team/x"), 0);
    let one_is_hers = many(|number| {
        let user = if number == 999 { "alice".to_owned() } else { format!("u{number}") };
        ("**".to_owned(), format!("user:p/{user}"))
    });
    assert_eq!(looked_at(one_is_hers, "team/x"), 1);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 1000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_index_finds_the_rule_that_the_plain_loop_finds(
        rules in rules(),
        caller in callers(),
        name in prop::sample::select(NAMES),
        action in prop::sample::select(vec![Action::Pull, Action::Push, Action::Delete]),
        target in 0..3,
    ) {
        let (repository, tag) = (RepositoryName::parse(name).unwrap(), Tag::parse("v1").unwrap());
        let target = match target {
            0 => Target::Untagged,
            1 => Target::Tag(&tag),
            _ => Target::Digest,
        };
        let need = Need { repository: &repository, action, target };
        let plain = rules.iter().position(|rule| rule.allows(&need, &caller).is_ok());
        let index = RuleIndex::new(&rules);
        let found = index.first(name, &caller, |number| rules[number].allows(&need, &caller).is_ok());
        prop_assert_eq!(found, plain);
    }
}
