//! What is known of GitLab beyond the registry token protocol. Its token endpoint, `/jwt/auth`, is
//! the one interface of an unmodified GitLab that knows all six kinds of credential.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::common::http_client::{ProviderClient, ServerSettings};
use super::common::strict_json;
use super::registry_token::TokenServer;
use super::registry_token::reply::{self, Token};
use crate::identity::guard::failure_budget::FailureBudget;

/// The user name with which GitLab takes both personal access tokens and job tokens, and whose
/// failures it does not count.
pub(super) const TOKEN_USER: &str = "gitlab-ci-token";

/// What GitLab calls a credential that is the password of an account. One that leaks opens
/// everything, and no second factor is asked for here.
const ACCOUNT_PASSWORD: &str = "gitlab_or_ldap";

/// What GitLab says of a caller who showed nothing (`auth_type`).
const NOBODY: &str = "none";

/// What GitLab says where a credential is good and has nothing to do with the registry.
const ACCESS_FORBIDDEN: &str = "access forbidden";

/// What it says where one path of those asked about takes a higher role to push to.
const PROTECTED_PATH: &str = "Pushing to protected repository path forbidden";

/// How it begins what it says where one of the projects asked about is too large.
const OVER_QUOTA: &str = "You are above your storage quota!";

/// What a 403 says of the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forbidden {
    /// It is good, and nothing is granted.
    Nothing,
    /// It is good, and nothing is granted for all that was asked because of one of the
    /// repositories. Others may be granted something when they are asked about by themselves.
    OneOfSeveral,
    /// Nothing: the caller is turned away before anybody looks at the credential, as by a ban.
    NoVerdict,
}

impl Forbidden {
    /// Reads the body of a 403. GitLab tells bans with the same code as refusals (too many failed
    /// attempts from a network, too many sources of one account), so the message decides, and
    /// one that is not known is no verdict, of the whole list.
    pub(super) fn read(body: &[u8]) -> Self {
        let Ok(reply) = strict_json::object(body) else { return Self::NoVerdict };
        let Some(Value::Array(errors)) = reply.get("errors") else { return Self::NoVerdict };
        let verdicts: Vec<_> = errors.iter().map(Self::of_error).collect();
        match verdicts.is_empty() || verdicts.contains(&Self::NoVerdict) {
            true => Self::NoVerdict,
            false if verdicts.contains(&Self::OneOfSeveral) => Self::OneOfSeveral,
            false => Self::Nothing,
        }
    }

    fn of_error(error: &Value) -> Self {
        let text = |name| error.get(name).and_then(Value::as_str);
        match (text("code"), text("message")) {
            (Some("DENIED"), Some(ACCESS_FORBIDDEN)) => Self::Nothing,
            (Some("DENIED"), Some(message))
                if message == PROTECTED_PATH || message.starts_with(OVER_QUOTA) =>
            {
                Self::OneOfSeveral
            }
            _ => Self::NoVerdict,
        }
    }
}

/// The settings of a provider with `type: gitlab`.
#[derive(Clone, Debug)]
pub struct GitLabSettings {
    /// The base address of GitLab. Its path does not end in a slash.
    pub server: ServerSettings,
    /// The service that tokens are requested for.
    pub service: String,
    /// `true` if the passwords of accounts are accepted too, beside tokens.
    pub accept_passwords: bool,
    /// `true` if GitLab is asked which repositories callers without a credential may pull.
    pub anonymous: bool,
    /// `true` if GitLab is told the client's address, so that it counts failures and judges
    /// addresses by client.
    pub forward_client_address: bool,
    /// The number of wrong credentials that GitLab is asked about in a time; `None` for any number.
    pub failure_budget: Option<(u32, Duration)>,
}

impl GitLabSettings {
    /// Returns the URL of GitLab's token endpoint.
    pub fn realm(&self) -> String {
        format!("{}/jwt/auth", self.server.endpoint.url())
    }

    /// Creates the provider.
    ///
    /// # Errors
    /// The system's certificate authorities are needed and cannot be read.
    pub fn build(self, name: Arc<str>, keep_tokens: bool) -> io::Result<TokenServer> {
        let (realm, client) = (self.realm(), ProviderClient::for_server(&self.server)?);
        let reading = GitLabReading {
            accept_passwords: self.accept_passwords,
            anonymous: self.anonymous,
            forward_client_address: self.forward_client_address,
            failure_budget: self.failure_budget.map(|(count, per)| FailureBudget::new(count, per)),
        };
        let server = TokenServer::new(name, &realm, self.service, client, Some(reading));
        Ok(server.keep_tokens(keep_tokens))
    }
}

/// The settings by which a token server is asked as a GitLab, and its replies are read.
pub struct GitLabReading {
    /// `true` if the passwords of accounts are accepted too, beside tokens.
    pub accept_passwords: bool,
    /// `true` if GitLab is asked which repositories callers without a credential may pull.
    pub anonymous: bool,
    /// `true` if GitLab is told the client's address.
    pub forward_client_address: bool,
    /// The bound on wrong credentials that GitLab is asked about.
    pub failure_budget: Option<FailureBudget>,
}

impl GitLabReading {
    /// Whether the credential is one that is not accepted here, though GitLab vouches for it.
    pub(super) fn refuses(&self, token: &Token) -> bool {
        !self.accept_passwords && token.credential_type.as_deref() == Some(ACCOUNT_PASSWORD)
    }
}

/// Returns whether a token names nobody: GitLab hands one to whoever shows no credential.
pub(super) fn is_nobodys(token: &Token) -> bool {
    token.subject.is_none() && token.credential_type.as_deref() == Some(NOBODY)
}

/// The subject of a deploy token, which belongs to nobody: `deploy_token:ID`.
pub(super) fn deploy_token(token: &Token) -> Option<Box<str>> {
    let user = reply::claims(token.user.as_deref()?)?;
    let id = user.get("user_info")?.get("deploy_token_id")?.as_u64()?;
    Some(format!("deploy_token:{id}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_403_is_a_verdict_by_its_message() {
        let denied = |message: &str| {
            format!("{{\"errors\":[{{\"code\":\"DENIED\",\"message\":\"{message}\"}}]}}")
        };
        for (message, verdict) in [
            ("access forbidden", Forbidden::Nothing),
            ("Pushing to protected repository path forbidden", Forbidden::OneOfSeveral),
            (
                "You are above your storage quota! Please remove some images.",
                Forbidden::OneOfSeveral,
            ),
            ("You are above your storage quota!", Forbidden::OneOfSeveral),
            ("Access forbidden", Forbidden::NoVerdict),
            ("access forbidden.", Forbidden::NoVerdict),
            ("access forbidden: too many failed attempts", Forbidden::NoVerdict),
            ("Pushing to protected repository path forbidden for now", Forbidden::NoVerdict),
            ("Your network is banned. You are above your storage quota!", Forbidden::NoVerdict),
            ("Too many failed authentication attempts from this network", Forbidden::NoVerdict),
            ("Too many distinct sources for this account", Forbidden::NoVerdict),
            ("", Forbidden::NoVerdict),
        ] {
            assert_eq!(Forbidden::read(denied(message).as_bytes()), verdict, "{message}");
        }
    }

    #[test]
    fn whatever_else_a_403_says_is_no_verdict() {
        let known = r#"{"code": "DENIED", "message": "access forbidden"}"#;
        let ban = r#"{"code": "DENIED", "message": "banned"}"#;
        for body in [
            String::new(),
            "access forbidden".to_owned(),
            "<html>access forbidden</html>".to_owned(),
            "{}".to_owned(),
            format!("[{known}]"),
            known.to_owned(),
            r#"{"errors": "access forbidden"}"#.to_owned(),
            r#"{"errors": []}"#.to_owned(),
            r#"{"errors": ["access forbidden"]}"#.to_owned(),
            r#"{"errors": [{"code": "DENIED"}]}"#.to_owned(),
            r#"{"errors": [{"message": "access forbidden"}]}"#.to_owned(),
            r#"{"errors": [{"code": "denied", "message": "access forbidden"}]}"#.to_owned(),
            r#"{"errors": [{"code": "UNAUTHORIZED", "message": "access forbidden"}]}"#.to_owned(),
            r#"{"errors": [{"code": ["DENIED"], "message": "access forbidden"}]}"#.to_owned(),
            r#"{"errors": [{"code": "DENIED", "message": ["access forbidden"]}]}"#.to_owned(),
            format!(r#"{{"errors": [{known}, {known}, {ban}]}}"#),
            format!(r#"{{"errors": [{known}, {ban}]}}"#),
            format!(r#"{{"errors": [{ban}, {known}]}}"#),
            format!(r#"{{"errors": [{known}], "errors": [{known}]}}"#),
        ] {
            assert_eq!(Forbidden::read(body.as_bytes()), Forbidden::NoVerdict, "{body}");
        }
        assert_eq!(
            Forbidden::read(format!(r#"{{"errors": [{known}, {known}]}}"#).as_bytes()),
            Forbidden::Nothing
        );
    }
}
