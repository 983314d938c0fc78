//! Builds the rules, checks their callers against the providers, and warns of parts that have no
//! effect.

use std::collections::HashMap;

use super::Build;
use super::doubts::host_left_in;
use crate::config::format::Network;
use crate::config::raw::{self, PolicyMode, RuleAction};
use crate::policy::{Mode, RepositoryPattern, Rule, Rules, TagChoice, TagPattern, Who};
use crate::registry::Actions;

impl Build<'_> {
    /// Builds the rules; `None` if one of them is wrong.
    pub(super) fn policy(&mut self, raw: &raw::Raw) -> Option<Rules> {
        let providers = raw.identity.as_deref().unwrap_or_default();
        let mut rules = Vec::new();
        for (index, rule) in raw.policy.rules.iter().enumerate() {
            let built = rule
                .as_ref()
                .and_then(|rule| self.rule(rule, &format!("policy.rules[{index}]"), providers));
            rules.extend(built);
            if let Some(rule) = rule {
                self.warn_of_proxies(&rule.from, &raw.http.trusted_proxies, index);
            }
        }
        self.unique_rules(&raw.policy.rules);
        self.mode(&raw.policy);
        if raw.policy.read_only {
            let message = "every push and delete is refused with 405 until it is false again; \
                           write false when the maintenance is over";
            self.warn("policy.read_only", message);
        }
        let grant_needed = raw.upstream.authorization == raw::Authorization::Grant;
        if !raw.policy.rules.is_empty() && !grant_needed {
            self.warn_of_useless_anonymous(providers);
            self.warn_of_open_rules(&rules);
        }
        if let raw::ChallengeScheme::Basic = raw.tokens.challenge {
            self.warn_of_basic_challenge(&rules);
        }
        let mode = if raw.policy.mode == PolicyMode::Shadow { Mode::Shadow } else { Mode::Enforce };
        let read_only = raw.policy.read_only;
        (rules.len() == raw.policy.rules.len()).then_some(Rules {
            mode,
            rules,
            grant_needed,
            read_only,
        })
    }

    fn rule(
        &mut self,
        raw: &raw::RuleSection,
        path: &str,
        providers: &[Option<raw::ProviderSection>],
    ) -> Option<Rule> {
        let names = names(providers);
        let repositories =
            self.each(raw.repositories.as_deref(), &format!("{path}.repositories"), |text| {
                RepositoryPattern::parse(text)
                    .map_err(|message| host_left_in(text).unwrap_or(message))
            });
        let tags = self.each(raw.tags.as_deref(), &format!("{path}.tags"), TagPattern::parse);
        let except =
            self.each(Some(&raw.except_tags), &format!("{path}.except_tags"), TagPattern::parse);
        let who =
            self.each(raw.who.as_deref(), &format!("{path}.who"), |text| Who::parse(text, &names));
        if let (Some(repositories), Some(who), false) = (&repositories, &who, names.is_empty()) {
            self.templates(repositories, who, providers, path);
        }
        if let (Some(repositories), true) = (&repositories, raw.immutable) {
            self.no_templates(repositories, path);
        }
        let allow = raw.allow.as_deref();
        if let (Some(who), Some(allow), Some(repositories)) = (&who, allow, &repositories) {
            self.warn_of_useless_actions(who, allow, repositories, path);
        }
        let choice = match (&raw.tags, except?) {
            (None, except) if except.is_empty() => None,
            (None, except) => Some(TagChoice { tags: vec![TagPattern::any()], except }),
            (Some(_), except) => Some(TagChoice { tags: tags?, except }),
        };
        let allows = |action| allow.is_some_and(|allow| allow.contains(&action));
        Some(Rule {
            name: raw.name.as_ref()?.0.as_str().into(),
            repositories: repositories?,
            who: who?,
            from: raw.from.iter().map(|network| network.0).collect(),
            allow: Actions {
                pull: allows(RuleAction::Pull),
                push: allows(RuleAction::Push),
                delete: allows(RuleAction::Delete),
            },
            catalog: allow.map(|allow| allow.contains(&RuleAction::Catalog))?,
            tags: choice,
            immutable: raw.immutable,
        })
    }

    /// Parses every entry of a list; `None` if the list is missing or an entry is wrong.
    pub(super) fn each<T>(
        &mut self,
        texts: Option<&[String]>,
        path: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let mut read = Vec::new();
        for (index, text) in texts?.iter().enumerate() {
            match parse(text) {
                Ok(entry) => read.push(entry),
                Err(message) => {
                    self.problem(
                        &format!("{path}[{index}]"),
                        format!("`{}`: {message}", super::shown(text)),
                    );
                }
            }
        }
        (read.len() == texts?.len()).then_some(read)
    }

    /// Checks the templates in the repository patterns. A name at two providers means two callers.
    fn templates(
        &mut self,
        repositories: &[RepositoryPattern],
        who: &[Who],
        providers: &[Option<raw::ProviderSection>],
        path: &str,
    ) {
        let mut named = who.iter().map(Who::provider);
        let first = named.next().flatten();
        let is_one = providers.len() == 1 || first.is_some() && named.all(|it| it == first);
        let issuers = providers
            .iter()
            .flatten()
            .filter(|provider| matches!(provider, raw::ProviderSection::Jwt(_)))
            .count();
        for (index, pattern) in repositories.iter().enumerate() {
            let at = format!("{path}.repositories[{index}]");
            if pattern.takes_user() && !is_one {
                let message = "one user name may belong to different callers at different \
                               providers; restrict `who` to one provider, e.g. provider:gitlab";
                self.problem(&at, message);
            }
            if pattern.takes_claims() && issuers == 0 {
                self.warn(
                    &at,
                    "it matches nothing, because only providers of type jwt have claims; add one",
                );
            } else if pattern.takes_claims() && issuers > 1 && !is_one {
                let message = "one claim value may belong to different callers at different \
                               issuers; restrict `who` to one provider, e.g. provider:workloads";
                self.warn(&at, message);
            }
        }
    }

    /// Refuses templates in a rule that makes tags immutable for every caller.
    fn no_templates(&mut self, repositories: &[RepositoryPattern], path: &str) {
        for (index, pattern) in repositories.iter().enumerate() {
            if pattern.takes_user() || pattern.takes_claims() {
                let message = "immutable holds for every caller, and this pattern names other \
                               repositories for each one; write a pattern without ${…}, in a rule \
                               of its own";
                self.problem(&format!("{path}.repositories[{index}]"), message);
            }
        }
    }

    /// Warns of networks in which no client is, because they are those of proxies.
    fn warn_of_proxies(&mut self, from: &[Network], proxies: &[Network], rule: usize) {
        for (index, Network(network)) in from.iter().enumerate() {
            if proxies.iter().any(|Network(proxy)| proxy.contains(network)) {
                let message = "it matches no client, because the whole network is in \
                               http.trusted_proxies, and the address of a proxy is not a client's; \
                               write a network of clients";
                self.warn(&format!("policy.rules[{rule}].from[{index}]"), message);
            }
        }
    }

    fn warn_of_useless_actions(
        &mut self,
        who: &[Who],
        allow: &[RuleAction],
        repositories: &[RepositoryPattern],
        path: &str,
    ) {
        let path = format!("{path}.allow");
        if who.contains(&Who::Anonymous) && allow.iter().any(|action| *action != RuleAction::Pull) {
            self.warn(
                &path,
                "anonymous callers may only pull; move the other actions to a rule for \
                 authenticated callers",
            );
        }
        if allow.contains(&RuleAction::Catalog)
            && !repositories.iter().any(RepositoryPattern::is_everything)
        {
            let message = "catalog shows the names of all repositories, not only of these; if that \
                           is intended, write it in a rule for [\"**\"]";
            self.warn(&path, message);
        }
    }

    fn unique_rules(&mut self, rules: &[Option<raw::RuleSection>]) {
        let mut names = HashMap::new();
        for (index, rule) in rules.iter().enumerate() {
            let Some(name) = rule.as_ref().and_then(|rule| rule.name.as_ref()) else { continue };
            if let Some(first) = names.insert(&name.0, index) {
                let message = format!(
                    "`{name}` is already the name of policy.rules[{first}]; write another one"
                );
                self.problem(&format!("policy.rules[{index}].name"), message);
            }
        }
    }

    fn mode(&mut self, raw: &raw::PolicySection) {
        let message = match raw.mode {
            PolicyMode::Enforce => return,
            PolicyMode::Shadow if raw.rules.is_empty() => {
                "it has no effect without rules; write rules or remove this key"
            }
            PolicyMode::Shadow => {
                "a request that the rules deny but the credential allows is forwarded, and logged \
                 as shadow_denied; write enforce once the log has no such request"
            }
        };
        self.warn("policy.mode", message);
    }

    /// Warns of rules for anonymous callers, because docker pulls no image without a login after a
    /// Basic challenge.
    fn warn_of_basic_challenge(&mut self, rules: &[Rule]) {
        for (index, _) in
            rules.iter().enumerate().filter(|(_, rule)| rule.who.contains(&Who::Anonymous))
        {
            let message = "docker and podman pull without a login only if tokens.challenge is \
                           bearer; write tokens.challenge: bearer";
            self.warn(&format!("policy.rules[{index}].who"), message);
        }
    }

    /// Warns of rules that let every caller pull every image. If the registry needs no grants, such
    /// a rule is all that a pull requires.
    fn warn_of_open_rules(&mut self, rules: &[Rule]) {
        let opens_all = |rule: &Rule| {
            let for_anybody = rule.who.contains(&Who::Anonymous) && rule.from.is_empty();
            for_anybody
                && rule.allow.pull
                && rule.repositories.iter().any(RepositoryPattern::is_everything)
        };
        for (index, _) in rules.iter().enumerate().filter(|(_, rule)| opens_all(rule)) {
            let message = "any client may pull every image without a credential; if that is not \
                           intended, list only the public repositories, e.g. public/**";
            self.warn(&format!("policy.rules[{index}].repositories"), message);
        }
    }

    fn warn_of_useless_anonymous(&mut self, providers: &[Option<raw::ProviderSection>]) {
        for (index, provider) in providers.iter().enumerate() {
            if let Some(raw::ProviderSection::Gitlab(raw::GitlabSection {
                anonymous: true, ..
            })) = provider
            {
                let message = "it has no effect with policy.rules: the rules decide what callers \
                               without a credential may pull, including repositories that are \
                               private in GitLab; remove this key";
                self.warn(&format!("identity[{index}].anonymous"), message);
            }
        }
    }
}

/// Returns the names of all providers. If the name of one is missing, which was already reported,
/// there are none, because an entry of `who` may mean that provider.
pub(super) fn names(providers: &[Option<raw::ProviderSection>]) -> Vec<&str> {
    let names = providers.iter().map(|provider| {
        let name = provider.as_ref()?.common().name.as_ref()?;
        Some(name.0.as_str())
    });
    names.collect::<Option<_>>().unwrap_or_default()
}
