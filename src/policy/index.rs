//! The index of the rules: the rules that may allow a need, found without a look at all of them.
//!
//! The index only leaves out rules that cannot match, because the repository begins with another
//! text or because their `who` has no entry for the caller. [`Rule::allows`] decides about the
//! others, as it does without an index.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::rule::Rule;
use super::who::CallerKind;
use crate::identity::Verified;

/// The number of rules up to which a group has no index of the callers. A look at that many rules
/// takes as long as the search for a caller.
const FEW: usize = 8;

/// The rules, by the text that the names of their repositories begin with, and by their callers.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleIndex {
    /// The groups in the order of their prefixes.
    groups: Box<[Group]>,
}

/// The rules with a pattern whose text up to the first wildcard or template is `prefix`.
#[derive(Clone, Debug)]
struct Group {
    prefix: Box<str>,
    /// The place of the group with the longest other prefix that this prefix begins with.
    parent: Option<usize>,
    /// The numbers of the rules, in order.
    rules: Box<[usize]>,
    /// The rules of each kind of callers, in the order of the hashes; empty if the rules are few.
    by_caller: Box<[OfCallers]>,
}

/// The rules for one kind of callers.
#[derive(Clone, Debug)]
struct OfCallers {
    /// The hash of the kind. Two kinds with one hash share an entry.
    hash: u64,
    rules: Box<[usize]>,
}

impl RuleIndex {
    /// Creates the index of those of these rules that `has` accepts. The rules are known by their
    /// places.
    pub(super) fn new(rules: &[Rule], has: impl Fn(&Rule) -> bool) -> Self {
        let mut by_prefix: BTreeMap<&str, Vec<(usize, &Rule)>> = BTreeMap::new();
        for (number, rule) in rules.iter().enumerate().filter(|(_, rule)| has(rule)) {
            for pattern in &rule.repositories {
                let group = by_prefix.entry(pattern.literal_prefix()).or_default();
                if group.last().is_none_or(|(last, _)| *last != number) {
                    group.push((number, rule));
                }
            }
        }
        let mut groups: Vec<Group> = Vec::with_capacity(by_prefix.len());
        for (prefix, rules) in by_prefix {
            // The prefixes that this one begins with are those of the last group and its parents.
            let last = groups.len().checked_sub(1);
            let parent = chain(&groups, last).find(|(_, group)| prefix.starts_with(&*group.prefix));
            let parent = parent.map(|(place, _)| place);
            groups.push(Group {
                prefix: prefix.into(),
                parent,
                by_caller: by_caller(&rules),
                rules: rules.into_iter().map(|(number, _)| number).collect(),
            });
        }
        Self { groups: groups.into() }
    }

    /// Returns the first rule that `allows` accepts, of all rules that may be for this repository
    /// and this caller.
    pub(super) fn first(
        &self,
        repository: &str,
        caller: &Verified,
        allows: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut first: Option<usize> = None;
        let mut look_at = |rules: &[usize]| {
            let earlier =
                rules.iter().copied().take_while(|rule| first.is_none_or(|first| *rule < first));
            first = earlier.clone().find(|rule| allows(*rule)).or(first);
        };
        for group in self.groups_of(repository) {
            if group.by_caller.is_empty() {
                look_at(&group.rules);
                continue;
            }
            for kind in CallerKind::of(caller) {
                look_at(group.of(&kind));
            }
        }
        first
    }

    /// Returns whether the index has no rule.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Returns all rules that may be for this repository and any caller. A rule may be
    /// there twice.
    pub(super) fn each(&self, repository: &str) -> impl Iterator<Item = usize> {
        self.groups_of(repository).flat_map(|group| group.rules.iter().copied())
    }

    /// Returns the groups whose prefix this name begins with.
    fn groups_of(&self, repository: &str) -> impl Iterator<Item = &Group> {
        // A text between a prefix of the name and the name begins with that prefix too. Every
        // prefix of the name is therefore that of the last group before the name, or of one of its
        // parents.
        let after = self.groups.partition_point(|group| *group.prefix <= *repository);
        let groups = chain(&self.groups, after.checked_sub(1)).map(|(_, group)| group);
        groups.filter(move |group| repository.starts_with(&*group.prefix))
    }
}

impl Group {
    /// Returns the rules for callers of this kind.
    fn of(&self, kind: &CallerKind<'_>) -> &[usize] {
        let hash = hash(kind);
        let found = self.by_caller.binary_search_by_key(&hash, |of_callers| of_callers.hash);
        let found = found.ok().and_then(|place| self.by_caller.get(place));
        found.map_or(&[], |of_callers| &of_callers.rules)
    }
}

/// Returns a group, its parent, the parent of that one, and so on, with their places.
fn chain(groups: &[Group], place: Option<usize>) -> impl Iterator<Item = (usize, &Group)> {
    let at = |place: usize| groups.get(place).map(|group| (place, group));
    std::iter::successors(place.and_then(at), move |(_, group)| group.parent.and_then(at))
}

/// Returns the rules of each kind of callers; nothing if the rules are few.
fn by_caller(rules: &[(usize, &Rule)]) -> Box<[OfCallers]> {
    if rules.len() <= FEW {
        return Box::default();
    }
    let mut by_hash: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (number, rule) in rules {
        for who in &rule.who {
            let of_callers = by_hash.entry(hash(&who.kind())).or_default();
            if of_callers.last() != Some(number) {
                of_callers.push(*number);
            }
        }
    }
    by_hash.into_iter().map(|(hash, rules)| OfCallers { hash, rules: rules.into() }).collect()
}

fn hash(kind: &CallerKind<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    kind.hash(&mut hasher);
    hasher.finish()
}
