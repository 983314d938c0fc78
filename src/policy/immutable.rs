//! The tags that rules make immutable. An immutable tag may be made, and neither moved nor deleted.
//! Such a rule holds for every caller and for what any other rule allows.

use super::rule::{Rule, Target, targets};
use super::rules::IndexedRules;
use super::tag_pattern::is_signature;
use crate::denial::RuleRefusal;
use crate::registry::{Action, RegistryRequest, Tag};

/// A tag that must not exist in the upstream for a request to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImmutableTag {
    pub(super) tag: Tag,
    pub(super) by: ImmutableBy,
}

/// The rules by which a tag is immutable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ImmutableBy {
    /// The tag rules of the project.
    Project,
    /// A rule of the config.
    Rule,
    /// A rule of the config in shadow mode: the request goes on in any case, and is logged if the
    /// tag exists.
    ShadowRule,
}

impl IndexedRules {
    /// Checks a request against the immutable rules. Returns the tags that the request may write
    /// only if they do not exist in the upstream yet. They are usually none.
    ///
    /// # Errors
    /// [`RuleRefusal::Immutable`] and [`RuleRefusal::ImmutableDigest`] if a rule forbids the
    /// request, independent of what the upstream has.
    pub(super) fn check_immutable(
        &self,
        request: &RegistryRequest,
    ) -> Result<Vec<Tag>, RuleRefusal> {
        let mut must_not_exist = Vec::new();
        if !self.have_immutable() {
            return Ok(must_not_exist);
        }
        for (_, target) in self.immutable(request) {
            match (target, request) {
                (Target::Tag(tag), RegistryRequest::ManifestDelete { .. }) => {
                    return Err(RuleRefusal::Immutable(tag.clone(), Action::Delete));
                }
                (Target::Tag(tag), _) if must_not_exist.contains(tag) => {}
                (Target::Tag(tag), _) => must_not_exist.push(tag.clone()),
                (Target::Digest, _) => return Err(RuleRefusal::ImmutableDigest),
                (Target::Untagged, _) => {}
            }
        }
        Ok(must_not_exist)
    }

    /// Returns the immutable tags that a request would write or delete, and the digest that it
    /// would delete, each with a rule that makes it immutable.
    pub(super) fn immutable<'a>(
        &'a self,
        request: &'a RegistryRequest,
    ) -> impl Iterator<Item = (&'a Rule, Target<'a>)> {
        let of = move |target: Target<'a>| {
            let name = match target {
                Target::Untagged => None,
                Target::Tag(_) | Target::Digest => request.repository(),
            };
            let rules = name.into_iter().flat_map(|name| self.immutable_in(name));
            rules.filter(move |rule| rule.makes_immutable(&target)).map(move |rule| (rule, target))
        };
        targets(request).flat_map(of)
    }
}

impl Rule {
    /// Returns whether a target in one of the rule's repositories is immutable. A digest may have
    /// any tag, so the rule forbids every delete by digest, even if it is limited to tags.
    fn makes_immutable(&self, target: &Target<'_>) -> bool {
        match target {
            Target::Tag(tag) => {
                !is_signature(tag.as_str())
                    && self.tags.as_ref().is_none_or(|choice| choice.restricts(tag))
            }
            Target::Digest => true,
            Target::Untagged => false,
        }
    }
}
