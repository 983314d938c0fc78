//! Builds the settings of the registry behind the gate, and of the credential that the gate sends
//! to it in place of the caller's.

use secrecy::SecretString;

use super::Build;
use super::foreign::hosts;
use crate::config::problem::shown;
use crate::config::raw;
use crate::config::ready::{UpstreamAuthorization, UpstreamConfig};
use crate::config::url::Scheme;

impl Build<'_> {
    pub(super) fn upstream(
        &mut self,
        raw: &raw::UpstreamSection,
        providers: &[Option<raw::ProviderSection>],
    ) -> Option<UpstreamConfig> {
        let url = raw.urls.as_ref().and_then(|urls| urls.first());
        let authorization = self.authorization(raw, providers);
        self.no_token_settings(raw);
        self.warn_of_wide_hosts("redirect_hosts", &raw.redirect_hosts);
        self.warn_of_wide_hosts("upload_hosts", &raw.upload_hosts);
        if url.is_some_and(|url| url.path.trim_end_matches('/').ends_with("/v2")) {
            let message = "the URL ends in /v2, which the gate adds itself; remove it";
            self.warn("upstream.urls[0]", message);
        }
        let secret = match raw.authorization {
            raw::Authorization::Strip => None,
            raw::Authorization::Token if raw.username.is_none() => None,
            raw::Authorization::Basic => Some("the password for the registry crosses"),
            raw::Authorization::Grant | raw::Authorization::Token => {
                Some("the tokens for the registry cross")
            }
        };
        if let (Some(url), Some(secret)) = (url, secret)
            && url.scheme == Scheme::Http
            && !url.is_loopback()
        {
            self.warn(
                "upstream.urls[0]",
                format!("{secret} the network in the clear; write https://…"),
            );
        }
        let endpoint = self.endpoint(url, raw.ca.as_deref(), "upstream.ca");
        let followed_hosts = self.followed_hosts(raw);
        let way = self.way(raw);
        let client_certificate = self.certificate_for_registry(raw);
        Some(UpstreamConfig {
            endpoint: endpoint?,
            authorization: authorization?,
            identity_headers: raw.identity_headers,
            followed_hosts: followed_hosts?,
            upload_hosts: hosts(&raw.upload_hosts),
            way: way?,
            client_certificate: client_certificate?,
            connect_timeout: raw.connect_timeout.to_std(),
            response_timeout: raw.response_timeout.to_std(),
            upload_response_timeout: raw.upload_response_timeout.to_std(),
        })
    }

    fn authorization(
        &mut self,
        raw: &raw::UpstreamSection,
        providers: &[Option<raw::ProviderSection>],
    ) -> Option<UpstreamAuthorization> {
        match raw.authorization {
            raw::Authorization::Strip => {
                self.no_credential_of_its_own(raw, "strip");
                Some(UpstreamAuthorization::Strip)
            }
            raw::Authorization::Basic => {
                let (username, password) = self.account(raw, "basic")?;
                Some(UpstreamAuthorization::Basic { username, password })
            }
            raw::Authorization::Token => self.token_authorization(raw),
            raw::Authorization::Grant => {
                self.no_credential_of_its_own(raw, "grant");
                // An entry of an unknown type may be meant to issue grants. The unknown type, or a
                // list without providers, was already reported.
                let may_issue =
                    |entry: &Option<raw::ProviderSection>| entry.as_ref().is_none_or(issues_grants);
                if providers.iter().any(may_issue) {
                    self.warn_of_callers_without_grants(providers);
                } else if !providers.is_empty() {
                    let message = "no provider issues the tokens that grant sends to the registry; \
                                   write strip or basic, or add a provider of type gitlab or \
                                   registry_token";
                    self.problem("upstream.authorization", message);
                }
                Some(UpstreamAuthorization::Grant)
            }
        }
    }

    fn warn_of_callers_without_grants(&mut self, providers: &[Option<raw::ProviderSection>]) {
        for (index, provider) in providers.iter().enumerate() {
            if let Some(name) = provider
                .as_ref()
                .filter(|it| !issues_grants(it))
                .and_then(|it| it.common().name.as_ref())
            {
                let message = format!(
                    "`{name}` issues no token that grant could send, so its callers get 502 if the \
                     registry requires a token; remove the provider, or set \
                     upstream.authorization to strip or basic if the registry trusts the gate"
                );
                self.warn(&format!("identity[{index}].name"), message);
            }
        }
    }

    fn no_credential_of_its_own(&mut self, raw: &raw::UpstreamSection, authorization: &str) {
        for (key, value) in [("username", &raw.username), ("password_file", &raw.password_file)] {
            if value.is_some() {
                let message = format!(
                    "it has no effect with authorization: {authorization}; remove this key or \
                     write authorization: basic or token"
                );
                self.problem(&format!("upstream.{key}"), message);
            }
        }
    }

    /// Returns the user name and the password of the gate's own account at the registry.
    pub(super) fn account(
        &mut self,
        raw: &raw::UpstreamSection,
        authorization: &str,
    ) -> Option<(String, SecretString)> {
        let given = [("username", &raw.username), ("password_file", &raw.password_file)];
        for (key, _) in given.iter().filter(|(_, value)| value.is_none()) {
            // A malformed value was already reported at its own place.
            if !self.is_reported(&format!("upstream.{key}")) {
                let message = format!(
                    "{authorization} needs `upstream.{key}`, which is missing; set it, or {}",
                    if authorization == "token" { "remove both" } else { "write strip" }
                );
                self.problem("upstream.authorization", message);
            }
        }
        let username = raw.username.as_deref().and_then(|username| self.username(username));
        let password = raw
            .password_file
            .as_deref()
            .and_then(|file| self.secret("upstream.password_file", file));
        Some((username?, password?))
    }

    /// Checks the user name. By RFC 7617, a colon ends it, and it cannot contain control
    /// characters.
    fn username(&mut self, username: &str) -> Option<String> {
        if username.contains(':') || username.contains(char::is_control) {
            let message = format!(
                "`{}` contains a colon or a control character; write the name without it",
                shown(username)
            );
            self.problem("upstream.username", message);
            return None;
        }
        Some(username.to_owned())
    }
}

/// Returns whether the provider's answers contain tokens that a registry accepts.
fn issues_grants(provider: &raw::ProviderSection) -> bool {
    match provider {
        raw::ProviderSection::Gitlab(_) | raw::ProviderSection::RegistryToken(_) => true,
        raw::ProviderSection::Introspection(_)
        | raw::ProviderSection::Jwt(_)
        | raw::ProviderSection::Htpasswd(_) => false,
    }
}
