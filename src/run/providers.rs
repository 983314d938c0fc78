//! The providers of a configuration.

use std::sync::Arc;

use crate::config;
use crate::identity::authenticator::ManagedProvider;
use crate::identity::guard::shared_guards::SharedGuards;
use crate::identity::provider::ProviderSettings;

/// Creates a provider of the config. It keeps the tokens that it issues if `keep_tokens` is `true`.
/// It is asked about callers without a credential only if `ask_about_anonymous` is `true`.
///
/// # Errors
/// If the system cannot provide certificate authorities or randomness.
pub(super) fn provider(
    provider: config::Provider,
    keep_tokens: bool,
    ask_about_anonymous: bool,
    guards: Option<&Arc<SharedGuards>>,
) -> anyhow::Result<ManagedProvider> {
    let config::Provider { name, accepts, mut settings } = provider;
    if let ProviderSettings::GitLab(gitlab) = &mut settings {
        gitlab.anonymous &= ask_about_anonymous;
    }
    let (name, timeout): (Arc<str>, _) = (name.into(), settings.timeout());
    Ok(ManagedProvider::new(
        name.clone(),
        settings.build(name, keep_tokens, guards)?,
        timeout,
        accepts,
    ))
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
    use crate::identity::authenticator::{Authenticator, CacheUse};
    use crate::identity::model::credential::Credential;
    use crate::identity::model::keyed_hash::HashKey;
    use crate::metrics::Metrics;
    use crate::registry::Access;

    /// Returns the groups of a caller who presents this token to the one provider of a config.
    async fn groups(provider_lines: &str, token: String) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), CLIENT_SECRET).unwrap();
        let text = format!(
            "version: 1\nhttp: {{ external_url: http://localhost }}\n\
             upstream: {{ urls: [http://127.0.0.1:9] }}\n\
             identity:\n  - {{ {provider_lines} }}\n"
        );
        let config = load_text(&text, Path::new("test.yml"), folder.path(), []).unwrap().config;
        let providers = config
            .identity
            .into_iter()
            .map(|it| Arc::new(provider(it, false, true, None).unwrap()))
            .collect();
        let limits = config.cache;
        let key = HashKey::random().unwrap();
        let identity =
            Authenticator::new(providers, limits, key, Arc::new(Metrics::new()), Handle::current());
        let credential = Credential::Bearer(SecretString::from(token));
        let question =
            identity.question(credential, Access::Login, Ipv4Addr::LOCALHOST.into(), "test".into());
        let verified = identity.verify(&question, &mut CacheUse::None).await.unwrap();
        verified.attributes.as_ref().map(|attributes| attributes.groups.clone()).unwrap_or_default()
    }

    fn listener() -> TcpListener {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
    }

    /// The key `groups_claim` of the config must reach the provider.
    #[tokio::test]
    async fn groups_claim_reaches_the_provider() {
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
        let claims = json!({ "teams": ["ops", "ci"], "realm_access": { "roles": ["dev"] } });
        let token = issuer.id_token("a", &claims).unwrap();
        let lines = |more: &str| {
            format!(
                "name: jobs, type: jwt, issuer: \"{}\", jwks_url: \"{}\", audience: a, \
                 any_tenant: true{more}",
                issuer.url(),
                issuer.jwks_url()
            )
        };
        assert_eq!(groups(&lines(", groups_claim: teams"), token.clone()).await, ["ops", "ci"]);
        let within = lines(", groups_claim: /realm_access/roles");
        assert_eq!(groups(&within, token.clone()).await, ["dev"]);
        assert_eq!(groups(&lines(""), token).await, [""; 0]);
    }
}
