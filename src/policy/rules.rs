//! All rules together: what none of them allows is denied.

use std::sync::Arc;

use super::rule::{Mismatch, Need, Rule, Target};
use crate::denial::RuleRefusal;
use crate::identity::Verified;
use crate::registry::{Action, RepositoryName};

/// The section `policy` of the config. Without a rule it says nothing about anything.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub mode: Mode,
    /// Their order does not matter.
    pub rules: Vec<Rule>,
    /// The registry takes nothing but tokens that a provider issued, so what a rule gives to
    /// callers without a credential must be granted by the provider too.
    pub grant_needed: bool,
}

/// What happens to what the rules deny.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    #[default]
    Enforce,
    /// It goes on where the credential allows it, and is logged. Callers without a credential are
    /// refused.
    Shadow,
}

/// What the rules say of a request that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// There are none, or none was asked.
    Unruled,
    /// This one allows it; where several do together, it allows what was asked last.
    AllowedBy(Arc<str>),
    /// They deny it, in shadow mode.
    ShadowDenied(RuleRefusal),
}

/// What each rule says of one thing that a request needs.
#[derive(Debug)]
pub struct Explained<'a> {
    pub need: Need<'a>,
    /// Each rule by its name, in the order of the config. One that allows suffices.
    pub rules: Vec<(&'a str, Result<(), Mismatch>)>,
}

impl Rules {
    /// Whether they alone say what callers without a credential may pull.
    pub fn decide_for_nobody(&self) -> bool {
        !self.rules.is_empty() && !self.grant_needed
    }

    /// Whether this caller may list all repositories. Those who show nothing never may.
    pub(super) fn allow_catalog(&self, caller: &Verified) -> bool {
        !caller.principal.is_anonymous()
            && self.rules.iter().any(|rule| rule.catalog && rule.is_for(caller))
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a rule gives this caller pull, whatever the mode.
    pub(super) fn allow_pull(&self, repository: &RepositoryName, caller: &Verified) -> bool {
        Need::of_action(repository, Action::Pull)
            .all(|need| self.that_allows(&need, caller).is_some())
    }

    /// Whether all of this is allowed, be it by several rules.
    ///
    /// # Errors
    /// The first thing that no rule allows.
    pub(super) fn judge<'a>(
        &self,
        needs: impl Iterator<Item = Need<'a>>,
        caller: &Verified,
    ) -> Result<Ruling, RuleRefusal> {
        let mut ruling = Ruling::Unruled;
        if self.rules.is_empty() {
            return Ok(ruling);
        }
        for need in needs {
            ruling = match self.that_allows(&need, caller) {
                Some(rule) => Ruling::AllowedBy(rule.name.clone()),
                None if self.mode == Mode::Shadow && !caller.principal.is_anonymous() => {
                    return Ok(Ruling::ShadowDenied(self.refusal(&need, caller)));
                }
                None => return Err(self.refusal(&need, caller)),
            };
        }
        Ok(ruling)
    }

    /// What each rule says, by the same comparison that decides.
    pub(super) fn explain<'a>(
        &'a self,
        needs: impl Iterator<Item = Need<'a>>,
        caller: &Verified,
    ) -> Vec<Explained<'a>> {
        let of_each = |need: &Need<'_>| {
            self.rules.iter().map(|rule| (&*rule.name, rule.allows(need, caller))).collect()
        };
        needs.map(|need| Explained { need, rules: of_each(&need) }).collect()
    }

    fn that_allows(&self, need: &Need<'_>, caller: &Verified) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.allows(need, caller).is_ok())
    }

    /// What to tell: whether it is the tag alone that keeps the caller from it.
    fn refusal(&self, need: &Need<'_>, caller: &Verified) -> RuleRefusal {
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
