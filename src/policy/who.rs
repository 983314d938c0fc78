//! The callers that a rule is for.

use crate::identity::{Principal, Verified};

/// One entry of a rule's `who`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// `anonymous`: callers without a credential, and no other caller.
    Anonymous,
    /// `authenticated`: callers with a valid credential.
    Authenticated,
    /// `user:PROVIDER/NAME`, with the exact name that the provider reports. It never matches a job,
    /// because the user of a job is the user who started it.
    User { provider: Box<str>, name: Box<str> },
    /// `group:PROVIDER/NAME`, with the exact name that the provider reports.
    Group { provider: Box<str>, name: Box<str> },
    /// `provider:NAME`: all callers that the provider vouches for.
    Provider(Box<str>),
    /// `credential:TYPE`, with the name that the provider uses for the type.
    CredentialType(Box<str>),
}

impl Who {
    /// Reads an entry, given the names of all providers. Without any, the names are not known, and
    /// every provider is accepted.
    ///
    /// # Errors
    /// A message that says what is wrong and how to write it correctly.
    pub fn parse(text: &str, providers: &[&str]) -> Result<Self, String> {
        let (kind, name) = match text {
            "anonymous" => return Ok(Self::Anonymous),
            "authenticated" => return Ok(Self::Authenticated),
            _ => text.split_once(':').unwrap_or((text, "")),
        };
        if !matches!(kind, "user" | "group" | "provider" | "credential") {
            return Err("it is not a kind of caller; write anonymous, authenticated, \
                        user:PROVIDER/NAME, group:PROVIDER/NAME, provider:NAME or credential:TYPE"
                .to_owned());
        }
        match kind {
            _ if name.is_empty() => {
                Err(format!("there is no name after the colon; write {}", example(kind)))
            }
            "provider" => known(name, providers).map(Self::Provider),
            "credential" => Ok(Self::CredentialType(name.into())),
            _ => {
                let (provider, name) = of_provider(kind, name, providers)?;
                Ok(if kind == "user" {
                    Self::User { provider, name }
                } else {
                    Self::Group { provider, name }
                })
            }
        }
    }

    /// Returns the only provider whose callers can match; `None` if callers of several providers
    /// can match.
    pub fn provider(&self) -> Option<&str> {
        match self {
            Self::User { provider, .. }
            | Self::Group { provider, .. }
            | Self::Provider(provider) => Some(provider),
            Self::Anonymous | Self::Authenticated | Self::CredentialType(_) => None,
        }
    }

    /// Returns the kind of callers that the entry is for.
    pub(super) fn kind(&self) -> CallerKind<'_> {
        match self {
            Self::Anonymous => CallerKind::Anonymous,
            Self::Authenticated => CallerKind::Authenticated,
            Self::User { provider, name } => CallerKind::User(provider, name),
            Self::Group { provider, name } => CallerKind::Group(provider, name),
            Self::Provider(provider) => CallerKind::Provider(provider),
            Self::CredentialType(name) => CallerKind::CredentialType(name),
        }
    }

    /// Returns whether the entry matches this caller.
    pub fn matches(&self, caller: &Verified) -> bool {
        let kind = self.kind();
        CallerKind::of(caller).any(|of_caller| of_caller == kind)
    }
}

/// A kind of callers. A caller is of several kinds, and an entry of `who` matches the callers of
/// one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum CallerKind<'a> {
    Anonymous,
    Authenticated,
    User(&'a str, &'a str),
    Group(&'a str, &'a str),
    Provider(&'a str),
    CredentialType(&'a str),
}

impl<'a> CallerKind<'a> {
    /// Returns all kinds of a caller.
    pub(super) fn of(caller: &'a Verified) -> impl Iterator<Item = Self> {
        let Principal { source, subject } = &caller.principal;
        let known = !caller.principal.is_anonymous();
        let user =
            (known && !caller.principal.is_job()).then(|| Self::User(&source.provider, subject));
        let credential_type = source.credential_type.as_deref().filter(|_| known);
        let groups = caller.attributes.as_ref().filter(|_| known);
        let groups = groups.into_iter().flat_map(|attributes| &attributes.groups);
        [
            Some(if known { Self::Authenticated } else { Self::Anonymous }),
            user,
            known.then(|| Self::Provider(&source.provider)),
            credential_type.map(Self::CredentialType),
        ]
        .into_iter()
        .flatten()
        .chain(groups.map(|group| Self::Group(&source.provider, group)))
    }
}

/// Splits an entry into the provider and the name in it. An entry without a provider is accepted
/// only if the provider is unambiguous.
fn of_provider(kind: &str, text: &str, providers: &[&str]) -> Result<(Box<str>, Box<str>), String> {
    match (text.split_once('/'), providers) {
        (Some((_, "")), _) => {
            Err(format!("there is no name after the slash; write {}", example(kind)))
        }
        (Some((provider, name)), _) => Ok((known(provider, providers)?, name.into())),
        (None, []) => Ok(("".into(), text.into())),
        (None, [only]) => Ok(((*only).into(), text.into())),
        (None, _) => {
            Err(format!("several providers may know the name; write {kind}:PROVIDER/{text}"))
        }
    }
}

fn known(name: &str, providers: &[&str]) -> Result<Box<str>, String> {
    match providers {
        [] => Ok(name.into()),
        _ if providers.contains(&name) => Ok(name.into()),
        [only] => Err(format!("`{name}` is not a provider in identity; write {only}")),
        _ => Err(format!(
            "`{name}` is not a provider in identity; write one of {}",
            providers.join(", ")
        )),
    }
}

fn example(kind: &str) -> &'static str {
    match kind {
        "provider" => "e.g. provider:gitlab",
        "credential" => "e.g. credential:deploy_token",
        "group" => "e.g. group:sso/developers",
        _ => "e.g. user:gitlab/alice",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_names_the_provider_whose_callers_it_matches() {
        for (text, provider) in [
            ("anonymous", None),
            ("authenticated", None),
            ("credential:build", None),
            ("user:p/alice", Some("p")),
            ("group:q/a/b", Some("q")),
            ("provider:q", Some("q")),
        ] {
            assert_eq!(Who::parse(text, &["p", "q"]).unwrap().provider(), provider, "{text}");
        }
        assert_eq!(Who::parse("user:alice", &["only"]).unwrap().provider(), Some("only"));
    }

    /// An entry without a name would match no caller, or every caller without a name.
    #[test]
    fn the_error_about_an_invalid_entry_shows_a_valid_one() {
        for (text, right) in [
            ("user:", "user:gitlab/alice"),
            ("user:p/", "user:gitlab/alice"),
            ("group:", "group:sso/developers"),
            ("group", "group:sso/developers"),
            ("provider:", "provider:gitlab"),
            ("credential:", "credential:deploy_token"),
            ("user:alice", "user:PROVIDER/alice"),
            ("provider:r", "one of p, q"),
            ("alice", "user:PROVIDER/NAME"),
        ] {
            let message = Who::parse(text, &["p", "q"]).unwrap_err();
            assert!(message.contains(right), "{text}: {message}");
        }
        let single = Who::parse("provider:r", &["only"]).unwrap_err();
        assert!(single.ends_with("; write only"), "{single}");
        // Without providers, the missing providers are the only problem.
        for text in ["provider:r", "user:r/alice", "user:alice", "group:r/a"] {
            assert!(Who::parse(text, &[]).is_ok(), "{text}");
        }
        assert!(Who::parse("alice", &[]).is_err());
        assert!(Who::parse("user:", &["only"]).is_err());
        assert!(Who::parse("group:", &["only"]).is_err());
    }
}
