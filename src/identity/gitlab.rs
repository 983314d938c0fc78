//! What is known of GitLab beyond the registry token protocol. Its token endpoint, `/jwt/auth`, is the one interface of
//! an unmodified GitLab that knows all six kinds of credential.

use super::failure_budget::FailureBudget;
use super::registry_token::reply::{self, Token};

/// The user name with which GitLab takes both personal access tokens and job tokens, and whose failures it does not count.
pub(super) const TOKEN_USER: &str = "gitlab-ci-token";

/// What GitLab calls a credential that is the password of an account. One that leaks opens everything, and no second
/// factor is asked for here.
const ACCOUNT_PASSWORD: &str = "gitlab_or_ldap";

/// The token endpoint of the GitLab at `url`, which may have a path, and no slash at its end.
pub fn realm(url: &str) -> String {
    format!("{url}/jwt/auth")
}

/// How a GitLab is asked and read.
pub struct GitLabReading {
    /// Whether passwords of accounts are good too, beside tokens.
    pub accept_passwords: bool,
    /// Whether it is asked what callers without a credential may pull.
    pub anonymous: bool,
    /// Whether it is told the client's address, and so counts failures and judges addresses by client.
    pub forward_client_address: bool,
    /// The most wrong credentials that it is asked about.
    pub failure_budget: Option<FailureBudget>,
}

impl GitLabReading {
    /// Whether the credential is one that is not accepted here, though GitLab vouches for it.
    pub(super) fn refuses(&self, token: &Token) -> bool {
        !self.accept_passwords && token.credential_type.as_deref() == Some(ACCOUNT_PASSWORD)
    }
}

/// The subject of a deploy token, which belongs to nobody: `deploy_token:ID`.
pub(super) fn deploy_token(token: &Token) -> Option<Box<str>> {
    let user = reply::claims(token.user.as_deref()?)?;
    let id = user.get("user_info")?.get("deploy_token_id")?.as_u64()?;
    Some(format!("deploy_token:{id}").into())
}
