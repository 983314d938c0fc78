//! The assembly of a snapshot from a checked config. Parts whose settings did not change are taken
//! over from the snapshot before.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::HeaderValue;
use rustls::RootCertStore;
use secrecy::SecretString;
use tokio::runtime::Handle;

use super::{providers, telemetry};
use crate::config::{
    self, ChallengeScheme, Config, ExternalUrl, Loaded, Outline, Scheme, TlsVersion,
    UpstreamAuthorization, UpstreamConfig,
};
use crate::gate::{Gate, RuleBook};
use crate::http_client::HttpClient;
use crate::identity::authenticator::{Authenticator, ManagedProvider};
use crate::identity::guard::shared_guards::SharedGuards;
use crate::identity::model::credential::basic;
use crate::identity::model::keyed_hash::HashKey;
use crate::identity::shared_verdicts::SharedVerdicts;
use crate::limits::exchange::LeaseExchange;
use crate::limits::{Accounts, Limits};
use crate::log_throttle::LogThrottle;
use crate::net::client_address::TrustedProxies;
use crate::net::client_tls;
use crate::net::endpoint::Endpoint;
use crate::net::host_list::HostList;
use crate::policy::Policy;
use crate::record::{AuditLog, Recorder};
use crate::redis_link::RedisLink;
use crate::respond::{Challenge, Responder};
use crate::sealing::TokenKeys;
use crate::server::{ServerSettings, Snapshot, server_tls};
use crate::token_service::{self, TokenService};
use crate::upstream::{
    Connector, Origins, OtherServers, RegistryAuthorization, RegistryTokens, TokenSettings,
    UploadSeal, UpstreamHealth, UpstreamSettings,
};

/// The parts that live as long as the process.
pub(super) struct Lasting {
    pub(super) recorder: Arc<Recorder>,
    /// The key for configs without `tokens.key_file`.
    pub(super) own_key: Arc<TokenKeys>,
    /// The usage of all callers, for the limits.
    pub(super) accounts: Arc<Accounts>,
    /// The parts that replicas share; `None` without Redis.
    pub(super) sharing: Option<Sharing>,
}

/// The connection to Redis, and what replicas share through it.
pub(super) struct Sharing {
    pub(super) id: String,
    pub(super) link: Arc<RedisLink>,
    pub(super) exchange: Arc<LeaseExchange>,
    pub(super) verdicts: Arc<SharedVerdicts>,
    pub(super) guards: Arc<SharedGuards>,
}

/// The running snapshot, and the outline of the config that it was made from.
#[derive(Clone)]
pub(super) struct RunningSnapshot {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) outline: Outline,
}

/// Builds a snapshot; `running` is the one before it. The running gate is not changed.
///
/// # Errors
/// If the system cannot provide certificate authorities, randomness or a new audit log.
pub(super) fn snapshot(
    loaded: &Loaded,
    lasting: &Lasting,
    running: Option<&RunningSnapshot>,
) -> anyhow::Result<Snapshot> {
    let (config, outline) = (&loaded.config, &loaded.outline);
    let is_same = |keys: &[&str]| {
        running.filter(|it| keys.iter().all(|key| outline.is_same(key, &it.outline, key)))
    };
    let upstream = match is_same(&[
        "upstream",
        "http.external_url",
        "http.stall_timeout",
        "tokens.key_file",
        "cache.negative_ttl",
    ]) {
        Some(running) => running.snapshot.upstream.clone(),
        None => Arc::new(upstream(config, &lasting.own_key)?),
    };
    let tls = match (&config.http.tls, is_same(&["http.tls", "http.http2"])) {
        (None, _) => None,
        // Reusing the TLS settings keeps the keys of session tickets.
        (Some(_), Some(running)) => running.snapshot.server.tls.clone(),
        (Some(tls), None) => {
            let tls13_only = tls.minimum_version == TlsVersion::V1_3;
            Some(server_tls(&tls.certified_key, tls13_only, config.http.http2)?)
        }
    };
    let server = ServerSettings {
        tls,
        certificate_ends: config.http.tls.as_ref().map(|tls| tls.not_after),
        proxy_protocol: config
            .http
            .proxy_protocol
            .then(|| TrustedProxies(config.http.trusted_proxies.clone())),
        handshake_timeout: config.http.handshake_timeout,
        header_timeout: config.http.header_timeout,
        idle_timeout: config.http.idle_timeout,
        stall_timeout: config.http.stall_timeout,
        max_header_bytes: config.http.max_header_bytes,
    };
    let (gate, admin_token) = (gate(loaded, lasting, running)?, config.admin.token.clone());
    Ok(Snapshot { gate, upstream, server: Arc::new(server), admin_token })
}

fn gate(
    loaded: &Loaded,
    lasting: &Lasting,
    running: Option<&RunningSnapshot>,
) -> anyhow::Result<Gate> {
    let config = &loaded.config;
    let RuleBook { policy, responder, tokens } = rule_book_with(config, &lasting.own_key)?;
    Ok(Gate {
        trusted_proxies: TrustedProxies(config.http.trusted_proxies.clone()),
        identity: identity(loaded, lasting, running)?,
        policy,
        limits: Limits::new(config.limits.clone(), lasting.accounts.clone()),
        tokens,
        responder,
        recorder: lasting.recorder.clone(),
        audit: audit(config.log.audit.as_deref(), running)?,
        tracer: telemetry::tracer(loaded, running)?,
    })
}

/// Creates the rules of a config.
///
/// # Errors
/// If the system cannot provide randomness.
pub(super) fn rule_book(config: &Config) -> anyhow::Result<RuleBook> {
    let own_key = TokenKeys::random().context("no key for gate tokens can be created")?;
    rule_book_with(config, &Arc::new(own_key))
}

/// Creates the rules of a config. `own_key` is for a config without `tokens.key_file`.
fn rule_book_with(config: &Config, own_key: &Arc<TokenKeys>) -> anyhow::Result<RuleBook> {
    let (external, tokens) = (&config.http.external_url, &config.tokens);
    let challenge = match tokens.challenge {
        ChallengeScheme::Basic => Challenge::basic(external.service())?,
        ChallengeScheme::Bearer => Challenge::bearer(&realm(external), external.service())?,
    };
    let keys = tokens.keys.as_ref().unwrap_or(own_key).clone();
    Ok(RuleBook {
        policy: Policy::new(config.scopes.clone()).with_rules(config.policy.clone()),
        responder: Responder::new(external.service(), challenge)?,
        tokens: TokenService::new(keys, tokens.lifetime, external.service().to_owned())
            .with_sessions(tokens.session),
    })
}

/// Returns the audit log. It is the one that is already open if the file is the same.
fn audit(path: Option<&Path>, running: Option<&RunningSnapshot>) -> anyhow::Result<Arc<AuditLog>> {
    let open = running.map(|running| &running.snapshot.gate.audit);
    Ok(match (path, open) {
        (path, Some(open)) if open.path() == path => open.clone(),
        (None, _) => Arc::new(AuditLog::off()),
        (Some(path), _) => Arc::new(
            AuditLog::file(path).context("log.audit: the gate cannot append to this file")?,
        ),
    })
}

fn identity(
    loaded: &Loaded,
    lasting: &Lasting,
    running: Option<&RunningSnapshot>,
) -> anyhow::Result<Authenticator> {
    let config = &loaded.config;
    let keep_tokens = matches!(config.upstream.authorization, UpstreamAuthorization::Grant);
    let ask_about_nobody = !config.policy.decide_for_anonymous();
    // If one of these settings changes, every provider counts as a new one, and its cached verdicts
    // are dropped.
    let same = running.filter(|running| {
        let path = "upstream.authorization";
        let before = running.snapshot.gate.policy.rules_decide_for_anonymous();
        loaded.outline.is_same(path, &running.outline, path) && before != ask_about_nobody
    });
    let mut chain = Vec::new();
    for (place, provider) in config.identity.iter().enumerate() {
        let unchanged =
            same.and_then(|running| unchanged(place, provider, &loaded.outline, running));
        chain.push(match unchanged {
            Some(unchanged) => unchanged,
            None => {
                let guards = lasting.sharing.as_ref().map(|sharing| &sharing.guards);
                let made = provider.clone();
                let made = providers::provider(made, keep_tokens, ask_about_nobody, guards)?;
                let id = lasting.sharing.as_ref().filter(|_| provider.settings.asks_a_server());
                let id = id.map(|_| {
                    let settings = loaded.outline.fingerprint(&format!("identity[{place}]"));
                    shared_id(settings, keep_tokens, ask_about_nobody)
                });
                Arc::new(match id {
                    Some(id) => made.shared_as(id),
                    None => made,
                })
            }
        });
    }
    if let Some(running) = running {
        let identity = running.snapshot.gate.identity.with_providers(chain);
        return Ok(identity.with_failed_logins(config.limits.failed_logins));
    }
    let key = config.tokens.keys.as_ref().unwrap_or(&lasting.own_key).hash_key();
    let key = HashKey::new(key.context("tokens.key_file has no key")?);
    let metrics = lasting.recorder.metrics.clone();
    let shared = |sharing: &Sharing| (sharing.verdicts.clone(), sharing.guards.clone());
    let shared = lasting.sharing.as_ref().map(shared);
    let runtime = Handle::current();
    let identity = Authenticator::of_replica(chain, config.cache, key, metrics, runtime, shared);
    Ok(identity.with_failed_logins(config.limits.failed_logins))
}

/// Returns the hash by which replicas know a provider with these settings.
fn shared_id(settings: blake3::Hash, keep_tokens: bool, ask_about_nobody: bool) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(settings.as_bytes());
    hasher.update(&[u8::from(keep_tokens), u8::from(ask_about_nobody)]);
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Returns the running provider that was made from exactly the settings at `place`. Its breaker,
/// its keys and its verdicts stay in use.
fn unchanged(
    place: usize,
    provider: &config::Provider,
    outline: &Outline,
    running: &RunningSnapshot,
) -> Option<Arc<ManagedProvider>> {
    let providers = running.snapshot.gate.identity.providers();
    let (old_place, old) =
        providers.iter().enumerate().find(|(_, old)| *old.name() == *provider.name)?;
    let path = |place: usize| format!("identity[{place}]");
    outline.is_same(&path(place), &running.outline, &path(old_place)).then(|| old.clone())
}

/// Returns the URL at which clients request tokens. It is on the registry's own host, because some
/// clients do not ask another host.
fn realm(external: &ExternalUrl) -> String {
    let scheme = if external.scheme == Scheme::Https { "https" } else { "http" };
    format!("{scheme}://{}{}", external.authority, token_service::PATH)
}

/// The time for one question to a token server of the registry, including the time to connect.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the `Authorization` value of the gate's own account at the registry.
fn account(username: &str, password: &SecretString) -> anyhow::Result<HeaderValue> {
    basic(username, password).context("upstream.username: the name cannot be sent in a header")
}

/// Returns the names and the address of the registry.
pub fn registry_origins(config: &Config) -> Origins {
    let endpoint = &config.upstream.endpoint;
    Origins {
        names: vec![config.http.external_url.authority.clone(), endpoint.authority()],
        own: endpoint.origin(),
        base: endpoint.path.trim_end_matches('/').to_owned(),
    }
}

/// Returns the tokens for a registry that asks for tokens.
///
/// # Errors
/// If the config has another kind of authorization, or the user name cannot be sent.
pub fn registry_tokens(config: &Config) -> anyhow::Result<RegistryTokens> {
    let upstream = &config.upstream;
    let UpstreamAuthorization::Token { account: own, realms, insecure } = &upstream.authorization
    else {
        anyhow::bail!("upstream.authorization is not token");
    };
    let (user, account) = match own {
        Some((user, password)) => (user.clone(), Some(account(user, password)?)),
        None => (String::new(), None),
    };
    let client = |roots, certificate| {
        let tls = client_tls::config_with(roots, certificate)?;
        Ok::<_, io::Error>(HttpClient::with_way(tls, TOKEN_TIMEOUT, upstream.way.clone()))
    };
    Ok(RegistryTokens::new(TokenSettings {
        account,
        user,
        realms: realms.clone(),
        insecure: *insecure,
        own_client: client(
            upstream.endpoint.trusted_roots()?,
            upstream.client_certificate.as_ref(),
        )?,
        client: client(elsewhere_roots(&upstream.endpoint)?, None)?,
        negative_ttl: config.cache.negative_ttl,
    }))
}

/// Returns the servers of a list, and the way to them.
fn other_servers(upstream: &UpstreamConfig, hosts: &HostList) -> anyhow::Result<OtherServers> {
    Ok(OtherServers {
        listed: Arc::new(hosts.clone()),
        tls: client_tls::config(elsewhere_roots(&upstream.endpoint)?)?,
        way: upstream.way.clone(),
        connect_timeout: upstream.connect_timeout,
    })
}

/// Returns the certificate authorities for servers beside the registry: those of the system, and
/// those of the config.
fn elsewhere_roots(registry: &Endpoint) -> anyhow::Result<Arc<RootCertStore>> {
    let system = client_tls::system_roots();
    let Some(own) = &registry.roots else {
        // A machine without authorities can still reach what is not TLS.
        return Ok(system.unwrap_or_else(|_| Arc::new(RootCertStore::empty())));
    };
    let mut roots = system.map_or_else(|_| RootCertStore::empty(), |it| RootCertStore::clone(&it));
    roots.roots.extend(own.roots.iter().cloned());
    Ok(Arc::new(roots))
}

fn upstream(config: &Config, own_key: &Arc<TokenKeys>) -> anyhow::Result<UpstreamSettings> {
    let upstream = &config.upstream;
    let Endpoint { https, host, port, .. } = upstream.endpoint.clone();
    let tls = if https {
        let certificate = upstream.client_certificate.as_ref();
        Some(client_tls::config_with(upstream.endpoint.trusted_roots()?, certificate)?)
    } else {
        None
    };
    let connector = Connector::new(host, port, tls, upstream.connect_timeout)?;
    let authorization = match &upstream.authorization {
        // With `Grant`, each request carries its own credential.
        UpstreamAuthorization::Strip | UpstreamAuthorization::Grant => {
            RegistryAuthorization::OfRequest
        }
        UpstreamAuthorization::Basic { username, password } => {
            RegistryAuthorization::Fixed(account(username, password)?)
        }
        UpstreamAuthorization::Token { .. } => {
            RegistryAuthorization::Token(Box::new(registry_tokens(config)?))
        }
    };
    let external = &config.http.external_url;
    let proto = if external.scheme == Scheme::Https { "https" } else { "http" };
    let authority = upstream.endpoint.authority();
    Ok(UpstreamSettings {
        connector: connector.on_the_way(upstream.way.clone()),
        url: upstream.endpoint.url(),
        host: HeaderValue::try_from(&authority)?,
        forwarded_proto: HeaderValue::from_static(proto),
        forwarded_host: HeaderValue::try_from(&external.authority)?,
        authorization,
        followed: upstream
            .followed_hosts
            .as_ref()
            .map(|hosts| other_servers(upstream, hosts))
            .transpose()?,
        uploads: other_servers(upstream, &upstream.upload_hosts)?,
        seal: UploadSeal {
            keys: config.tokens.keys.as_ref().unwrap_or(own_key).clone(),
            service: external.service().to_owned(),
            is_of_process: config.tokens.keys.is_none(),
        },
        origins: registry_origins(config),
        log_throttle: LogThrottle::default(),
        response_timeout: upstream.response_timeout,
        upload_response_timeout: upstream.upload_response_timeout,
        stall_timeout: config.http.stall_timeout,
        health: UpstreamHealth::default(),
    })
}
