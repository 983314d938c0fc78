//! Warnings about entries that match no caller, no repository or no tag. They are valid, and
//! probably a mistake.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::Build;
use crate::config::problem::shown;
use crate::config::raw::{
    GitlabSection, IntrospectionSection, JwtSection, ProviderSection, Raw, RuleSection,
};
use crate::config::ready::Provider;
use crate::config::url::ExternalUrl;
use crate::identity::provider::ProviderSettings;
use crate::identity::provider::htpasswd::file::HtpasswdFile;
use crate::limits::settings::LimitOverride;
use crate::policy::{Rule, TagPattern, Who};

/// The credential types that a GitLab reports.
const GITLAB_TYPES: [&str; 5] = ["personal_access_token", "deploy_token", "build", "ci", "oauth"];

/// The credential type of the passwords of GitLab accounts.
const GITLAB_PASSWORD: &str = "gitlab_or_ldap";

/// The providers by name, each as it is configured and as it was built.
type Providers<'a> = HashMap<&'a str, (usize, &'a ProviderSection, &'a Provider)>;

impl Build<'_> {
    /// Warns of doubtful entries in a config without problems.
    pub(super) fn warn_of_doubtful_entries(
        &mut self,
        raw: &Raw,
        identity: &[Provider],
        rules: &[Rule],
        overrides: &[LimitOverride],
    ) {
        let entries = raw.identity.iter().flatten().flatten().zip(identity);
        let providers: Providers<'_> = (0..)
            .zip(entries)
            .map(|(index, (entry, built))| (built.name.as_str(), (index, entry, built)))
            .collect();
        for (index, rule) in rules.iter().enumerate() {
            self.warn_of_who(&rule.who, &format!("policy.rules[{index}]"), &providers);
        }
        for (index, special) in overrides.iter().enumerate() {
            self.warn_of_who(&special.who, &format!("limits.overrides[{index}]"), &providers);
        }
        self.warn_of_accepted_users(raw, identity);
        self.warn_of_hidden_overrides(overrides, identity);
        for (index, (rule, built)) in raw.policy.rules.iter().flatten().zip(rules).enumerate() {
            let path = format!("policy.rules[{index}]");
            self.warn_of_hosts(rule, raw.http.external_url.as_ref(), &path);
            self.warn_of_excluded_tags(rule, built, &path);
            self.warn_of_exempt_tags(built, &path);
        }
    }

    fn warn_of_who(&mut self, who: &[Who], path: &str, providers: &Providers<'_>) {
        for (index, entry) in who.iter().enumerate() {
            let doubt = match entry {
                Who::Group { provider, .. } => providers
                    .get(&**provider)
                    .and_then(|(index, entry, _)| no_groups(*index, entry)),
                Who::User { provider, name } => providers
                    .get(&**provider)
                    .and_then(|(_, _, built)| unknown_user(users(built)?, provider, name)),
                Who::CredentialType(kind) => unknown_type(kind, providers),
                Who::Anonymous | Who::Authenticated | Who::Provider(_) => None,
            };
            if let Some(doubt) = doubt {
                self.warn(&format!("{path}.who[{index}]"), doubt);
            }
        }
    }

    /// Warns of users that a provider accepts and that are not in its htpasswd file.
    fn warn_of_accepted_users(&mut self, raw: &Raw, identity: &[Provider]) {
        for (at, (entry, built)) in
            raw.identity.iter().flatten().flatten().zip(identity).enumerate()
        {
            let (Some(accepts), Some(users)) = (&entry.common().accepts, users(built)) else {
                continue;
            };
            for (index, user) in accepts.users.iter().enumerate() {
                if let Some(doubt) = unknown_user(users, &built.name, user) {
                    self.warn(&format!("identity[{at}].accepts.users[{index}]"), doubt);
                }
            }
        }
    }

    /// Warns of overrides whose callers all match an earlier override.
    fn warn_of_hidden_overrides(&mut self, overrides: &[LimitOverride], identity: &[Provider]) {
        let mut earlier: HashSet<&Who> = HashSet::new();
        for (index, special) in overrides.iter().enumerate() {
            let authenticated = earlier.contains(&Who::Authenticated)
                || identity
                    .iter()
                    .all(|it| earlier.contains(&Who::Provider(it.name.as_str().into())));
            let is_hidden = |who: &Who| {
                earlier.contains(who)
                    || (authenticated && *who != Who::Anonymous)
                    || who.provider().is_some_and(|it| earlier.contains(&Who::Provider(it.into())))
            };
            if special.who.iter().all(is_hidden) {
                let message = "it never applies, because every caller that it names matches an \
                               earlier entry; move it before that entry, or remove it";
                self.warn(&format!("limits.overrides[{index}].who"), message);
            }
            earlier.extend(&special.who);
        }
    }

    /// Warns of patterns that begin with the host of a registry, which is not part of the names of
    /// its repositories.
    fn warn_of_hosts(&mut self, rule: &RuleSection, external: Option<&ExternalUrl>, path: &str) {
        let own = external.map(ExternalUrl::host);
        for (index, pattern) in rule.repositories.iter().flatten().enumerate() {
            let (host, rest) = pattern.split_once('/').unwrap_or((pattern, ""));
            let is_host = own == Some(host) || (!rest.is_empty() && looks_like_host(host));
            if is_host {
                let message = format!(
                    "`{}` looks like the host of a registry, and the names of repositories have \
                     none; leave the host out, e.g. {}",
                    shown(host),
                    if rest.is_empty() { "group/**" } else { rest }
                );
                self.warn(&format!("{path}.repositories[{index}]"), message);
            }
        }
    }

    /// Warns of an immutable rule whose tags are all exempt.
    fn warn_of_exempt_tags(&mut self, rule: &Rule, path: &str) {
        let Some(choice) = rule.tags.as_ref().filter(|_| rule.immutable) else { return };
        if choice.tags.iter().all(TagPattern::is_of_signatures) {
            let message = "tags of ${signatures} are exempt from it, and the rule has no other \
                           tags, so it only forbids deletes by digest; write other tags, or remove \
                           this key";
            self.warn(&format!("{path}.immutable"), message);
        }
    }

    fn warn_of_excluded_tags(&mut self, raw: &RuleSection, rule: &Rule, path: &str) {
        let Some(choice) = &rule.tags else { return };
        for (index, tag) in choice.tags.iter().enumerate() {
            if choice.except.iter().any(|except| except.covers(tag)) {
                let message = "except_tags takes out every tag that this allows, so it has no \
                               effect; correct one of the two";
                let key = if raw.tags.is_some() {
                    format!("tags[{index}]")
                } else {
                    "except_tags".into()
                };
                self.warn(&format!("{path}.{key}"), message);
            }
        }
    }
}

/// Returns the warning about a group at a provider whose callers have no groups.
fn no_groups(index: usize, provider: &ProviderSection) -> Option<String> {
    let right = match provider {
        ProviderSection::Introspection(IntrospectionSection { groups_claim: Some(_), .. })
        | ProviderSection::Jwt(JwtSection { groups_claim: Some(_), .. }) => return None,
        ProviderSection::Introspection(_) | ProviderSection::Jwt(_) => {
            format!("set identity[{index}].groups_claim to the claim that lists groups")
        }
        ProviderSection::Gitlab(_)
        | ProviderSection::RegistryToken(_)
        | ProviderSection::Htpasswd(_) => {
            "write user:PROVIDER/NAME, provider:NAME or another provider".to_owned()
        }
    };
    Some(format!("it matches no caller, because callers of this provider have no groups; {right}"))
}

/// Returns the warning about a user that is not in an htpasswd file.
fn unknown_user(users: &HtpasswdFile, provider: &str, name: &str) -> Option<String> {
    if users.hash_of(name).is_some() {
        return None;
    }
    let right = match users.names().find(|known| known.eq_ignore_ascii_case(name)) {
        Some(known) => format!("names are compared exactly: did you mean `{}`?", shown(known)),
        None => "add the user to the file, or correct the name".to_owned(),
    };
    Some(format!("the file of `{provider}` has no user `{}`; {right}", shown(name)))
}

/// Returns the warning about a credential type that no provider reports. A server of the registry
/// token protocol may be a GitLab.
fn unknown_type(kind: &str, providers: &Providers<'_>) -> Option<String> {
    let (mut types, mut passwords) = (false, false);
    for (_, provider, _) in providers.values() {
        match provider {
            ProviderSection::Gitlab(GitlabSection { accept_passwords, .. }) => {
                types = true;
                passwords |= accept_passwords;
            }
            ProviderSection::RegistryToken(_) => (types, passwords) = (true, true),
            ProviderSection::Introspection(_)
            | ProviderSection::Jwt(_)
            | ProviderSection::Htpasswd(_) => {}
        }
    }
    if !types {
        let message = "it matches no caller, because only providers of type gitlab report the \
                       type of a credential; write provider:NAME, or add such a provider";
        return Some(message.to_owned());
    }
    if GITLAB_TYPES.contains(&kind) || (kind == GITLAB_PASSWORD && passwords) {
        return None;
    }
    if kind == GITLAB_PASSWORD {
        let message = "it matches no caller, because no gitlab provider accepts passwords; set \
                       accept_passwords: true there, or remove this entry";
        return Some(message.to_owned());
    }
    let known = GITLAB_TYPES.join(", ");
    Some(format!(
        "`{}` is not a type of credential that a provider reports; write one of {known} or \
         {GITLAB_PASSWORD}",
        shown(kind)
    ))
}

/// Returns the users of an htpasswd provider.
fn users(provider: &Provider) -> Option<&HtpasswdFile> {
    match &provider.settings {
        ProviderSettings::Htpasswd(settings) => Some(&settings.users),
        ProviderSettings::GitLab(_)
        | ProviderSettings::RegistryToken(_)
        | ProviderSettings::Introspection(_)
        | ProviderSettings::Jwt(_) => None,
    }
}

/// Returns the remedy for a pattern that is wrong because it begins with a scheme, or with the host
/// of a registry and perhaps its port.
pub(super) fn host_left_in(pattern: &str) -> Option<String> {
    let (scheme, rest) = pattern.split_once("://").unwrap_or(("", pattern));
    let host = rest.split('/').next().unwrap_or_default();
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.chars().all(|c| c.is_ascii_digit()) => {
            (name, port)
        }
        _ => (host, ""),
    };
    let name = name.to_ascii_lowercase();
    let is_host = !scheme.is_empty() || !port.is_empty() || looks_like_host(&name);
    is_host.then(|| {
        "the names of repositories have neither the scheme nor the host of the registry; leave \
         them out, e.g. group/**"
            .to_owned()
    })
}

/// Returns whether a segment is the host of a registry, as docker decides it, and cannot just as
/// well be a version such as 1.0.
fn looks_like_host(segment: &str) -> bool {
    let bare = segment.trim_start_matches('[').trim_end_matches(']');
    segment == "localhost"
        || bare.parse::<IpAddr>().is_ok()
        || segment.rsplit_once('.').is_some_and(|(rest, top)| {
            top.len() >= 2 && top.chars().all(|c| c.is_ascii_alphabetic()) && !rest.is_empty()
        })
}
