//! The names that patterns match, and the texts that are not patterns.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::identity::{Attributes, Granted, Principal, Source};

fn caller(subject: &str, credential_type: Option<&str>, claims: Value) -> Verified {
    let source = Source {
        provider: "p".into(),
        credential_type: credential_type.map(Arc::from),
        folds_case: false,
    };
    let attributes =
        Attributes { claims: claims.as_object().unwrap().clone(), ..Attributes::default() };
    Verified {
        principal: Principal { source: source.into(), subject: subject.into() },
        granted: Granted::Identity,
        attributes: Some(attributes.into()),
    }
}

fn matches(pattern: &str, name: &str, caller: &Verified) -> bool {
    let pattern =
        RepositoryPattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    pattern.matches(&RepositoryName::parse(name).unwrap(), caller)
}

#[test]
fn stars_match_within_a_segment_and_double_stars_match_segments() {
    let table: [(&str, &[&str], &[&str]); 12] = [
        ("a", &["a"], &["b", "a/a", "aa"]),
        ("*", &["a", "a-b"], &["a/b"]),
        ("**", &["a", "a/b", "a/b/c"], &[]),
        ("public/**", &["public/a", "public/a/b"], &["public", "publica/b", "a/public/b"]),
        ("public/*", &["public/a"], &["public", "public/a/b"]),
        ("a/**/b", &["a/x/b", "a/x/y/b", "a/b/b", "a/b/x/b"], &["a/b", "a/x/c", "a/x/b/c"]),
        ("**/b", &["a/b", "a/a/b", "b/b"], &["b", "a/b/c"]),
        ("**/a/**", &["x/a/y", "x/a/a/y", "a/a/a"], &["a/y", "x/a", "x/y/z"]),
        ("a*", &["a", "ab", "a-b"], &["b", "ba", "a/b"]),
        ("app-*-x", &["app-1-x", "app-1-x-x"], &["app-x", "app-1-y", "app-1/x"]),
        ("*a*b*", &["ab", "xaxbx", "aabb"], &["ba", "a", "a/b"]),
        ("a/*/**/c", &["a/1/2/c", "a/1/2/3/c"], &["a/1/c", "a/c"]),
    ];
    let somebody = caller("alice", None, json!({}));
    for (pattern, yes, no) in table {
        for name in yes {
            assert!(matches(pattern, name, &somebody), "{pattern} {name}");
        }
        for name in no {
            assert!(!matches(pattern, name, &somebody), "{pattern} {name}");
        }
    }
}

#[test]
fn the_values_of_templates_are_matched_literally() {
    let alice = caller(
        "alice",
        None,
        json!({
            "project_path": "Group/App", "n": 42, "is": true, "list": ["a"], "star": "*",
            "k.io": { "ns": "Team-A", "pod": { "name": "x" }, "node": null, "dots": "../x" },
        }),
    );
    for (pattern, name, expected) in [
        ("users/${user}/**", "users/alice/app", true),
        ("users/${user}/**", "users/bob/app", false),
        ("users/${user}-*", "users/alice-x", true),
        ("${claims.project_path}", "group/app", true),
        ("${claims.project_path}/**", "group/app/image", true),
        ("${claims.project_path}/**", "group/app", false),
        ("${claims.project_path}/**", "group/app2/image", false),
        ("${claims.n}/**", "42/a", true),
        ("${claims.n}/**", "43/a", false),
        ("${claims.is}/**", "true/a", true),
        ("${claims.list}/**", "a/a", false),
        ("${claims./k.io/ns}/**", "team-a/a", true),
        ("${claims./k.io/ns}/**", "team-b/a", false),
        ("a/${claims./k.io/pod/name}", "a/x", true),
        ("${claims./k.io/pod}/**", "x/a", false),
        ("${claims./k.io/node}/**", "null/a", false),
        ("${claims./k.io/none}/**", "a/a", false),
        ("${claims./k.io/dots}/**", "x/a", false),
        ("${claims.k.io/ns}/**", "team-a/a", false),
        ("${claims.star}/**", "a/a", false),
        ("${claims.none}/**", "a/a", false),
        ("x${claims.none}", "x", false),
        ("${user}/${claims.project_path}", "alice/group/app", true),
    ] {
        assert_eq!(matches(pattern, name, &alice), expected, "{pattern} {name}");
    }
}

/// Two users of an issuer that distinguishes case never share a path. GitLab ignores case, so there
/// both spellings are one user.
#[test]
fn a_user_is_in_lower_case_where_the_provider_folds_case() {
    let of = |subject: &str, folds_case| {
        let mut caller = caller(subject, None, json!({}));
        let source = Source { folds_case, ..Source::clone(&caller.principal.source) };
        caller.principal.source = source.into();
        matches("users/${user}/**", "users/alice/app", &caller)
    };
    for (subject, folded, as_it_is) in [
        ("alice", true, true),
        ("Alice", true, false),
        ("ALICE", true, false),
        ("alicE", true, false),
        ("bob", false, false),
    ] {
        assert_eq!((of(subject, true), of(subject, false)), (folded, as_it_is), "{subject}");
    }
}

#[test]
fn a_caller_without_a_user_name_that_fits_a_path_matches_nothing() {
    for (subject, credential_type, expected) in [
        ("alice", None, true),
        ("alice", Some("personal_access_token"), true),
        ("alice", Some("build"), false),
        ("alice", Some("ci"), false),
        ("", None, false),
        ("a/lice", None, false),
        ("*", None, false),
        ("..", None, false),
        ("deploy_token:4", Some("deploy_token"), false),
    ] {
        let caller = caller(subject, credential_type, json!({}));
        let name = if expected { "u/alice/x" } else { "u/a/lice/x" };
        let found =
            matches("u/${user}/**", name, &caller) || matches("u/${user}/**", "u/alice/x", &caller);
        assert_eq!(found, expected, "{subject} {credential_type:?}");
    }
}

/// The config's warnings use these functions, also the warning about `catalog` without `**`.
#[test]
fn a_pattern_reports_whether_it_uses_the_user_or_claims() {
    for (pattern, user, claims, everything) in [
        ("a/**", false, false, false),
        ("**", false, false, true),
        ("*", false, false, false),
        ("${user}/**", true, false, false),
        ("**/${user}", true, false, false),
        ("${claims.project_path}", false, true, false),
        ("a/${user}/${claims.project_path}/**", true, true, false),
    ] {
        let read = RepositoryPattern::parse(pattern).unwrap();
        assert_eq!(
            (read.takes_user(), read.takes_claims(), read.is_everything()),
            (user, claims, everything),
            "{pattern}"
        );
    }
}

#[test]
fn patterns_that_no_name_can_match_are_refused() {
    for text in [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        "A",
        "a/B*",
        "a?",
        "[ab]",
        "{a,b}",
        "!a",
        "..",
        "a/../b",
        ".",
        "a**",
        "**a",
        "a/b**/c",
        "a b",
        "a:b",
        "-a",
        "a-",
        "a..b",
        "_*",
        "é",
        "***",
        "${",
        "${user",
        "${User}",
        "${}",
        "${claims.}",
        "${claims./~}",
        "${claims}",
        "a/${user}.",
        "${user}/",
    ] {
        let message = RepositoryPattern::parse(text).unwrap_err();
        assert!(message.contains("; "), "{text}: {message}: what would be right?");
    }
    assert!(RepositoryPattern::parse(&"a".repeat(256)).is_err());
    for text in ["", "**", "v?", "-v", ".*", "a/b", "é"] {
        assert!(TagPattern::parse(text).unwrap_err().contains("; "), "{text}");
    }
}

#[test]
fn tags() {
    for (pattern, tag, expected) in [
        ("*", "v1", true),
        ("v*", "v1", true),
        ("v*", "V1", false),
        ("Latest", "Latest", true),
        ("v*-rc", "v1-r", false),
    ] {
        let found = TagPattern::parse(pattern).unwrap().matches(&Tag::parse(tag).unwrap());
        assert_eq!(found, expected, "{pattern} {tag}");
    }
}

/// The documented meaning of a pattern, implemented by trying every position.
fn naive(pattern: &[&str], name: &[&str]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((&"**", after)), Some((_, rest))) => naive(after, rest) || naive(pattern, rest),
        (Some((wanted, after)), Some((segment, rest))) => {
            naive_segment(wanted, segment) && naive(after, rest)
        }
        _ => false,
    }
}

fn naive_segment(pattern: &str, text: &str) -> bool {
    match (pattern.split_at_checked(1), text.split_at_checked(1)) {
        (None, None) => true,
        (Some(("*", after)), Some((_, rest))) => {
            naive_segment(after, text) || naive_segment(pattern, rest)
        }
        (Some(("*", after)), None) => naive_segment(after, text),
        (Some((one, after)), Some((other, rest))) => one == other && naive_segment(after, rest),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 2000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn matching_agrees_with_the_documented_meaning(
        pattern in "(\\*\\*|[ab*]{1,4})(/(\\*\\*|[ab*]{1,4})){0,4}",
        name in "[ab]{1,4}(/[ab]{1,3}){0,5}",
    ) {
        let split = |text| str::split(text, '/').collect::<Vec<_>>();
        let mixed = |segment: &&str| *segment != "**" && segment.contains("**");
        prop_assume!(!split(&pattern).iter().any(mixed));
        prop_assert_eq!(path_matches(&pattern, &name), naive(&split(&pattern), &split(&name)));
    }
}
