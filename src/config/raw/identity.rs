//! `identity`: the types of provider and their keys.
//!
//! Keys that several types have are flattened into each of them, so that they are declared and
//! described only once.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ScopeList;
use crate::config::format::{Duration, JwtAlgorithm, ProviderName, Rate, UpToADay};
use crate::config::url::{IssuerUrl, ServerUrl};

/// An identity provider, which verifies credentials.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(in crate::config) enum ProviderSection {
    Gitlab(GitlabSection),
    RegistryToken(RegistryTokenSection),
    Introspection(IntrospectionSection),
    Jwt(JwtSection),
    Htpasswd(HtpasswdSection),
}

/// The keys that every provider has.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(in crate::config) struct CommonSection {
    /// The name of the provider in logs and metrics; unique.
    #[schemars(required)]
    pub(in crate::config) name: Option<ProviderName>,
    /// The only credentials that the provider is shown; null: every credential that reaches it.
    pub(in crate::config) accepts: Option<AcceptsSection>,
}

/// The credentials that a provider is shown. A listed user or a listed prefix suffices.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct AcceptsSection {
    /// The user names of Basic credentials, exactly as they are sent.
    #[schemars(
        extend("items" = { "type": "string", "minLength": 1, "examples": ["gitlab-ci-token"] })
    )]
    pub(in crate::config) users: Vec<String>,
    /// The prefixes of passwords and Bearer tokens.
    #[schemars(extend("items" = { "type": "string", "minLength": 1, "examples": ["glpat-"] }))]
    pub(in crate::config) prefixes: Vec<String>,
}

/// The keys that every provider on the network has.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(in crate::config) struct ServerSection {
    /// The longest time for one question to the provider.
    pub(in crate::config) timeout: Duration,
    /// A PEM file with the authorities that may issue the server's certificate; null: those of the
    /// system.
    #[schemars(length(min = 1), extend("format" = "file", "examples" = ["ca.pem"]))]
    pub(in crate::config) ca: Option<String>,
    /// True if plain HTTP to another machine is allowed. Questions and answers then cross the
    /// network unencrypted.
    pub(in crate::config) insecure: bool,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self { timeout: Duration::seconds(2), ca: None, insecure: false }
    }
}

/// An unmodified GitLab, which is asked through its token endpoint.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct GitlabSection {
    #[serde(flatten)]
    pub(in crate::config) common: CommonSection,
    /// The URL of GitLab; it may have a path.
    #[schemars(required)]
    pub(in crate::config) url: Option<ServerUrl>,
    /// The service for which the gate requests tokens.
    #[schemars(length(min = 1), extend("examples" = ["container_registry"]))]
    pub(in crate::config) service: String,
    /// True if the passwords of accounts are accepted in addition to tokens.
    pub(in crate::config) accept_passwords: bool,
    /// True if GitLab is asked what callers without a credential may pull.
    pub(in crate::config) anonymous: bool,
    /// True if GitLab is sent the client's address in X-Forwarded-For. GitLab's address rules then
    /// apply to clients.
    pub(in crate::config) forward_client_address: bool,
    /// The largest rate of wrong credentials that the whole gate asks GitLab about; null: no
    /// limit.
    pub(in crate::config) failure_budget: Option<Rate>,
    #[serde(flatten)]
    pub(in crate::config) server: ServerSection,
}

impl Default for GitlabSection {
    fn default() -> Self {
        Self {
            common: CommonSection::default(),
            url: None,
            // GitLab's own name for its registry.
            service: "container_registry".to_owned(),
            accept_passwords: false,
            anonymous: false,
            forward_client_address: true,
            failure_budget: None,
            server: ServerSection::default(),
        }
    }
}

/// A server of the registry token protocol, such as Harbor or docker_auth.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct RegistryTokenSection {
    #[serde(flatten)]
    pub(in crate::config) common: CommonSection,
    /// The URL of the server's token endpoint, which is the realm in its challenge.
    #[schemars(required, extend("examples" = ["https://harbor.example.com/service/token"]))]
    pub(in crate::config) realm: Option<ServerUrl>,
    /// The service in the server's challenge.
    #[schemars(required, length(min = 1), extend("examples" = ["harbor-registry"]))]
    pub(in crate::config) service: Option<String>,
    #[serde(flatten)]
    pub(in crate::config) server: ServerSection,
}

/// Token introspection (RFC 7662).
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct IntrospectionSection {
    #[serde(flatten)]
    pub(in crate::config) common: CommonSection,
    /// The URL of the introspection endpoint.
    #[schemars(required, extend("examples" = ["https://sso.example.com/oauth2/introspect"]))]
    pub(in crate::config) url: Option<ServerUrl>,
    /// The client id of the gate at the introspection endpoint.
    #[schemars(length(min = 1), extend("examples" = ["moorgate"]))]
    pub(in crate::config) client_id: String,
    /// A file with the client secret, in one line.
    #[schemars(length(min = 1), extend("format" = "file", "examples" = ["introspection.secret"]))]
    pub(in crate::config) client_secret_file: String,
    /// The value that the reply's aud must contain; null: aud is not checked.
    #[schemars(length(min = 1), extend("examples" = ["registry.example.com"]))]
    pub(in crate::config) audience: Option<String>,
    /// True if the reply's username must equal the user name that was sent with the token.
    pub(in crate::config) match_username: bool,
    /// The claim of the reply that lists groups, a name or a JSON pointer; null: callers have no
    /// groups.
    #[schemars(length(min = 1), extend("examples" = ["groups"]))]
    pub(in crate::config) groups_claim: Option<String>,
    #[serde(flatten)]
    pub(in crate::config) server: ServerSection,
}

impl Default for IntrospectionSection {
    fn default() -> Self {
        Self {
            common: CommonSection::default(),
            url: None,
            client_id: "moorgate".to_owned(),
            client_secret_file: "introspection.secret".to_owned(),
            audience: None,
            match_username: false,
            groups_claim: Some("groups".to_owned()),
            server: ServerSection::default(),
        }
    }
}

/// Workload tokens of an OpenID Connect issuer: GitLab id_tokens, GitHub Actions, Kubernetes.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct JwtSection {
    #[serde(flatten)]
    pub(in crate::config) common: CommonSection,
    /// The issuer, exactly as in the iss of its tokens.
    #[schemars(required)]
    pub(in crate::config) issuer: Option<IssuerUrl>,
    /// The URL of the issuer's keys. Set either this or jwks_file.
    #[schemars(extend("examples" = ["https://gitlab.example.com/oauth/discovery/keys"]))]
    pub(in crate::config) jwks_url: Option<ServerUrl>,
    /// A file with the issuer's keys, a JSON Web Key Set. Set either this or jwks_url.
    #[schemars(length(min = 1), extend("format" = "file", "examples" = ["jwks.json"]))]
    pub(in crate::config) jwks_file: Option<String>,
    /// The aud that the issuer's tokens must have.
    #[schemars(required, length(min = 1), extend("examples" = ["registry.example.com"]))]
    pub(in crate::config) audience: Option<String>,
    /// The other claims that a token must have, each with its allowed values: a name or a JSON
    /// pointer, such as /kubernetes.io/namespace, and patterns in which * matches any text without
    /// / and :, and ** any text. Set either this or any_tenant.
    #[schemars(length(min = 1))]
    pub(in crate::config) required_claims: Option<BTreeMap<String, ClaimValues>>,
    /// True if every token of the issuer for this audience is accepted. Every person can get a
    /// token from a shared issuer.
    pub(in crate::config) any_tenant: bool,
    /// The signature algorithms that are accepted.
    #[schemars(length(min = 1))]
    pub(in crate::config) algorithms: Vec<JwtAlgorithm>,
    /// The claim that identifies the caller, a name or a JSON pointer.
    #[schemars(length(min = 1), extend("examples" = ["sub"]))]
    pub(in crate::config) subject_claim: String,
    /// The claim that lists groups, a name or a JSON pointer; null: callers have no groups.
    #[schemars(length(min = 1), extend("examples" = ["groups"]))]
    pub(in crate::config) groups_claim: Option<String>,
    /// The scopes that every token has; null: those of the token's own scope claim.
    pub(in crate::config) scopes: Option<ScopeList>,
    /// The time from its iat for which a token stays valid in what the gate sealed while it was
    /// valid, 1s to 24h; 0s: it ends with its exp there too.
    pub(in crate::config) session: UpToADay,
    #[serde(flatten)]
    pub(in crate::config) server: ServerSection,
}

impl Default for JwtSection {
    fn default() -> Self {
        Self {
            common: CommonSection::default(),
            issuer: None,
            jwks_url: None,
            jwks_file: None,
            audience: None,
            required_claims: None,
            any_tenant: false,
            // The algorithms that issuers sign with. Every further algorithm is one more way to
            // attack.
            algorithms: vec![
                JwtAlgorithm(jsonwebtoken::Algorithm::RS256),
                JwtAlgorithm(jsonwebtoken::Algorithm::ES256),
            ],
            subject_claim: "sub".to_owned(),
            groups_claim: None,
            scopes: None,
            session: UpToADay::seconds(0),
            server: ServerSection::default(),
        }
    }
}

/// The values that a claim may have. An empty list would let no caller in.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(transparent)]
#[schemars(extend(
    "minItems" = 1,
    "items" = { "type": "string", "minLength": 1, "examples": ["42"] }
))]
pub(in crate::config) struct ClaimValues(pub(in crate::config) Vec<String>);

/// Users and bcrypt hashes in a file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct HtpasswdSection {
    #[serde(flatten)]
    pub(in crate::config) common: CommonSection,
    /// A file with USER:HASH lines. The hashes must be bcrypt.
    #[schemars(required, length(min = 1), extend("format" = "file", "examples" = ["htpasswd"]))]
    pub(in crate::config) file: Option<String>,
    /// The scopes that every user of the file has.
    #[schemars(required)]
    pub(in crate::config) scopes: Option<ScopeList>,
}

impl ProviderSection {
    pub(in crate::config) fn common(&self) -> &CommonSection {
        match self {
            Self::Gitlab(GitlabSection { common, .. })
            | Self::RegistryToken(RegistryTokenSection { common, .. })
            | Self::Introspection(IntrospectionSection { common, .. })
            | Self::Jwt(JwtSection { common, .. })
            | Self::Htpasswd(HtpasswdSection { common, .. }) => common,
        }
    }

    /// Returns every file that the provider names.
    pub(in crate::config) fn files(&mut self) -> Vec<&mut String> {
        match self {
            Self::Gitlab(GitlabSection { server, .. })
            | Self::RegistryToken(RegistryTokenSection { server, .. }) => {
                server.ca.iter_mut().collect()
            }
            Self::Introspection(IntrospectionSection { client_secret_file, server, .. }) => {
                server.ca.iter_mut().chain([client_secret_file]).collect()
            }
            Self::Jwt(JwtSection { jwks_file, server, .. }) => {
                server.ca.iter_mut().chain(jwks_file).collect()
            }
            Self::Htpasswd(HtpasswdSection { file, .. }) => file.iter_mut().collect(),
        }
    }
}
