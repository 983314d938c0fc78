//! The behavior of GitLab beyond the registry token protocol. Its token endpoint, `/jwt/auth`, is
//! the only interface of an unmodified GitLab that accepts all six kinds of credential.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::registry_token::TokenServer;
use super::registry_token::reply::{self, Token};
use crate::http_client::{HttpClient, HttpServer};
use crate::identity::guard::failure_budget::FailureBudget;
use crate::identity::guard::shared_guards::SharedGuards;
use crate::strict_json;

/// The user name under which GitLab accepts both personal access tokens and job tokens. GitLab does
/// not count failures of this user name.
pub(super) const TOKEN_USER: &str = "gitlab-ci-token";

/// The `auth_type` of the password of an account. A leaked password gives access to everything, and
/// GitLab does not ask for a second factor here.
const ACCOUNT_PASSWORD: &str = "gitlab_or_ldap";

/// The `auth_type` of a caller without a credential.
const NOBODY: &str = "none";

/// The message of GitLab if a credential is valid but gives no access to the registry.
const ACCESS_FORBIDDEN: &str = "access forbidden";

/// The message of GitLab if a push to one of the requested paths requires a higher role.
const PROTECTED_PATH: &str = "Pushing to protected repository path forbidden";

/// The beginning of GitLab's message if one of the requested projects is too large.
const OVER_QUOTA: &str = "You are above your storage quota!";

/// The meaning of a 403 for the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forbidden {
    /// The credential is valid, and nothing is granted.
    Nothing,
    /// The credential is valid, but one of the repositories made GitLab grant nothing for the whole
    /// question. Separate questions about the others may be granted something.
    OneOfSeveral,
    /// The 403 does not concern the credential: GitLab refused the caller before it checked the
    /// credential, for example because of a ban.
    NoVerdict,
}

impl Forbidden {
    /// Reads the body of a 403. GitLab reports bans (too many failed attempts from a network, too
    /// many sources of one account) with the same code as refusals, so the message decides. One
    /// unknown message makes the whole list count as [`NoVerdict`](Self::NoVerdict).
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
    pub server: HttpServer,
    /// The service that tokens are requested for.
    pub service: String,
    /// `true` if the passwords of accounts are accepted in addition to tokens.
    pub accept_passwords: bool,
    /// `true` if GitLab is asked which repositories callers without a credential may pull.
    pub anonymous: bool,
    /// `true` if GitLab is told the client's address, so that GitLab counts failures and applies
    /// address rules by client.
    pub forward_client_address: bool,
    /// The largest number of wrong credentials that GitLab is asked about within this time; `None`
    /// for no limit.
    pub failure_budget: Option<(u32, Duration)>,
}

impl GitLabSettings {
    /// Returns the URL of GitLab's token endpoint.
    pub fn realm(&self) -> String {
        format!("{}/jwt/auth", self.server.endpoint.url())
    }

    /// Creates the provider. `guards` are those that replicas share.
    ///
    /// # Errors
    /// The system's certificate authorities are needed and cannot be read.
    pub fn build(
        self,
        name: Arc<str>,
        keep_tokens: bool,
        guards: Option<&Arc<SharedGuards>>,
    ) -> io::Result<TokenServer> {
        let (realm, client) = (self.realm(), HttpClient::for_server(&self.server)?);
        let reading = GitLabReading {
            accept_passwords: self.accept_passwords,
            anonymous: self.anonymous,
            forward_client_address: self.forward_client_address,
            failure_budget: self.failure_budget.map(|(count, per)| {
                let budget = FailureBudget::new(count, per);
                match guards {
                    Some(guards) => budget.shared(guards.clone(), realm.as_str().into()),
                    None => budget,
                }
            }),
        };
        let server = TokenServer::new(name, &realm, self.service, client, Some(reading));
        Ok(server.keep_tokens(keep_tokens))
    }
}

/// The settings for a token server that is a GitLab. They affect the questions and the reading of
/// replies.
pub struct GitLabReading {
    /// `true` if the passwords of accounts are accepted in addition to tokens.
    pub accept_passwords: bool,
    /// `true` if GitLab is asked which repositories callers without a credential may pull.
    pub anonymous: bool,
    /// `true` if GitLab is told the client's address.
    pub forward_client_address: bool,
    /// The limit on wrong credentials that GitLab is asked about.
    pub failure_budget: Option<FailureBudget>,
}

impl GitLabReading {
    /// Returns whether the gate refuses the credential although GitLab accepts it.
    pub(super) fn refuses(&self, token: &Token) -> bool {
        !self.accept_passwords && token.credential_type.as_deref() == Some(ACCOUNT_PASSWORD)
    }
}

/// Returns whether a token names no caller. GitLab issues such a token to a caller without a
/// credential.
pub(super) fn is_for_anonymous(token: &Token) -> bool {
    token.subject.is_none() && token.credential_type.as_deref() == Some(NOBODY)
}

/// Returns the subject of a deploy token, which does not belong to a user: `deploy_token:ID`.
pub(super) fn deploy_token(token: &Token) -> Option<Box<str>> {
    let user = reply::claims(token.user.as_deref()?)?;
    let id = user.get("user_info")?.get("deploy_token_id")?.as_u64()?;
    Some(format!("deploy_token:{id}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_403_decides_whether_it_is_a_verdict() {
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
    fn a_403_with_an_unexpected_body_is_not_a_verdict() {
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
