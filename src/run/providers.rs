//! From a provider's part of the config to the provider.

use std::io;
use std::sync::Arc;

use anyhow::Context as _;

use super::endpoint::{roots, url};
use crate::config::{self, JwksSource, ProviderHttp, ProviderKind};
use crate::identity::authenticator::{self, Provider};
use crate::identity::guard::failure_budget::FailureBudget;
use crate::identity::provider::common::http_client::ProviderClient;
use crate::identity::provider::gitlab::{self, GitLabReading};
use crate::identity::provider::htpasswd::Htpasswd;
use crate::identity::provider::introspection::{Expected, Introspection};
use crate::identity::provider::jwks::fetcher::{Keys, RefreshIntervals};
use crate::identity::provider::jwt::{Jwt, Rules};
use crate::identity::provider::registry_token::TokenServer;
use crate::net::client_tls;

/// How long a provider that asks nobody may take: bcrypt has a queue.
const OFFLINE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// The share of a question's time that a fetch of keys may take. It ends before the question that
/// waits for it: that the issuer does not answer must not look like an outage, for tokens whose
/// keys are known need nobody, and a breaker would stop them too.
const FETCH_SHARE: f64 = 0.8;

/// Builds what the config describes. `keep_tokens`: the registry is shown what a token server
/// issues. `ask_about_nobody`: its word counts about callers without a credential.
///
/// # Errors
/// What the system does not give: roots, randomness.
pub(super) fn provider(
    provider: config::Provider,
    keep_tokens: bool,
    ask_about_nobody: bool,
) -> anyhow::Result<Provider> {
    let name: Arc<str> = provider.name.into();
    let mut patience = OFFLINE_PATIENCE;
    let kind = match provider.kind {
        ProviderKind::Gitlab {
            http,
            service,
            accept_passwords,
            forward_client_address,
            failure_budget,
            anonymous,
        } => {
            patience = http.timeout;
            let failure_budget =
                failure_budget.map(|rate| FailureBudget::new(rate.count, rate.per));
            let anonymous = anonymous && ask_about_nobody;
            let reading = GitLabReading {
                accept_passwords,
                anonymous,
                forward_client_address,
                failure_budget,
            };
            let realm = gitlab::realm(&url(&http.endpoint));
            let client = provider_client(&http)?;
            let server = TokenServer::new(name.clone(), &realm, service, client, Some(reading))
                .keep_tokens(keep_tokens);
            authenticator::ProviderKind::TokenServer(Arc::new(server))
        }
        ProviderKind::RegistryToken { http, service } => {
            patience = http.timeout;
            let (realm, client) = (url(&http.endpoint), provider_client(&http)?);
            let server = TokenServer::new(name.clone(), &realm, service, client, None)
                .keep_tokens(keep_tokens);
            authenticator::ProviderKind::TokenServer(Arc::new(server))
        }
        ProviderKind::Htpasswd { users, scopes } => {
            authenticator::ProviderKind::Htpasswd(Htpasswd::new(name.clone(), users, scopes)?)
        }
        ProviderKind::Introspection {
            http,
            client_id,
            client_secret,
            audience,
            match_username,
            groups_claim,
        } => {
            patience = http.timeout;
            let (url, client) = (url(&http.endpoint), provider_client(&http)?);
            let expected = Expected { audience, match_username, groups_claim };
            let introspection =
                Introspection::new(name.clone(), url, client_id, &client_secret, expected, client);
            authenticator::ProviderKind::Introspection(
                introspection.context("identity: client_id cannot stand in a header")?,
            )
        }
        ProviderKind::Jwt {
            keys,
            timeout,
            issuer,
            audience,
            tenants,
            algorithms,
            subject_claim,
            groups_claim,
            scopes,
        } => {
            patience = timeout;
            let keys = match keys {
                JwksSource::File(keys) => Keys::fixed(keys),
                JwksSource::Url(http) => {
                    let http = ProviderHttp { timeout: timeout.mul_f64(FETCH_SHARE), ..http };
                    Keys::fetched(
                        name.clone(),
                        url(&http.endpoint),
                        provider_client(&http)?,
                        RefreshIntervals::default(),
                    )
                }
            };
            let rules = Rules {
                issuer,
                audience,
                tenants,
                algorithms,
                subject_claim,
                groups_claim,
                scopes,
            };
            authenticator::ProviderKind::Jwt(Jwt::new(name.clone(), rules, keys))
        }
    };
    Ok(Provider::new(name, kind, patience, provider.accepts))
}

/// A client for a provider's server.
///
/// # Errors
/// Where the system's roots are needed and cannot be read.
pub(crate) fn provider_client(http: &ProviderHttp) -> io::Result<ProviderClient> {
    Ok(ProviderClient::new(client_tls::config(roots(&http.endpoint)?)?, http.timeout))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::path::Path;

    use secrecy::SecretString;
    use serde_json::json;
    use tokio::runtime::Handle;

    use super::*;
    use crate::config::load_text;
    use crate::demo::introspection::{CLIENT_SECRET, Introspection as IntrospectionServer};
    use crate::demo::issuer::OidcIssuer;
    use crate::identity::authenticator::{CacheUse, Identity};
    use crate::identity::model::credential::Credential;
    use crate::identity::model::keyed_hash::HashKey;
    use crate::metrics::Metrics;
    use crate::registry::Access;

    /// The groups of whoever presents this token to the one provider of a config.
    async fn groups(provider_lines: &str, token: String) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), CLIENT_SECRET).unwrap();
        let text = format!(
            "version: 1\nhttp: {{ external_url: http://localhost }}\nupstream: {{ urls: [http://127.0.0.1:9] }}\n\
             identity:\n  - {{ {provider_lines} }}\n"
        );
        let config = load_text(&text, Path::new("test.yml"), folder.path(), []).unwrap().config;
        let providers = config
            .identity
            .into_iter()
            .map(|it| Arc::new(provider(it, false, true).unwrap()))
            .collect();
        let limits = config.cache;
        let key = HashKey::random().unwrap();
        let identity =
            Identity::new(providers, limits, key, Arc::new(Metrics::new()), Handle::current());
        let credential = Credential::Bearer(SecretString::from(token));
        let question =
            identity.question(credential, Access::Login, Ipv4Addr::LOCALHOST.into(), "test".into());
        let verified = identity.verify(&question, &mut CacheUse::None).await.unwrap();
        verified.attributes.as_ref().map(|attributes| attributes.groups.clone()).unwrap_or_default()
    }

    fn listener() -> TcpListener {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
    }

    /// Rules will ask for them; until then nothing else tells that the key reaches the provider.
    #[tokio::test]
    async fn groups_claim_arrives() {
        let sso = IntrospectionServer::start(listener()).unwrap();
        let of_sso = |more: &str| {
            let lines = format!(
                "name: sso, type: introspection, url: \"{}\", client_secret_file: secret{more}",
                sso.url()
            );
            async move { groups(&lines, "sso-demo-read-write".to_owned()).await }
        };
        assert_eq!(of_sso("").await, ["developers"], "`groups` is the default");
        assert_eq!(of_sso(", groups_claim: null").await, [""; 0]);

        let issuer = OidcIssuer::start(listener()).unwrap();
        let token = issuer.id_token("a", &json!({ "teams": ["ops", "ci"] })).unwrap();
        let lines = |more: &str| {
            format!(
                "name: jobs, type: jwt, issuer: \"{}\", jwks_url: \"{}\", audience: a, any_tenant: true{more}",
                issuer.url(),
                issuer.jwks_url()
            )
        };
        assert_eq!(groups(&lines(", groups_claim: teams"), token.clone()).await, ["ops", "ci"]);
        assert_eq!(groups(&lines(""), token).await, [""; 0]);
    }
}
