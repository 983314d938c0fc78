//! `identity`: the kinds of provider and their keys.
//!
//! What several kinds have in common is flattened into each, so that it is written, and described,
//! once.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ScopeList;
use crate::config::format::{Duration, JwtAlgorithm, ProviderName, Rate};
use crate::config::url::{IssuerUrl, ServerUrl};

/// Who verifies credentials.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(in crate::config) enum Provider {
    Gitlab(Gitlab),
    RegistryToken(RegistryToken),
    Introspection(Introspection),
    Jwt(Jwt),
    Htpasswd(Htpasswd),
}

/// What every provider has.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(in crate::config) struct Common {
    /// What logs and metrics call it; unique.
    #[schemars(required)]
    pub(in crate::config) name: Option<ProviderName>,
    /// The only credentials that it is shown; null: all that come to it.
    pub(in crate::config) accepts: Option<Accepts>,
}

/// Credentials that a provider is shown: a listed user or a listed prefix suffices.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Accepts {
    /// User names of Basic credentials, exactly as they are sent.
    #[schemars(extend("items" = { "type": "string", "minLength": 1, "examples": ["gitlab-ci-token"] }))]
    pub(in crate::config) users: Vec<String>,
    /// What passwords and Bearer tokens begin with.
    #[schemars(extend("items" = { "type": "string", "minLength": 1, "examples": ["glpat-"] }))]
    pub(in crate::config) prefixes: Vec<String>,
}

/// What every provider on the network has.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(in crate::config) struct Server {
    /// How long one question may take.
    pub(in crate::config) timeout: Duration,
    /// A PEM file of the authorities that its certificate may come from; null: the system's.
    #[schemars(length(min = 1), extend("examples" = ["ca.pem"]))]
    pub(in crate::config) ca: Option<String>,
    /// Allows plain http to another machine: what is sent and answered then crosses the network in
    /// the clear.
    pub(in crate::config) insecure: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self { timeout: Duration::seconds(2), ca: None, insecure: false }
    }
}

/// Any unmodified GitLab, through its token endpoint.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Gitlab {
    #[serde(flatten)]
    pub(in crate::config) common: Common,
    /// Where GitLab is; it may have a path.
    #[schemars(required)]
    pub(in crate::config) url: Option<ServerUrl>,
    /// The service that tokens are asked for.
    #[schemars(length(min = 1), extend("examples" = ["container_registry"]))]
    pub(in crate::config) service: String,
    /// Whether the passwords of accounts are good too, beside tokens.
    pub(in crate::config) accept_passwords: bool,
    /// Whether GitLab is asked what callers without a credential may pull.
    pub(in crate::config) anonymous: bool,
    /// Whether GitLab is told the client's address (X-Forwarded-For); its address rules then apply
    /// to clients.
    pub(in crate::config) forward_client_address: bool,
    /// The most wrong credentials that the whole gate asks it about; null: no limit.
    pub(in crate::config) failure_budget: Option<Rate>,
    #[serde(flatten)]
    pub(in crate::config) server: Server,
}

impl Default for Gitlab {
    fn default() -> Self {
        Self {
            common: Common::default(),
            url: None,
            // What GitLab itself calls its registry.
            service: "container_registry".to_owned(),
            accept_passwords: false,
            anonymous: false,
            forward_client_address: true,
            failure_budget: None,
            server: Server::default(),
        }
    }
}

/// Any server of the registry token protocol: Harbor, docker_auth and others.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct RegistryToken {
    #[serde(flatten)]
    pub(in crate::config) common: Common,
    /// Its token endpoint: the realm that it names in its challenge.
    #[schemars(required, extend("examples" = ["https://harbor.example.com/service/token"]))]
    pub(in crate::config) realm: Option<ServerUrl>,
    /// The service that it names there.
    #[schemars(required, length(min = 1), extend("examples" = ["harbor-registry"]))]
    pub(in crate::config) service: Option<String>,
    #[serde(flatten)]
    pub(in crate::config) server: Server,
}

/// Token introspection (RFC 7662).
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Introspection {
    #[serde(flatten)]
    pub(in crate::config) common: Common,
    /// The introspection endpoint.
    #[schemars(required, extend("examples" = ["https://sso.example.com/oauth2/introspect"]))]
    pub(in crate::config) url: Option<ServerUrl>,
    /// What the gate calls itself there.
    #[schemars(length(min = 1), extend("examples" = ["moorgate"]))]
    pub(in crate::config) client_id: String,
    /// A file that holds the secret for it, in one line.
    #[schemars(length(min = 1), extend("examples" = ["introspection.secret"]))]
    pub(in crate::config) client_secret_file: String,
    /// What the reply's aud must hold; null: it is not looked at.
    #[schemars(length(min = 1), extend("examples" = ["registry.example.com"]))]
    pub(in crate::config) audience: Option<String>,
    /// Whether the reply's username must be the user name that the token was sent with.
    pub(in crate::config) match_username: bool,
    /// Where the reply lists groups; null: nowhere.
    #[schemars(length(min = 1), extend("examples" = ["groups"]))]
    pub(in crate::config) groups_claim: Option<String>,
    #[serde(flatten)]
    pub(in crate::config) server: Server,
}

impl Default for Introspection {
    fn default() -> Self {
        Self {
            common: Common::default(),
            url: None,
            client_id: "moorgate".to_owned(),
            client_secret_file: "introspection.secret".to_owned(),
            audience: None,
            match_username: false,
            groups_claim: Some("groups".to_owned()),
            server: Server::default(),
        }
    }
}

/// Workload tokens of an OpenID Connect issuer: GitLab id_tokens, GitHub Actions, Kubernetes.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Jwt {
    #[serde(flatten)]
    pub(in crate::config) common: Common,
    /// The iss of its tokens, exactly as it stands there.
    #[schemars(required)]
    pub(in crate::config) issuer: Option<IssuerUrl>,
    /// Where its keys are; this or jwks_file.
    #[schemars(extend("examples" = ["https://gitlab.example.com/oauth/discovery/keys"]))]
    pub(in crate::config) jwks_url: Option<ServerUrl>,
    /// A file with its keys, a JSON Web Key Set; this or jwks_url.
    #[schemars(length(min = 1), extend("examples" = ["jwks.json"]))]
    pub(in crate::config) jwks_file: Option<String>,
    /// The aud that its tokens must have.
    #[schemars(required, length(min = 1), extend("examples" = ["registry.example.com"]))]
    pub(in crate::config) audience: Option<String>,
    /// What other claims must be, each one of the texts listed; this or any_tenant.
    #[schemars(length(min = 1))]
    pub(in crate::config) required_claims: Option<BTreeMap<String, ClaimValues>>,
    /// Lets in every token of the issuer for this audience; where the issuer is shared, that is
    /// anybody.
    pub(in crate::config) any_tenant: bool,
    /// The signatures accepted.
    #[schemars(length(min = 1))]
    pub(in crate::config) algorithms: Vec<JwtAlgorithm>,
    /// The claim that says who it is.
    #[schemars(length(min = 1), extend("examples" = ["sub"]))]
    pub(in crate::config) subject_claim: String,
    /// The claim that lists groups; null: none does.
    #[schemars(length(min = 1), extend("examples" = ["groups"]))]
    pub(in crate::config) groups_claim: Option<String>,
    /// What such a token has; null: what its own scope claim says.
    pub(in crate::config) scopes: Option<ScopeList>,
    #[serde(flatten)]
    pub(in crate::config) server: Server,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            common: Common::default(),
            issuer: None,
            jwks_url: None,
            jwks_file: None,
            audience: None,
            required_claims: None,
            any_tenant: false,
            // What issuers sign with. Every further one is one more way in.
            algorithms: vec![
                JwtAlgorithm(jsonwebtoken::Algorithm::RS256),
                JwtAlgorithm(jsonwebtoken::Algorithm::ES256),
            ],
            subject_claim: "sub".to_owned(),
            groups_claim: None,
            scopes: None,
            server: Server::default(),
        }
    }
}

/// The values that a claim may have: an empty list would let nobody in.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(transparent)]
#[schemars(extend("minItems" = 1, "items" = { "type": "string", "minLength": 1, "examples": ["42"] }))]
pub(in crate::config) struct ClaimValues(pub(in crate::config) Vec<String>);

/// Users and bcrypt hashes in a file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Htpasswd {
    #[serde(flatten)]
    pub(in crate::config) common: Common,
    /// The file: USER:HASH lines, bcrypt only.
    #[schemars(required, length(min = 1), extend("examples" = ["htpasswd"]))]
    pub(in crate::config) file: Option<String>,
    /// What its users have.
    #[schemars(required)]
    pub(in crate::config) scopes: Option<ScopeList>,
}

impl Provider {
    pub(in crate::config) fn common(&self) -> &Common {
        match self {
            Self::Gitlab(Gitlab { common, .. })
            | Self::RegistryToken(RegistryToken { common, .. })
            | Self::Introspection(Introspection { common, .. })
            | Self::Jwt(Jwt { common, .. })
            | Self::Htpasswd(Htpasswd { common, .. }) => common,
        }
    }

    /// Every file that it names.
    pub(in crate::config) fn files(&mut self) -> Vec<&mut String> {
        match self {
            Self::Gitlab(Gitlab { server, .. })
            | Self::RegistryToken(RegistryToken { server, .. }) => server.ca.iter_mut().collect(),
            Self::Introspection(Introspection { client_secret_file, server, .. }) => {
                server.ca.iter_mut().chain([client_secret_file]).collect()
            }
            Self::Jwt(Jwt { jwks_file, server, .. }) => {
                server.ca.iter_mut().chain(jwks_file).collect()
            }
            Self::Htpasswd(Htpasswd { file, .. }) => file.iter_mut().collect(),
        }
    }
}
