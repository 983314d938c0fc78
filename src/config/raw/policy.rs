//! `policy`: rules that narrow what credentials allow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::format::RuleName;

/// Rules that narrow what credentials allow. Without any, whatever a credential has.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Policy {
    /// enforce, or shadow: what the rules deny goes on where the credential allows it, and is
    /// logged. Never set by the environment.
    pub(in crate::config) mode: PolicyMode,
    /// Where there is one, what no rule allows is denied. Their order does not matter.
    // An entry is `None` where it is no section, so that the others keep their place in the list.
    #[schemars(with = "Vec<Rule>")]
    pub(in crate::config) rules: Vec<Option<Rule>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum PolicyMode {
    #[default]
    Enforce,
    Shadow,
}

/// What is allowed to whom, and where.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Rule {
    /// What it is called where a decision is explained; unique.
    #[schemars(required)]
    pub(in crate::config) name: Option<RuleName>,
    /// The repositories: * stands for anything within a segment, ** for one segment or more,
    /// ${user} and ${claims.NAME} for the caller's.
    #[schemars(required, length(min = 1), extend("items" = { "type": "string", "minLength": 1, "examples": ["group/**"] }))]
    pub(in crate::config) repositories: Option<Vec<String>>,
    /// Binds writes and deletes that name a tag; null: whatever the tag, and deletes by digest.
    #[schemars(length(min = 1), extend("items" = { "type": "string", "minLength": 1, "examples": ["v*"] }))]
    pub(in crate::config) tags: Option<Vec<String>>,
    /// Tags taken out of those.
    #[schemars(extend("items" = { "type": "string", "minLength": 1, "examples": ["v*"] }))]
    pub(in crate::config) except_tags: Vec<String>,
    /// Whom it is for, any of: anonymous, authenticated, user:PROVIDER/NAME, group:PROVIDER/NAME,
    /// provider:NAME, credential:TYPE.
    #[schemars(required, length(min = 1), extend("items" = { "type": "string", "minLength": 1, "examples": ["authenticated"] }))]
    pub(in crate::config) who: Option<Vec<String>>,
    /// What it allows: pull, push, delete, catalog. A push takes pull too.
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
