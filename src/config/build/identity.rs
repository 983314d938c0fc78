//! Builds the identity providers, each independent of the others. [`chain`](super::chain) checks
//! them together.

use std::collections::BTreeSet;

use super::{Build, words};
use crate::config::problem::shown;
use crate::config::raw::{self, ScopeList};
use crate::config::ready::Provider;
use crate::config::url::{Scheme, ServerUrl};
use crate::http_client::HttpServer;
use crate::identity::authenticator::Accepts;
use crate::identity::model::claim_path::{ClaimPath, ClaimPathError};
use crate::identity::provider::ProviderSettings;
use crate::identity::provider::gitlab::GitLabSettings;
use crate::identity::provider::htpasswd::HtpasswdSettings;
use crate::identity::provider::htpasswd::file::HtpasswdFile;
use crate::identity::provider::introspection::{Expected, IntrospectionSettings};
use crate::identity::provider::jwks::KeySet;
use crate::identity::provider::jwt::{JwksSource, JwtSettings, RequiredClaim, Tenants, TokenRules};
use crate::identity::provider::registry_token::RegistryTokenSettings;

impl Build<'_> {
    /// Builds the list of providers; `None` if an entry is wrong.
    pub(super) fn identity(
        &mut self,
        raw: &[Option<raw::ProviderSection>],
        scopes: &raw::ScopesSection,
    ) -> Option<Vec<Provider>> {
        self.chain(raw);
        let mut providers = Vec::new();
        for (index, entry) in raw.iter().enumerate() {
            let Some(entry) = entry else { continue };
            let path = format!("identity[{index}]");
            let common = entry.common();
            let accepts = common.accepts.as_ref().map(|accepts| self.accepts(accepts, &path));
            let settings = match entry {
                raw::ProviderSection::Gitlab(gitlab) => {
                    self.gitlab(gitlab, &path).map(ProviderSettings::GitLab)
                }
                raw::ProviderSection::RegistryToken(server) => {
                    self.registry_token(server, &path).map(ProviderSettings::RegistryToken)
                }
                raw::ProviderSection::Introspection(introspection) => {
                    self.introspection(introspection, &path).map(ProviderSettings::Introspection)
                }
                raw::ProviderSection::Jwt(jwt) => {
                    self.jwt(jwt, scopes, &path).map(ProviderSettings::Jwt)
                }
                raw::ProviderSection::Htpasswd(htpasswd) => {
                    self.htpasswd(htpasswd, scopes, &path).map(ProviderSettings::Htpasswd)
                }
            };
            let Some(name) = &common.name else { continue };
            let provider = |settings| Provider { name: name.0.clone(), accepts, settings };
            providers.extend(settings.map(provider));
        }
        (providers.len() == raw.len()).then_some(providers)
    }

    fn accepts(&mut self, raw: &raw::AcceptsSection, path: &str) -> Accepts {
        let path = format!("{path}.accepts");
        if raw.users.is_empty() && raw.prefixes.is_empty() && !self.is_reported(&path) {
            let message = "it is empty, so the provider would receive no credential; write users \
                           or prefixes, or accepts: null";
            self.problem(&path, message);
        }
        for (index, user) in raw.users.iter().enumerate().filter(|(_, user)| user.contains(':')) {
            let message = format!(
                "`{}` contains a colon, which ends a user name; write the name without the colon",
                shown(user)
            );
            self.problem(&format!("{path}.users[{index}]"), message);
        }
        Accepts { users: raw.users.clone(), prefixes: raw.prefixes.clone() }
    }

    fn gitlab(&mut self, raw: &raw::GitlabSection, path: &str) -> Option<GitLabSettings> {
        let mut server = self.provider_http(raw.url.as_ref(), "url", &raw.server, path)?;
        // The path of each question is appended to this path.
        server.endpoint.path.truncate(server.endpoint.path.trim_end_matches('/').len());
        Some(GitLabSettings {
            server,
            service: raw.service.clone(),
            accept_passwords: raw.accept_passwords,
            anonymous: raw.anonymous,
            forward_client_address: raw.forward_client_address,
            failure_budget: raw.failure_budget.map(|rate| (rate.count, rate.per)),
        })
    }

    fn registry_token(
        &mut self,
        raw: &raw::RegistryTokenSection,
        path: &str,
    ) -> Option<RegistryTokenSettings> {
        let server = self.provider_http(raw.realm.as_ref(), "realm", &raw.server, path);
        Some(RegistryTokenSettings { server: server?, service: raw.service.clone()? })
    }

    fn introspection(
        &mut self,
        raw: &raw::IntrospectionSection,
        path: &str,
    ) -> Option<IntrospectionSettings> {
        let server = self.provider_http(raw.url.as_ref(), "url", &raw.server, path);
        // RFC 6749, appendix A.1, allows no control character in a client id.
        if raw.client_id.contains(char::is_control) {
            let message = format!(
                "`{}` contains a control character; write the id without it",
                shown(&raw.client_id)
            );
            self.problem(&format!("{path}.client_id"), message);
        }
        let key = format!("{path}.client_secret_file");
        let groups_claim = self.groups_claim(raw.groups_claim.as_deref(), path);
        // If the written name is malformed, the raw value is the default name, and the operator did
        // not name that file.
        let secret =
            if self.is_reported(&key) { None } else { self.secret(&key, &raw.client_secret_file) };
        Some(IntrospectionSettings {
            server: server?,
            client_id: raw.client_id.clone(),
            client_secret: secret?,
            expected: Expected {
                audience: raw.audience.clone(),
                match_username: raw.match_username,
                groups_claim: groups_claim?,
            },
        })
    }

    fn jwt(
        &mut self,
        raw: &raw::JwtSection,
        scopes: &raw::ScopesSection,
        path: &str,
    ) -> Option<JwtSettings> {
        let session = self.session(&format!("{path}.session"), raw.session.to_std());
        let keys = self.jwks(raw, path);
        let tenants = self.tenants(raw, path);
        let subject_claim = self.claim_path(&raw.subject_claim, &format!("{path}.subject_claim"));
        let groups_claim = self.groups_claim(raw.groups_claim.as_deref(), path);
        if let Some(given) = &raw.scopes {
            self.warn_of_useless(given, scopes, path);
        }
        Some(JwtSettings {
            keys: keys?,
            timeout: raw.server.timeout.to_std(),
            rules: TokenRules {
                issuer: raw.issuer.as_ref()?.0.clone(),
                audience: raw.audience.clone()?,
                tenants: tenants?,
                algorithms: raw.algorithms.iter().map(|algorithm| algorithm.0).collect(),
                subject_claim: subject_claim?,
                groups_claim: groups_claim?,
                scopes: raw.scopes.as_ref().map(words),
                session: session.unwrap_or_default(),
            },
        })
    }

    fn jwks(&mut self, raw: &raw::JwtSection, path: &str) -> Option<JwksSource> {
        let (url, file) = (format!("{path}.jwks_url"), format!("{path}.jwks_file"));
        match (&raw.jwks_url, &raw.jwks_file) {
            (Some(_), Some(_)) => {
                self.problem(&file, "jwks_url is set too; remove one of the two");
                None
            }
            (Some(_), None) => self
                .provider_http(raw.jwks_url.as_ref(), "jwks_url", &raw.server, path)
                .map(JwksSource::Url),
            (None, Some(name)) => match KeySet::parse(&self.read(&file, name)?) {
                Ok(keys) => Some(JwksSource::File(keys)),
                Err(error) => {
                    let message = format!(
                        "`{}`: {error}; name a file with the key set that the issuer's jwks_uri \
                         serves",
                        shown(name)
                    );
                    self.problem(&file, message);
                    None
                }
            },
            (None, None) => {
                // A malformed value was already reported at its own place.
                if !self.is_reported(&url) && !self.is_reported(&file) {
                    let message = "neither jwks_url nor jwks_file is set; write jwks_url: \
                                   https://…, which is the jwks_uri in the issuer's \
                                   /.well-known/openid-configuration, or jwks_file";
                    self.problem(path, message);
                }
                None
            }
        }
    }

    /// Returns the tenants whose tokens of the issuer are accepted. The choice has no default,
    /// because a shared issuer signs tokens for everyone.
    fn tenants(&mut self, raw: &raw::JwtSection, path: &str) -> Option<Tenants> {
        let claims = format!("{path}.required_claims");
        if self.is_reported(&claims) || self.is_reported(&format!("{path}.any_tenant")) {
            return None;
        }
        match &raw.required_claims {
            Some(_) if raw.any_tenant => {
                let message = "it accepts every token of the issuer, but required_claims is \
                               set too; remove one of the two";
                self.problem(&format!("{path}.any_tenant"), message);
                None
            }
            Some(required) if !required.is_empty() => {
                let read: Vec<_> = required
                    .iter()
                    .filter_map(|(claim, values)| self.required_claim(claim, values, &claims))
                    .collect();
                (read.len() == required.len()).then_some(Tenants::Required(read))
            }
            None if raw.any_tenant => Some(Tenants::Any),
            nothing => {
                let message = "no claim is required, and any person can get a token from a shared \
                               issuer; write required_claims, such as { namespace_id: [\"42\"] }, \
                               or any_tenant: true to accept every token of the issuer";
                self.problem(if nothing.is_some() { &claims } else { path }, message);
                None
            }
        }
    }

    fn required_claim(
        &mut self,
        claim: &str,
        values: &raw::ClaimValues,
        path: &str,
    ) -> Option<RequiredClaim> {
        let path = format!("{path}.{}", shown(claim));
        let place = claim.parse().map_err(|error: ClaimPathError| self.problem(&path, error));
        let mut allowed = Vec::new();
        for (index, value) in values.0.iter().enumerate() {
            match value.parse() {
                Ok(pattern) => allowed.push(pattern),
                Err(error) => self
                    .problem(&format!("{path}[{index}]"), format!("`{}`: {error}", shown(value))),
            }
        }
        let is_whole = allowed.len() == values.0.len();
        place.ok().filter(|_| is_whole).map(|path| RequiredClaim { path, allowed })
    }

    /// Returns the claim that lists groups, which may be absent; `None` if it is wrong.
    fn groups_claim(&mut self, claim: Option<&str>, path: &str) -> Option<Option<ClaimPath>> {
        let Some(claim) = claim else { return Some(None) };
        self.claim_path(claim, &format!("{path}.groups_claim")).map(Some)
    }

    fn claim_path(&mut self, claim: &str, path: &str) -> Option<ClaimPath> {
        let report = |error| self.problem(path, format!("`{}`: {error}", shown(claim)));
        claim.parse().map_err(report).ok()
    }

    fn htpasswd(
        &mut self,
        raw: &raw::HtpasswdSection,
        scopes: &raw::ScopesSection,
        path: &str,
    ) -> Option<HtpasswdSettings> {
        let users = raw.file.as_deref().and_then(|file| self.users(&format!("{path}.file"), file));
        if let Some(given) = &raw.scopes {
            self.warn_of_useless(given, scopes, path);
        }
        Some(HtpasswdSettings { users: users?, scopes: words(raw.scopes.as_ref()?) })
    }

    fn warn_of_useless(&mut self, given: &ScopeList, scopes: &raw::ScopesSection, path: &str) {
        let needed = named(scopes);
        for (index, scope) in
            given.0.iter().enumerate().filter(|(_, scope)| !needed.contains(scope.0.as_str()))
        {
            let message = format!(
                "`{}` has no effect: no operation in scopes needs it; remove or correct it",
                scope.0
            );
            self.warn(&format!("{path}.scopes[{index}]"), message);
        }
    }

    /// Builds the server settings of a provider. Plain HTTP to another machine is a problem unless
    /// `insecure` allows it.
    fn provider_http(
        &mut self,
        url: Option<&ServerUrl>,
        key: &str,
        server: &raw::ServerSection,
        path: &str,
    ) -> Option<HttpServer> {
        if url.is_some_and(|url| url.scheme == Scheme::Http && !url.is_loopback()) {
            let danger = match key {
                "jwks_url" => "an attacker on the network could replace the keys",
                _ => "credentials cross the network in the clear",
            };
            let path = format!("{path}.{key}");
            if server.insecure {
                self.warn(&path, format!("{danger}, as insecure: true allows; write https://…"));
            } else {
                self.problem(
                    &path,
                    format!("{danger}; write https://…, or insecure: true to accept that"),
                );
            }
        }
        let endpoint = self.endpoint(url, server.ca.as_deref(), &format!("{path}.ca"));
        Some(HttpServer { endpoint: endpoint?, timeout: server.timeout.to_std() })
    }

    /// Reads the users of a file. A problem in the file is reported at its place in that file, not
    /// at the key that names the file.
    fn users(&mut self, key: &str, file: &str) -> Option<HtpasswdFile> {
        let text = self.read_text(key, file)?;
        let problems = match HtpasswdFile::parse(&text) {
            Ok(users) => return Some(users),
            Err(problems) => problems,
        };
        for problem in problems {
            self.problem_within(file, problem.line, problem.column, problem.message);
        }
        None
    }
}

/// Returns every scope that has a use: an operation needs it, or it stands for others.
fn named(scopes: &raw::ScopesSection) -> BTreeSet<&str> {
    let needed = [&scopes.pull, &scopes.push, &scopes.delete].into_iter().flat_map(|list| &list.0);
    needed.chain(scopes.equivalents.keys()).map(|scope| scope.0.as_str()).collect()
}
