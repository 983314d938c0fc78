//! All rules together. A need that no rule allows is denied.

use super::caller::Caller;
use super::index::RuleIndex;
use super::pattern::RepositoryPattern;
use super::rule::{Mismatch, Need, Rule, Target};
use crate::denial::RuleRefusal;
use crate::registry::{Action, RepositoryName};

/// The section `policy` of the config. Without a rule the section decides nothing.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub mode: Mode,
    /// The rules. Their order does not matter.
    pub rules: Vec<Rule>,
    /// `true` if the upstream accepts only tokens that a provider issued. A provider must then
    /// also grant what a rule allows to callers without a credential.
    pub grant_needed: bool,
    /// `true` if every write and delete is refused, in both modes and even if a rule allows it.
    pub read_only: bool,
}

impl Rules {
    /// Returns whether the rules alone define what callers without a credential may pull.
    pub fn decide_for_anonymous(&self) -> bool {
        !self.rules.is_empty() && !self.grant_needed
    }
}

/// The rules and their indexes.
#[derive(Clone, Debug, Default)]
pub(super) struct IndexedRules {
    rules: Rules,
    index: RuleIndex,
    /// The rules that make tags immutable.
    immutable: RuleIndex,
    /// `true` if a rule is only for some addresses.
    looks_at_addresses: bool,
}

impl From<Rules> for IndexedRules {
    fn from(rules: Rules) -> Self {
        let index = RuleIndex::new(&rules.rules, |_| true);
        let immutable = RuleIndex::new(&rules.rules, |rule| rule.immutable);
        let looks_at_addresses = rules.rules.iter().any(|rule| !rule.from.is_empty());
        Self { rules, index, immutable, looks_at_addresses }
    }
}

/// The treatment of a request that the rules deny.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The request is refused.
    #[default]
    Enforce,
    /// The request goes on if the credential allows it, and the denial is logged. Callers without a
    /// credential are refused.
    Shadow,
}

/// The statement of the rules about a request that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// No rule exists, or the request needs nothing that rules decide about.
    Unruled,
    /// A rule allows the request. If several rules are needed together, this is the rule that
    /// allows the last need.
    AllowedBy(RuleNumber),
    /// The rules deny the request, and the mode is shadow.
    ShadowDenied(RuleRefusal),
}

/// The place of a rule in the config. Its name is not part of a ruling, because all workers would
/// write the count of the owners of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleNumber(usize);

/// The result of each rule for one need of a request.
#[derive(Debug)]
pub struct Explained<'a> {
    pub need: Need<'a>,
    /// The name of each rule and its result, in the order of the config. One rule that allows the
    /// need suffices.
    pub rules: Vec<(&'a str, Result<(), Mismatch>)>,
}

/// The effect of one rule on the list of all repositories, as one caller sees it.
#[derive(Debug)]
pub enum CatalogEffect<'a> {
    /// The rule allows the whole list (`catalog`).
    Everything,
    /// The rule lets the caller pull from the repositories that match one of these patterns, so
    /// they are listed.
    Listed(&'a [RepositoryPattern]),
    /// The rule adds nothing to the list.
    Nothing(Mismatch),
}

impl IndexedRules {
    /// Returns whether the rules alone define what callers without a credential may pull.
    pub(super) fn decide_for_anonymous(&self) -> bool {
        self.rules.decide_for_anonymous()
    }

    /// Returns whether writes and deletes are refused.
    pub(super) fn are_read_only(&self) -> bool {
        self.rules.read_only
    }

    /// Returns whether a rule is only for some addresses.
    pub(super) fn look_at_addresses(&self) -> bool {
        self.looks_at_addresses
    }

    /// Returns the mode.
    pub(super) fn mode(&self) -> Mode {
        self.rules.mode
    }

    /// Returns whether a rule makes tags immutable.
    pub(super) fn have_immutable(&self) -> bool {
        !self.immutable.is_empty()
    }

    /// Returns the rules that make tags of this repository immutable.
    pub(super) fn immutable_in(&self, name: &RepositoryName) -> impl Iterator<Item = &Rule> {
        let rules = self.immutable.each(name.as_str());
        let rules = rules.filter_map(|number| self.rules.rules.get(number));
        rules.filter(|rule| rule.repositories.iter().any(|it| it.matches_for_every_caller(name)))
    }

    /// Returns whether this caller may list all repositories. Callers without a credential never
    /// may.
    pub(super) fn allow_catalog(&self, caller: Caller<'_>) -> bool {
        let allows = |rule: &Rule| rule.catalog && rule.check_caller(caller).is_ok();
        !caller.verified.principal.is_anonymous() && self.rules.rules.iter().any(allows)
    }

    /// Returns whether the list of rules is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.rules.is_empty()
    }

    /// Returns whether a rule lets this caller pull, independent of the mode.
    pub(super) fn allow_pull(&self, repository: &RepositoryName, caller: Caller<'_>) -> bool {
        Need::of_action(repository, Action::Pull)
            .all(|need| self.that_allows(&need, caller).is_some())
    }

    /// Decides whether all needs are allowed; different rules may allow different needs.
    ///
    /// # Errors
    /// The first need that no rule allows.
    pub(super) fn judge<'a>(
        &self,
        needs: impl Iterator<Item = Need<'a>>,
        caller: Caller<'_>,
    ) -> Result<Ruling, RuleRefusal> {
        let mut ruling = Ruling::Unruled;
        if self.rules.rules.is_empty() {
            return Ok(ruling);
        }
        for need in needs {
            ruling = match self.that_allows(&need, caller) {
                Some(rule) => Ruling::AllowedBy(RuleNumber(rule)),
                None if self.rules.mode == Mode::Shadow
                    && !caller.verified.principal.is_anonymous() =>
                {
                    return Ok(Ruling::ShadowDenied(self.refusal(&need, caller)));
                }
                None => return Err(self.refusal(&need, caller)),
            };
        }
        Ok(ruling)
    }

    /// Returns the result of each rule for each need, by the comparison that also decides.
    pub(super) fn explain<'a>(
        &'a self,
        needs: impl Iterator<Item = Need<'a>>,
        caller: Caller<'_>,
    ) -> Vec<Explained<'a>> {
        let of_each = |need: &Need<'_>| {
            self.rules.rules.iter().map(|rule| (&*rule.name, rule.allows(need, caller))).collect()
        };
        needs.map(|need| Explained { need, rules: of_each(&need) }).collect()
    }

    /// Returns the effect of each rule on the list of all repositories.
    pub(super) fn explain_catalog(&self, caller: Caller<'_>) -> Vec<(&str, CatalogEffect<'_>)> {
        fn effect<'a>(rule: &'a Rule, caller: Caller<'_>) -> CatalogEffect<'a> {
            if let Err(why) = rule.check_caller(caller) {
                CatalogEffect::Nothing(why)
            } else if rule.catalog {
                CatalogEffect::Everything
            } else if rule.allow.lists(Action::Pull) {
                CatalogEffect::Listed(&rule.repositories)
            } else {
                CatalogEffect::Nothing(Mismatch::Action)
            }
        }
        self.rules.rules.iter().map(|rule| (&*rule.name, effect(rule, caller))).collect()
    }

    /// Returns the name of a rule.
    pub(super) fn name(&self, RuleNumber(rule): RuleNumber) -> &str {
        self.rules.rules.get(rule).map_or("", |rule| &rule.name)
    }

    /// Returns the first rule in the order of the config that allows a need.
    fn that_allows(&self, need: &Need<'_>, caller: Caller<'_>) -> Option<usize> {
        let rules = &self.rules.rules;
        let allows =
            |number| rules.get(number).is_some_and(|rule: &Rule| rule.allows(need, caller).is_ok());
        self.index.first(need.repository.as_str(), caller.verified, allows)
    }

    /// Returns the refusal of a need. The refusal tells whether only the tag prevents the request.
    fn refusal(&self, need: &Need<'_>, caller: Caller<'_>) -> RuleRefusal {
        let untagged = Need { target: Target::Untagged, ..*need };
        match need.target {
            Target::Tag(tag) if self.that_allows(&untagged, caller).is_some() => {
                RuleRefusal::Tag(tag.clone(), need.action)
            }
            Target::Digest if self.that_allows(&untagged, caller).is_some() => {
                RuleRefusal::DeleteByDigest
            }
            _ => RuleRefusal::Action(need.action),
        }
    }
}
