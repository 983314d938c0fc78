//! Whom a rule is for.

use crate::identity::{Principal, Verified};

/// One entry of a rule's `who`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// `anonymous`: whoever shows no credential, and nobody else.
    Anonymous,
    /// `authenticated`: whoever shows a good one.
    Authenticated,
    /// `user:PROVIDER/NAME`, the name exactly as the provider says it. Never a job: its user is
    /// whoever started it.
    User { provider: Box<str>, name: Box<str> },
    /// `group:PROVIDER/NAME`, the same way.
    Group { provider: Box<str>, name: Box<str> },
    /// `provider:NAME`: everybody for whom it vouches.
    Provider(Box<str>),
    /// `credential:TYPE`, as the provider calls it.
    CredentialType(Box<str>),
}

impl Who {
    /// Reads an entry, given the names of all providers.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn parse(text: &str, providers: &[&str]) -> Result<Self, String> {
        let (kind, name) = match text {
            "anonymous" => return Ok(Self::Anonymous),
            "authenticated" => return Ok(Self::Authenticated),
            _ => text.split_once(':').unwrap_or((text, "")),
        };
        if !matches!(kind, "user" | "group" | "provider" | "credential") {
            return Err("it is nobody; write anonymous, authenticated, user:PROVIDER/NAME, group:PROVIDER/NAME, \
                        provider:NAME or credential:TYPE"
                .to_owned());
        }
        match kind {
            _ if name.is_empty() => {
                Err(format!("no name stands behind the colon; write {}", example(kind)))
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

    /// The one provider whose callers it is for; `None` where there may be several.
    pub fn provider(&self) -> Option<&str> {
        match self {
            Self::User { provider, .. }
            | Self::Group { provider, .. }
            | Self::Provider(provider) => Some(provider),
            Self::Anonymous | Self::Authenticated | Self::CredentialType(_) => None,
        }
    }

    /// Whether it is for this caller.
    pub fn matches(&self, caller: &Verified) -> bool {
        let Principal { source, subject } = &caller.principal;
        if caller.principal.is_anonymous() {
            return *self == Self::Anonymous;
        }
        match self {
            Self::Anonymous => false,
            Self::Authenticated => true,
            Self::User { provider, name } => {
                *source.provider == **provider && subject == name && !caller.principal.is_job()
            }
            Self::Group { provider, name } => {
                let groups =
                    caller.attributes.as_ref().map_or(&[][..], |attributes| &attributes.groups);
                *source.provider == **provider && groups.iter().any(|group| **group == **name)
            }
            Self::Provider(provider) => *source.provider == **provider,
            Self::CredentialType(name) => source.credential_type.as_deref() == Some(name),
        }
    }
}

/// The provider and the name in it. Without a provider there must be no doubt about whose it is.
fn of_provider(kind: &str, text: &str, providers: &[&str]) -> Result<(Box<str>, Box<str>), String> {
    match (text.split_once('/'), providers) {
        (Some((_, "")), _) => {
            Err(format!("no name stands behind the slash; write {}", example(kind)))
        }
        (Some((provider, name)), _) => Ok((known(provider, providers)?, name.into())),
        (None, [only]) => Ok(((*only).into(), text.into())),
        (None, _) => {
            Err(format!("several providers may know the name; write {kind}:PROVIDER/{text}"))
        }
    }
}

fn known(name: &str, providers: &[&str]) -> Result<Box<str>, String> {
    match providers.contains(&name) {
        true => Ok(name.into()),
        false => Err(format!(
            "`{name}` is no provider in identity; write one of {}",
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
    fn whose_callers_an_entry_is_for() {
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

    /// An entry without a name would be for nobody, or for everybody without one.
    #[test]
    fn an_entry_without_a_name_says_what_would_be_right() {
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
        assert!(Who::parse("user:", &["only"]).is_err());
        assert!(Who::parse("group:", &["only"]).is_err());
    }
}
