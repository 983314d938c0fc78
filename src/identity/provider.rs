//! The provider types of the config: each in a module of its own, and what they share in
//! [`common`].
//!
//! A new type needs its module, its settings in [`ProviderSettings`] and its questions in
//! [`AnyProvider`]. A provider does not know the cache, the order of the providers or the policy.

pub mod common;
pub mod gitlab;
pub mod htpasswd;
pub mod introspection;
pub mod jwks;
pub mod jwt;
pub mod registry_token;
#[cfg(test)]
mod test_server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::gitlab::GitLabSettings;
use self::htpasswd::{Htpasswd, HtpasswdSettings};
use self::introspection::{Introspection, IntrospectionSettings};
use self::jwt::{Jwt, JwtSettings};
use self::registry_token::{RegistryTokenSettings, TokenServer};
use super::guard::shared_guards::SharedGuards;
use super::model::credential::Credential;
use super::model::keyed_hash::DependsOn;
use super::model::{Question, Verdict};

/// The time for one question to a provider without a server: bcrypt checks wait for each other.
const OFFLINE_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of one provider, by its `type` in the config.
#[derive(Clone, Debug)]
pub enum ProviderSettings {
    GitLab(GitLabSettings),
    RegistryToken(RegistryTokenSettings),
    Introspection(IntrospectionSettings),
    Jwt(JwtSettings),
    Htpasswd(HtpasswdSettings),
}

impl ProviderSettings {
    /// Returns whether the provider asks a server about each credential, whose answers replicas
    /// share. The others decide by what each replica has.
    pub fn asks_a_server(&self) -> bool {
        match self {
            Self::GitLab(_) | Self::RegistryToken(_) | Self::Introspection(_) => true,
            Self::Jwt(_) | Self::Htpasswd(_) => false,
        }
    }

    /// Returns whether two subjects that differ only in case are the same user.
    pub fn folds_case(&self) -> bool {
        matches!(self, Self::GitLab(_))
    }

    /// Returns whether the provider reports the groups of a caller.
    pub fn reports_groups(&self) -> bool {
        match self {
            Self::Introspection(introspection) => introspection.expected.groups_claim.is_some(),
            Self::Jwt(jwt) => jwt.rules.groups_claim.is_some(),
            Self::GitLab(_) | Self::RegistryToken(_) | Self::Htpasswd(_) => false,
        }
    }

    /// Returns whether the provider reports the claims of a caller.
    pub fn reports_claims(&self) -> bool {
        matches!(self, Self::Jwt(_))
    }
}

/// A provider of any type.
pub enum AnyProvider {
    TokenServer(Arc<TokenServer>),
    Htpasswd(Htpasswd),
    Introspection(Introspection),
    Jwt(Jwt),
}

impl ProviderSettings {
    /// Returns the time for one question.
    pub fn timeout(&self) -> Duration {
        match self {
            Self::GitLab(GitLabSettings { server, .. })
            | Self::RegistryToken(RegistryTokenSettings { server, .. })
            | Self::Introspection(IntrospectionSettings { server, .. }) => server.timeout,
            Self::Jwt(jwt) => jwt.timeout,
            Self::Htpasswd(_) => OFFLINE_TIMEOUT,
        }
    }

    /// Creates the provider. It keeps the tokens that it issues if `keep_tokens` is set, because
    /// the upstream is shown them.
    ///
    /// # Errors
    /// The system does not give certificate authorities or randomness, or a setting does not fit
    /// into a header.
    pub fn build(
        self,
        name: Arc<str>,
        keep_tokens: bool,
        guards: Option<&Arc<SharedGuards>>,
    ) -> anyhow::Result<AnyProvider> {
        let token_server = |server| AnyProvider::TokenServer(Arc::new(server));
        Ok(match self {
            Self::GitLab(gitlab) => token_server(gitlab.build(name, keep_tokens, guards)?),
            Self::RegistryToken(server) => token_server(server.build(name, keep_tokens)?),
            Self::Introspection(server) => AnyProvider::Introspection(server.build(name)?),
            Self::Jwt(jwt) => AnyProvider::Jwt(jwt.build(name)?),
            Self::Htpasswd(file) => {
                AnyProvider::Htpasswd(Htpasswd::new(name, file.users, file.scopes)?)
            }
        })
    }
}

impl AnyProvider {
    /// Returns the `type` of the config.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::TokenServer(server) => server.type_name(),
            Self::Htpasswd(_) => "htpasswd",
            Self::Introspection(_) => "introspection",
            Self::Jwt(_) => "jwt",
        }
    }

    /// Returns whether the provider asks a server about each credential.
    pub fn asks_a_server(&self) -> bool {
        match self {
            Self::TokenServer(_) | Self::Introspection(_) => true,
            Self::Jwt(_) | Self::Htpasswd(_) => false,
        }
    }

    /// Returns whether the provider is asked which repositories callers without a credential may
    /// pull.
    pub fn answers_anonymous(&self) -> bool {
        matches!(self, Self::TokenServer(server) if server.answers_anonymous())
    }

    /// Returns whether the user is known to be one of this provider's, without asking a server.
    pub fn knows_user(&self, credential: &Credential) -> bool {
        match (self, credential) {
            (Self::Htpasswd(htpasswd), Credential::Basic { user, .. }) => htpasswd.knows(user),
            _ => false,
        }
    }

    /// Returns whether the provider verifies workload tokens, of any issuer.
    pub fn verifies_jwts(&self) -> bool {
        matches!(self, Self::Jwt(_))
    }

    /// Returns whether JWTs of this issuer go to this provider, and to no other.
    pub fn is_issuer(&self, issuer: &str) -> bool {
        matches!(self, Self::Jwt(jwt) if jwt.is_issuer(issuer))
    }

    /// Returns the parts of a question that the answer depends on, besides the credential.
    pub fn depends_on(&self) -> DependsOn {
        match self {
            Self::TokenServer(server) if server.forwards_client_address() => {
                DependsOn::RepositoryAndAddress
            }
            Self::TokenServer(_) => DependsOn::Repository,
            Self::Htpasswd(_) | Self::Introspection(_) | Self::Jwt(_) => DependsOn::Credential,
        }
    }

    /// Asks the question. `known` says that the provider has verified this secret before, `last`
    /// that no other provider is asked afterwards. Returns the verdict, and the number of questions
    /// that it took besides the first.
    pub async fn ask(&self, question: &Question, known: bool, last: bool) -> (Verdict, u32) {
        match self {
            Self::TokenServer(server) => server.ask(question, known).await,
            Self::Htpasswd(htpasswd) => (htpasswd.ask(question, last).await, 0),
            Self::Introspection(introspection) => (introspection.ask(question).await, 0),
            Self::Jwt(jwt) => (jwt.ask(question).await, 0),
        }
    }

    /// Returns the last error of the provider, if it was met since `begun`.
    pub fn fault_since(&self, begun: Instant) -> Option<String> {
        match self {
            Self::TokenServer(server) => server.last_fault().since(begun),
            // It has no server.
            Self::Htpasswd(_) => None,
            Self::Introspection(introspection) => introspection.last_fault().since(begun),
            Self::Jwt(jwt) => jwt.last_fault().since(begun),
        }
    }

    /// Returns whether the provider answers the gate's own harmless question, which no caller can
    /// make fail.
    pub async fn is_up(&self) -> bool {
        match self {
            Self::TokenServer(server) => server.is_up().await,
            // It has no server.
            Self::Htpasswd(_) => true,
            Self::Introspection(introspection) => introspection.is_up().await,
            Self::Jwt(jwt) => jwt.is_up().await,
        }
    }
}
