//! Builds the settings for registries that ask for tokens, redirect, lead uploads elsewhere, or lie
//! behind a proxy.

use std::sync::Arc;

use http::HeaderValue;
use rustls::sign::CertifiedKey;
use secrecy::ExposeSecret;

use super::Build;
use crate::config::format::HostEntry;
use crate::config::raw;
use crate::config::ready::UpstreamAuthorization;
use crate::config::url::Scheme;
use crate::http_client::{Proxy, Way};
use crate::identity::model::credential::basic;
use crate::net::host_list::HostList;

/// The registry of Docker Hub, and its token server.
const DOCKER_HUB: (&str, &str) = ("registry-1.docker.io", "auth.docker.io");

impl Build<'_> {
    /// Builds the settings for `authorization: token`.
    pub(super) fn token_authorization(
        &mut self,
        raw: &raw::UpstreamSection,
    ) -> Option<UpstreamAuthorization> {
        let account = match (&raw.username, &raw.password_file) {
            (None, None) => None,
            _ => Some(self.account(raw, "token")?),
        };
        for (index, entry) in raw.token_realms.iter().enumerate() {
            if !entry.host.is_one_host() {
                let message = format!(
                    "`{entry}` is more than one host, and each of them would be shown the \
                     password; write the hosts, each by its name"
                );
                self.problem(&format!("upstream.token_realms[{index}]"), message);
            }
        }
        let mut realms: Vec<_> = raw.token_realms.iter().map(|entry| entry.host.clone()).collect();
        let url = raw.urls.as_ref().and_then(|urls| urls.first());
        if url.is_some_and(|url| url.host == DOCKER_HUB.0) {
            realms.extend(DOCKER_HUB.1.parse());
        }
        Some(UpstreamAuthorization::Token {
            account,
            realms: HostList::new(realms),
            insecure: raw.insecure,
        })
    }

    /// Reports keys that have an effect only with `authorization: token`.
    pub(super) fn no_token_settings(&mut self, raw: &raw::UpstreamSection) {
        if raw.authorization == raw::Authorization::Token {
            return;
        }
        let given = [("token_realms", !raw.token_realms.is_empty()), ("insecure", raw.insecure)];
        for (key, _) in given.iter().filter(|(_, given)| *given) {
            let message = "it has no effect without authorization: token; remove this key, or \
                           write authorization: token";
            self.problem(&format!("upstream.{key}"), message);
        }
    }

    /// Warns of entries that allow almost every host.
    pub(super) fn warn_of_wide_hosts(&mut self, key: &str, entries: &[HostEntry]) {
        for (index, entry) in entries.iter().enumerate().filter(|(_, it)| it.host.is_wide()) {
            let message = format!(
                "`{entry}` allows almost every host; list the hosts of the registry's storage"
            );
            self.warn(&format!("upstream.{key}[{index}]"), message);
        }
    }

    /// Returns the hosts to which redirects are followed; `None` inside: the client follows them.
    pub(super) fn followed_hosts(
        &mut self,
        raw: &raw::UpstreamSection,
    ) -> Option<Option<HostList>> {
        match (raw.redirects, raw.redirect_hosts.is_empty()) {
            (raw::Redirects::Pass, true) => Some(None),
            (raw::Redirects::Pass, false) => {
                let message = "it has no effect with redirects: pass; remove this key, or write \
                               redirects: follow";
                self.problem("upstream.redirect_hosts", message);
                None
            }
            (raw::Redirects::Follow, true) => {
                if !self.is_reported("upstream.redirect_hosts") {
                    let message = "follow needs upstream.redirect_hosts, which is missing; list \
                                   the hosts of the registry's storage, or write pass";
                    self.problem("upstream.redirects", message);
                }
                None
            }
            (raw::Redirects::Follow, false) => Some(Some(hosts(&raw.redirect_hosts))),
        }
    }

    /// Builds the way to the registry.
    pub(super) fn way(&mut self, raw: &raw::UpstreamSection) -> Option<Way> {
        let file = raw.proxy_credentials_file.as_deref();
        let Some(url) = &raw.proxy else {
            if file.is_some() {
                let message = "it has no effect without upstream.proxy; set upstream.proxy, or \
                               remove this key";
                self.problem("upstream.proxy_credentials_file", message);
                return None;
            }
            return Some(Way::default());
        };
        if url.scheme == Scheme::Https || !url.path.is_empty() {
            let message = "the address of a proxy is http, a host and a port; write e.g. \
                           http://proxy.example.com:3128";
            self.problem("upstream.proxy", message);
            return None;
        }
        let credentials = match file {
            Some(file) => Some(self.proxy_credentials(file)?),
            None => None,
        };
        match Proxy::new(url.host.clone(), url.port, credentials) {
            Ok(proxy) => Some(Way::through(proxy)),
            Err(error) => {
                self.problem("upstream.proxy", format!("the address cannot be used: {error}"));
                None
            }
        }
    }

    /// Reads the credentials for a proxy, as a `Proxy-Authorization` value.
    fn proxy_credentials(&mut self, file: &str) -> Option<HeaderValue> {
        let key = "upstream.proxy_credentials_file";
        let line = self.secret(key, file)?;
        let credentials = line
            .expose_secret()
            .split_once(':')
            .and_then(|(user, password)| basic(user, &password.to_owned().into()));
        if credentials.is_none() {
            let message = "the file has no credentials; write USER:PASSWORD in one line";
            self.problem(key, message);
        }
        credentials
    }

    /// Builds the certificate by which the registry knows the gate; `None` inside: there is none.
    pub(super) fn certificate_for_registry(
        &mut self,
        raw: &raw::UpstreamSection,
    ) -> Option<Option<Arc<CertifiedKey>>> {
        let names = ("upstream.certificate", "upstream.key");
        match (&raw.certificate, &raw.key) {
            (None, None) => Some(None),
            (Some(certificate), Some(key)) => {
                let built = self.client_certificate(names, certificate, key)?;
                let url = raw.urls.as_ref().and_then(|urls| urls.first());
                if url.is_some_and(|url| url.scheme == Scheme::Http) {
                    let message = "it has no effect because the URL is http; write https://… or \
                                   remove this key";
                    self.warn(names.0, message);
                }
                Some(Some(built))
            }
            (certificate, _) => {
                let (given, missing) =
                    if certificate.is_some() { names } else { (names.1, names.0) };
                // A malformed value was already reported at its own place.
                if !self.is_reported(missing) {
                    let message = format!("it needs `{missing}`, which is missing; set both");
                    self.problem(given, message);
                }
                None
            }
        }
    }
}

/// Returns the listed hosts.
pub(super) fn hosts(entries: &[HostEntry]) -> HostList {
    HostList::new(entries.iter().map(|entry| entry.host.clone()).collect())
}
