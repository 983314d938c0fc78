//! `explain --as`: the caller that the arguments describe.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Map, Value};

use crate::config::Provider;
use crate::gate::AssumedCaller;
use crate::identity::model::ClaimPath;
use crate::identity::{Attributes, Principal, Source};

#[derive(Args)]
pub(super) struct AssumedArguments {
    /// Show what the rules say of this caller, without its credential: the name of a provider in
    /// the config, and the user name or subject that it reports, such as gitlab/alice. No server
    /// is asked, and standard input is not read
    #[arg(long = "as", value_name = "PROVIDER/SUBJECT", conflicts_with = "user")]
    caller: Option<String>,
    /// A group of the caller of --as, as its provider reports it; repeat it for several groups
    #[arg(long = "group", value_name = "GROUP", requires = "caller")]
    groups: Vec<String>,
    /// A claim of the caller of --as, for ${claims.NAME} in a rule; repeat it for several claims.
    /// NAME may be a JSON pointer, such as /kubernetes.io/namespace=team-a
    #[arg(long = "claim", value_name = "NAME=VALUE", requires = "caller")]
    claims: Vec<String>,
}

impl AssumedArguments {
    /// Returns the caller that the arguments describe, given the providers of the config; `None`
    /// without `--as`.
    ///
    /// # Errors
    /// If no caller of the provider can be like that.
    pub(super) fn caller(&self, providers: &[Provider]) -> anyhow::Result<Option<AssumedCaller>> {
        let Some(caller) = &self.caller else { return Ok(None) };
        let (name, subject) = caller.split_once('/').unwrap_or((caller, ""));
        anyhow::ensure!(
            !name.is_empty() && !subject.is_empty(),
            "--as takes the name of a provider and a subject, with a slash between them; write it \
             like --as {}/alice",
            providers.first().map_or("gitlab", |provider| provider.name.as_str())
        );
        let names = || providers.iter().map(|it| &*it.name).collect::<Vec<_>>().join(", ");
        let Provider { settings, .. } =
            providers.iter().find(|it| it.name == name).with_context(|| {
                format!("--as: `{name}` is not a provider in identity; write one of {}", names())
            })?;
        anyhow::ensure!(
            self.groups.is_empty() || settings.reports_groups(),
            "--group: callers of `{name}` have no groups; only a provider of type jwt or \
             introspection with groups_claim reports groups"
        );
        anyhow::ensure!(
            self.claims.is_empty() || settings.reports_claims(),
            "--claim: callers of `{name}` have no claims; only a provider of type jwt reports \
             claims"
        );
        let (groups, claims) = (self.groups.clone(), self.claims()?);
        let attributes = Attributes { groups, claims, session_ends: None };
        let source = Source {
            provider: name.into(),
            credential_type: None,
            folds_case: settings.folds_case(),
        };
        Ok(Some(AssumedCaller {
            principal: Principal { source: Arc::new(source), subject: subject.into() },
            attributes: (attributes != Attributes::default()).then(|| Box::new(attributes)),
        }))
    }

    /// Returns the claims. Their values are texts, because rules compare a number or a boolean as
    /// the text that JSON writes for it.
    fn claims(&self) -> anyhow::Result<Map<String, Value>> {
        let mut claims = Map::new();
        for claim in &self.claims {
            let (name, value) =
                claim.split_once('=').filter(|(name, _)| !name.is_empty()).context(
                    "--claim takes NAME=VALUE, such as project_path=group/app or \
                 /kubernetes.io/namespace=team-a",
                )?;
            let path: ClaimPath =
                name.parse().map_err(|error| anyhow::anyhow!("--claim {name}: {error}"))?;
            anyhow::ensure!(
                path.find(&claims).is_none(),
                "--claim {name} is there twice, or another claim is within it; pass it once"
            );
            let is_set = set(&mut claims, &path, value);
            anyhow::ensure!(
                is_set,
                "--claim {name} is within another claim that is a text; pass one of the two"
            );
        }
        Ok(claims)
    }
}

/// Sets the claim at a path, and creates the objects that lead to it. Returns `false` if a value
/// that is not an object is in the way.
fn set(claims: &mut Map<String, Value>, path: &ClaimPath, text: &str) -> bool {
    let mut members = path.members().peekable();
    let mut object = claims;
    while let Some(member) = members.next() {
        if members.peek().is_none() {
            object.insert(member.to_owned(), text.into());
            return true;
        }
        let within = object.entry(member).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(within) = within else { return false };
        object = within;
    }
    false
}
