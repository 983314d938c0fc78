//! The text form of an explanation: short lines, each with a label in front. It performs no I/O.

mod providers;

use std::fmt::{Display, Write};

use http::request::Parts;
use serde_json::{Map, Value};

use crate::denial::Denial;
use crate::gate::{ExplainedAnswer, Explanation};
use crate::identity::model::ClaimPath;
use crate::identity::model::tag_rules::{ProjectRules, TagRules};
use crate::identity::{Granted, RepositoryGrant, Verified};
use crate::policy::{CatalogEffect, Explained, Need, Ruling, Target};
use crate::registry::{Access, Action, Actions, RepositoryName};
use crate::terminal::printable;
use crate::token_service::gate_token::RefusedAccess;

/// Returns the text of an explanation, which ends with the answer. `shares_keys` is `true` if the
/// config names the keys with which the running gate seals its tokens.
pub(super) fn explanation(
    head: &Parts,
    explanation: &Explanation<'_>,
    shares_keys: bool,
) -> String {
    let mut lines = ExplainedLines::default();
    lines.add("request", format_args!("{} {}", head.method, head.uri));
    if let Some(request) = &explanation.request {
        lines.add("operation", request.operation().as_str());
        lines.several("needs", needs(&request.required()));
    }
    if explanation.assumed {
        lines.add("credential", "not asked for, because the caller is assumed (--as)");
    } else {
        lines.add("credential", explanation.credential_kind.as_str());
    }
    lines.add("provider", providers::decided(explanation));
    if !explanation.assumed {
        lines.several("providers", providers::each(explanation));
    }
    if let Some(caller) = &explanation.caller {
        lines.caller(caller);
        if explanation.assumed {
            lines.add("has", "every right: what the credential itself allows is not checked");
        } else {
            lines.rights(caller);
        }
    }
    for explained in explanation.rules() {
        lines.rules(&explained);
    }
    if let Some(effects) = explanation.catalog() {
        lines.catalog(&effects);
    }
    lines.answer(explanation);
    if let (ExplainedAnswer::Refused { denial: Denial::InvalidToken, .. }, false) =
        (&explanation.answer, shares_keys)
    {
        lines.add(
            "note",
            "without tokens.key_file, only the process that issued a gate token can open it; pass \
             the credential instead",
        );
    }
    lines.0
}

/// Returns the text for a request that the HTTP library refuses, with the library's own message.
pub(super) fn unreadable(method: &str, path: &str, why: &str) -> String {
    let mut lines = ExplainedLines::default();
    lines.add("request", format_args!("{method} {path}"));
    lines.add("answer", "400, because it is not a valid HTTP request");
    lines.add("", why);
    lines.0
}

/// Lines with an aligned second column. Values are escaped, so they cannot move the cursor of the
/// terminal.
#[derive(Default)]
struct ExplainedLines(String);

impl ExplainedLines {
    fn add(&mut self, label: &str, value: impl Display) {
        let value = value.to_string();
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{label:<12} {}", printable(&value));
    }

    /// Adds a line for each value. The first line has the label.
    fn several(&mut self, label: &str, values: impl IntoIterator<Item = String>) {
        for (number, value) in values.into_iter().enumerate() {
            self.add(if number == 0 { label } else { "" }, value);
        }
    }

    fn caller(&mut self, caller: &Verified) {
        if caller.principal.is_anonymous() {
            self.add("subject", "anonymous: no credential");
        } else {
            self.add("subject", &caller.principal.subject);
        }
        if let Some(credential_type) = &caller.principal.source.credential_type {
            self.add("type", credential_type);
        }
        if let Some(attributes) = &caller.attributes {
            self.several("groups", attributes.groups.iter().cloned());
            let mut claims = Vec::new();
            add_claims(&attributes.claims, &[], &mut claims);
            self.several("claims", claims);
        }
    }

    /// Adds what the credential of a caller allows by itself.
    fn rights(&mut self, caller: &Verified) {
        match &caller.granted {
            Granted::Scopes(scopes) if scopes.is_empty() => self.add("has", "no scopes"),
            Granted::Scopes(scopes) => self.add(
                "has",
                format_args!("the scopes {}", scopes.iter().collect::<Vec<_>>().join(", ")),
            ),
            Granted::Identity => {
                self.add("has", "a valid credential; the provider was not asked about a repository")
            }
            Granted::Nothing => self.add("has", "nothing"),
            granted => self.several(
                "has",
                granted.repositories().iter().map(|it| on(it.actions, &it.repository)),
            ),
        }
        for RepositoryGrant { tags, .. } in caller.granted.repositories() {
            let TagRules::Of(rules) = tags else { continue };
            match &**rules {
                ProjectRules::Unreadable => self.add(
                    "tags",
                    "the gate does not understand the project's tag rules, so it refuses every \
                     push and delete",
                ),
                ProjectRules::Patterns(patterns) => {
                    let listed =
                        patterns.lists().into_iter().filter(|(_, patterns)| !patterns.is_empty());
                    self.several(
                        "tags",
                        listed.map(|(what, patterns)| format!("{what}: {}", patterns.join(", "))),
                    );
                }
            }
        }
    }

    fn rules(&mut self, explained: &Explained<'_>) {
        let Need { repository, action, target } = &explained.need;
        let of = match target {
            Target::Tag(tag) => format!(", tag {}", tag.as_str()),
            Target::Digest => ", by digest".to_owned(),
            Target::Untagged => String::new(),
        };
        self.add("rules", format_args!("for {} on {repository}{of}:", action.as_str()));
        if explained.rules.is_empty() {
            self.add("", "none in the config; only the rights of the credential decide");
        }
        for (name, outcome) in &explained.rules {
            match outcome {
                Ok(()) => self.add("  allows", name),
                Err(why) => self.add("  does not", format_args!("{name}: {why}")),
            }
        }
    }

    /// Adds what each rule does to the list of all repositories.
    fn catalog(&mut self, effects: &[(&str, CatalogEffect<'_>)]) {
        self.add("rules", "for the list of all repositories:");
        if effects.is_empty() {
            self.add("", "none in the config; the list is not filtered");
        }
        for (name, effect) in effects {
            match effect {
                CatalogEffect::Everything => {
                    self.add("  lists", format_args!("{name}: every repository (`catalog`)"))
                }
                CatalogEffect::Listed(patterns) => {
                    let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
                    let patterns = patterns.join(", ");
                    self.add("  lists", format_args!("{name}: {patterns}"))
                }
                CatalogEffect::Nothing(why) => {
                    self.add("  does not", format_args!("{name}: {why}"))
                }
            }
        }
    }

    /// Adds which part of the list of all repositories the caller sees.
    fn listed(&mut self, effects: &[(&str, CatalogEffect<'_>)]) {
        let any = |is: fn(&CatalogEffect<'_>) -> bool| effects.iter().any(|(_, effect)| is(effect));
        let what = if effects.is_empty() || any(|it| matches!(it, CatalogEffect::Everything)) {
            "the rules hide no repository from the list"
        } else if any(|it| matches!(it, CatalogEffect::Listed(_))) {
            "the list is filtered: it shows only the repositories that the rules marked with \
             `lists` are for"
        } else {
            "the list is filtered and empty: no rule lets this caller pull anything"
        };
        self.add("", what);
    }

    fn answer(&mut self, explanation: &Explanation<'_>) {
        let reason = explanation.reason();
        match &explanation.answer {
            ExplainedAnswer::Pong => {
                self.add("answer", format_args!("200, by the gate itself; reason {reason}"))
            }
            ExplainedAnswer::Token(token_scope) => {
                self.add("answer", format_args!("200 with a token; reason {reason}"));
                if explanation.assumed {
                    self.add("", "limited further to what the credential allows");
                }
                if token_scope.repositories.is_empty() {
                    self.add("", "valid for no repository");
                }
                if token_scope.allows(&Access::Catalog) {
                    let share = if token_scope.shown().is_some() {
                        ", limited to the repositories in the token"
                    } else {
                        ""
                    };
                    self.add("", format_args!("valid for the list of all repositories{share}"));
                }
                self.several(
                    "",
                    token_scope
                        .repositories
                        .iter()
                        .map(|(name, actions)| format!("valid for {}", on(*actions, name))),
                );
                for RefusedAccess { action, message } in &token_scope.refused {
                    match action {
                        Some((name, action)) => {
                            self.add("refused", format_args!("{} on {name}", action.as_str()));
                        }
                        None => self.add("refused", "the list of all repositories"),
                    }
                    self.add("", message);
                }
                if let Some(effects) = explanation.catalog()
                    && token_scope.allows(&Access::Catalog)
                {
                    self.listed(&effects);
                }
            }
            ExplainedAnswer::Registry { mount_refusal, absent, shown, ruling } => {
                if let Some(refusal) = mount_refusal {
                    self.add(
                        "mount",
                        "removed, so the request becomes a plain upload, because the pull from the \
                         source is refused:",
                    );
                    self.add("", explanation.message(refusal));
                }
                for tag in absent {
                    self.add(
                        "look-up",
                        format_args!("the registry has no tag {} yet", tag.as_str()),
                    );
                }
                let condition = if explanation.assumed {
                    "if the credential allows it too, the request would be "
                } else {
                    "the request would be "
                };
                self.add(
                    "answer",
                    format_args!("from the registry; {condition}forwarded; reason {reason}"),
                );
                if let Some(effects) = explanation.catalog() {
                    self.listed(&effects);
                }
                if let Some(shown) = shown {
                    let names: Vec<_> = shown.iter().map(RepositoryName::as_str).collect();
                    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                    self.add(
                        "",
                        format_args!("the list is limited to what the gate token lists: {names}"),
                    );
                }
                match ruling {
                    Ruling::Unruled => {}
                    Ruling::AllowedBy(rule) => {
                        let rule = explanation.rule_name(*rule);
                        self.add("", format_args!("the rule {rule} allows it"))
                    }
                    Ruling::ShadowDenied(refusal) => {
                        self.add("", "policy.mode: enforce would refuse it:");
                        self.add("", refusal);
                    }
                }
            }
            ExplainedAnswer::Refused { denial, withheld, status } => {
                self.add("answer", format_args!("{}; reason {reason}", status.as_u16()));
                self.add("", explanation.message(denial));
                if let Some(withheld) = withheld.as_ref().filter(|withheld| *withheld != denial) {
                    self.add("withheld", explanation.message(withheld));
                }
            }
        }
    }
}

/// Adds a line for each claim, with the path that a config has for it. An object is shown by its
/// members.
fn add_claims(members: &Map<String, Value>, within: &[&str], lines: &mut Vec<String>) {
    for (name, value) in members {
        let path = [within, &[name]].concat();
        match value {
            Value::Object(members) if !members.is_empty() => add_claims(members, &path, lines),
            value => lines.push(format!("{} = {value}", ClaimPath::of(path))),
        }
    }
}

fn needs(access: &Access) -> Vec<String> {
    match access {
        Access::Login => vec!["a valid credential".to_owned()],
        Access::Catalog => vec!["the list of all repositories".to_owned()],
        Access::Repository(..) | Access::Repositories(_) => {
            access.repositories().map(|(name, actions)| on(actions, name)).collect()
        }
    }
}

fn on(actions: Actions, name: &RepositoryName) -> String {
    let words: Vec<_> = actions.each().map(Action::as_str).collect();
    let words = if words.is_empty() { "nothing".to_owned() } else { words.join(" and ") };
    format!("{words} on {name}")
}
