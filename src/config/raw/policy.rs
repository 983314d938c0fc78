//! `policy`: rules that narrow what credentials allow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::format::RuleName;

/// The rules that narrow what credentials allow. Without rules, callers may do all that their
/// credentials allow.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct PolicySection {
    /// The mode of the rules: enforce or shadow. In shadow mode, a request that the rules deny but
    /// the credential allows is let through and logged. The environment cannot set this key.
    pub(in crate::config) mode: PolicyMode,
    /// The rules, in any order. If there is at least one, a request that no rule allows is denied.
    // An entry is `None` if it is not a section, so that the other entries keep their index.
    #[schemars(with = "Vec<RuleSection>")]
    pub(in crate::config) rules: Vec<Option<RuleSection>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum PolicyMode {
    #[default]
    Enforce,
    Shadow,
}

/// A rule, which allows actions to some callers in some repositories.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RuleSection {
    /// The name of the rule in explanations of decisions; unique.
    #[schemars(required)]
    pub(in crate::config) name: Option<RuleName>,
    /// The repositories that the rule is for. * stands for any text within a segment, ** for one
    /// or more segments, ${user} and ${claims.NAME} for the caller's own values. NAME may be a
    /// JSON pointer.
    #[schemars(
        required,
        length(min = 1),
        extend("items" = { "type": "string", "minLength": 1, "examples": ["group/**"] })
    )]
    pub(in crate::config) repositories: Option<Vec<String>>,
    /// The tags that writes and deletes may name; deletes by digest are then not allowed. Null:
    /// any tag, and deletes by digest.
    #[schemars(
        length(min = 1),
        extend("items" = { "type": "string", "minLength": 1, "examples": ["v*"] })
    )]
    pub(in crate::config) tags: Option<Vec<String>>,
    /// The tags that are excluded from tags.
    #[schemars(extend("items" = { "type": "string", "minLength": 1, "examples": ["v*"] }))]
    pub(in crate::config) except_tags: Vec<String>,
    /// The callers that the rule is for. One of the entries must match: anonymous, authenticated,
    /// user:PROVIDER/NAME, group:PROVIDER/NAME, provider:NAME, credential:TYPE.
    #[schemars(
        required,
        length(min = 1),
        extend("items" = { "type": "string", "minLength": 1, "examples": ["authenticated"] })
    )]
    pub(in crate::config) who: Option<Vec<String>>,
    /// The actions that the rule allows: pull, push, delete, catalog. A push needs pull too.
    #[schemars(required, length(min = 1))]
    pub(in crate::config) allow: Option<Vec<RuleAction>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RuleAction {
    Pull,
    Push,
    Delete,
    Catalog,
}
