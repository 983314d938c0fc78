//! Large configs: what must load, and how fast.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::{MINIMAL, load, ready};

/// Returns a config with this many rules, each with `repositories` patterns and several callers.
fn with_rules(rules: usize, repositories: usize) -> String {
    let mut text = format!("{MINIMAL}policy:\n  rules:\n");
    for rule in 0..rules {
        writeln!(text, "    - name: team-{rule}\n      repositories:").expect("memory");
        for repository in 0..repositories {
            writeln!(text, "        - team-{rule}/project-{repository}/**").expect("memory");
        }
        writeln!(
            text,
            "      who: [\"user:gitlab/user-{rule}\", \"provider:gitlab\"]\n      \
             tags: [\"v*\", latest]\n      except_tags: [\"v0*\"]\n      \
             allow: [pull, push, delete]"
        )
        .expect("memory");
    }
    text
}

/// The longest time for a check. It is far above what a check takes on a busy machine, and far
/// below what comparing all values with each other would take.
const MOST: Duration = Duration::from_secs(120);

#[test]
fn ten_thousand_rules_load_quickly() {
    let text = with_rules(10_000, 2);
    let begun = Instant::now();
    assert_eq!(ready(&text).policy.rules.len(), 10_000);
    let took = begun.elapsed();
    assert!(took < MOST, "{took:?}");
}

#[test]
fn rules_that_repeat_lists_by_aliases_load() {
    let mut text = format!("{MINIMAL}policy:\n  rules:\n    - {{ name: first, ");
    text.push_str(
        "repositories: &r [a/**, b/**, c/**], who: &w [authenticated], allow: &a [pull] }\n",
    );
    for rule in 0..10_000 {
        writeln!(text, "    - {{ name: n{rule}, repositories: *r, who: *w, allow: *a }}")
            .expect("memory");
    }
    assert_eq!(ready(&text).policy.rules.len(), 10_001);
}

#[test]
fn ten_thousand_wrong_rules_are_reported_quickly() {
    let text = with_rules(10_000, 1).replace("allow: [pull, push, delete]", "alow: [pull]");
    let begun = Instant::now();
    let problems = load(&text, &[]).expect_err("wrong");
    assert_eq!(problems.lines().count(), 20_000);
    let took = begun.elapsed();
    assert!(took < MOST, "{took:?}");
}
