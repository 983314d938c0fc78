//! Who verifies credentials.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use secrecy::SecretString;

use super::Endpoint;
use crate::config::format::Rate;
pub use crate::identity::authenticator::Accepts;
use crate::identity::provider::htpasswd::file::HtpasswdFile;
use crate::identity::provider::jwks::KeySet;
use crate::identity::provider::jwt::Tenants;

/// An identity provider.
#[derive(Clone, Debug)]
pub struct Provider {
    /// What logs and metrics call it.
    pub name: String,
    /// The only credentials that it is shown; `None`: all that come to it.
    pub accepts: Option<Accepts>,
    /// How it verifies.
    pub kind: ProviderKind,
}

/// How a provider on the network is asked.
#[derive(Clone, Debug)]
pub struct ProviderHttp {
    /// Where it is.
    pub endpoint: Endpoint,
    /// How long one question may take, connecting included.
    pub timeout: Duration,
}

/// How a provider verifies.
#[derive(Clone, Debug)]
pub enum ProviderKind {
    /// By the token endpoint of a GitLab.
    Gitlab {
        /// GitLab's base address. Its path has no slash at its end.
        http: ProviderHttp,
        /// The service that tokens are asked for.
        service: String,
        /// Whether passwords of accounts are good too.
        accept_passwords: bool,
        /// Whether GitLab is asked what callers without a credential may pull.
        anonymous: bool,
        /// Whether GitLab is told the client's address.
        forward_client_address: bool,
        /// The most wrong credentials that it is asked about.
        failure_budget: Option<Rate>,
    },
    /// By a server of the registry token protocol.
    RegistryToken {
        /// Its token endpoint, the realm.
        http: ProviderHttp,
        /// The service that tokens are asked for.
        service: String,
    },
    /// By token introspection (RFC 7662).
    Introspection {
        /// The introspection endpoint.
        http: ProviderHttp,
        /// What the gate calls itself there. Without control characters.
        client_id: String,
        /// The secret for it, as the file holds it, without the newline at its end.
        client_secret: SecretString,
        /// What the reply's `aud` must hold.
        audience: Option<String>,
        /// Whether the reply's `username` must be the user name that the token was sent with.
        match_username: bool,
        /// Where the reply lists groups.
        groups_claim: Option<String>,
    },
    /// By the signature of a workload token (OpenID Connect).
    Jwt {
        /// Where the issuer's keys come from.
        keys: JwksSource,
        /// How long fetching them may take.
        timeout: Duration,
        /// The `iss` of its tokens, byte for byte. No two providers have the same.
        issuer: String,
        /// The `aud` that its tokens must have.
        audience: String,
        /// Whose tokens of this issuer are good.
        tenants: Tenants,
        /// The signatures accepted, at least one, none of them symmetric.
        algorithms: Vec<Algorithm>,
        /// The claim that says who it is.
        subject_claim: String,
        /// The claim that lists groups.
        groups_claim: Option<String>,
        /// What such a token has; `None`: what its `scope` claim says.
        scopes: Option<Vec<String>>,
    },
    /// By users and hashes of a file.
    Htpasswd {
        /// The users.
        users: HtpasswdFile,
        /// What each of them has.
        scopes: Vec<String>,
    },
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub enum JwksSource {
    /// Fetched from here, and from nowhere else.
    Url(ProviderHttp),
    /// What a file holds.
    File(KeySet),
}
