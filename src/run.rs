//! From a checked config to a running gate, and to its end.

mod providers;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context as _;
use http::HeaderValue;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::admin::Admin;
use crate::client_address::TrustedProxies;
use crate::client_tls;
use crate::config::{self, Config, Endpoint, ExternalUrl, Scheme, TlsVersion, UpstreamAuthorization};
use crate::gate::Gate;
use crate::identity::cache::CacheLimits;
use crate::identity::chain::Identity;
use crate::identity::credential::basic;
use crate::identity::fingerprint::HashKey;
use crate::policy::Policy;
use crate::record::{AccessLog, AccessLogFormat, Metrics, Recorder};
use crate::respond::{Challenge, Responder};
use crate::server::{Server, ServerSettings, bind, server_tls};
use crate::token_service::gate_token::TokenKeys;
use crate::token_service::{self, TokenService};
use crate::upstream::{Connector, Origins, UpstreamSettings};

pub(crate) use providers::provider_client;

/// The sockets of a gate, bound before anything else, so that whoever starts it can know the ports.
pub struct Listeners {
    /// One a worker, all on one port.
    pub public: Vec<TcpListener>,
    /// For operators.
    pub admin: TcpListener,
}

/// A running gate.
pub struct Running {
    server: Server,
    gate: Arc<Gate>,
    draining: watch::Sender<bool>,
    drain_timeout: std::time::Duration,
}

impl Listeners {
    /// Binds the addresses of the config.
    ///
    /// # Errors
    /// Where an address cannot be had, with its key in the config.
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
        let addr = config.http.addr;
        let public = bind(addr, config.http.workers).with_context(|| format!("http.addr: cannot listen on {addr}"))?;
        let addr = config.admin.addr;
        let admin = TcpListener::bind(addr).with_context(|| format!("admin.addr: cannot listen on {addr}"))?;
        Ok(Self { public, admin })
    }
}

impl Running {
    /// Starts a gate. Providers are asked, and operators answered, on the runtime that calls this.
    ///
    /// # Errors
    /// What the system does not give: roots, randomness, threads, the access log.
    pub fn start(config: Config, listeners: Listeners, access_log: AccessLog) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let tls = match &config.http.tls {
            None => None,
            Some(tls) => {
                metrics.certificate_ends(tls.not_after);
                let tls13_only = tls.minimum_version == TlsVersion::V1_3;
                Some(server_tls(&tls.certified_key, tls13_only, config.http.http2)?)
            }
        };
        let upstream = Arc::new(upstream(&config)?);
        let settings = ServerSettings {
            tls,
            max_connections: config.http.max_connections,
            handshake_timeout: config.http.handshake_timeout,
            header_timeout: config.http.header_timeout,
            idle_timeout: config.http.idle_timeout,
            stall_timeout: config.http.stall_timeout,
            max_header_bytes: config.http.max_header_bytes,
        };
        let drain_timeout = config.http.drain_timeout;
        let gate = Arc::new(gate(config, metrics, access_log)?);

        let (draining, told) = watch::channel(false);
        tokio::spawn(Admin { gate: gate.clone(), draining: told }.serve(listeners.admin));
        let server = Server::start(listeners.public, settings, &gate, &upstream)?;
        Ok(Self { server, gate, draining, drain_timeout })
    }

    /// The gate's metrics, as the admin listener shows them.
    pub fn metrics(&self) -> String {
        self.gate.recorder.metrics.encode(self.gate.identity.cache_entries())
    }

    /// Takes no new connections and lets requests under way end, for as long as the config says. Returns how many
    /// connections had to be cut off.
    pub async fn drain(self) -> usize {
        self.draining.send_replace(true);
        self.server.drain(self.drain_timeout).await
    }
}

/// The access log that the config asks for.
///
/// # Errors
/// Where its file cannot be opened.
pub fn access_log(log: &config::Log) -> anyhow::Result<AccessLog> {
    let format = match log.format {
        config::LogFormat::Json => AccessLogFormat::Json,
        config::LogFormat::Text => AccessLogFormat::Text,
    };
    match &log.access {
        config::AccessLog::Off => Ok(AccessLog::off()),
        config::AccessLog::Stdout => Ok(AccessLog::stdout(format)?),
        config::AccessLog::File(path) => {
            AccessLog::file(format, path).with_context(|| format!("log.access: cannot append to {}", path.display()))
        }
    }
}

fn gate(config: Config, metrics: Arc<Metrics>, access_log: AccessLog) -> anyhow::Result<Gate> {
    let limits = CacheLimits {
        ttl: config.cache.ttl,
        negative_ttl: config.cache.negative_ttl,
        stale_if_error: config.cache.stale_if_error,
        capacity: config.cache.capacity,
        negative_capacity: config.cache.negative_capacity,
    };
    let scopes = config.scopes;
    let keep_tokens = matches!(config.upstream.authorization, UpstreamAuthorization::Grant);
    let providers = config
        .identity
        .into_iter()
        .map(|it| providers::provider(it, keep_tokens))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let key = HashKey::random().context("no randomness for hashing credentials")?;
    let (external, tokens) = (&config.http.external_url, config.tokens);
    let keys = match tokens.keys {
        Some(keys) => keys,
        None => Arc::new(TokenKeys::random().context("no randomness for sealing tokens")?),
    };
    let challenge = match tokens.challenge {
        config::Challenge::Basic => Challenge::basic(external.service())?,
        config::Challenge::Bearer => Challenge::bearer(&realm(external), external.service())?,
    };
    Ok(Gate {
        trusted_proxies: TrustedProxies(config.http.trusted_proxies),
        identity: Identity::new(providers, limits, key, metrics.clone(), Handle::current()),
        policy: Policy::new(scopes.pull, scopes.push, scopes.delete, scopes.equivalents),
        tokens: TokenService::new(keys, tokens.lifetime, external.service().to_owned()),
        responder: Responder::new(external.service(), challenge)?,
        recorder: Arc::new(Recorder::new(metrics, access_log)),
    })
}

/// Where clients ask for tokens: on the registry's own host, for some of them ask nobody else.
fn realm(external: &ExternalUrl) -> String {
    let scheme = if external.scheme == Scheme::Https { "https" } else { "http" };
    format!("{scheme}://{}{}", external.authority, token_service::PATH)
}

/// Whom to trust at an address: what its `ca` says, else the system; over plain HTTP nobody is needed.
fn roots(endpoint: &Endpoint) -> io::Result<Arc<rustls::RootCertStore>> {
    match &endpoint.roots {
        Some(roots) => Ok(roots.clone()),
        None if endpoint.https => client_tls::system_roots(),
        None => Ok(Arc::new(rustls::RootCertStore::empty())),
    }
}

/// The address of a server, with its path.
pub(crate) fn url(endpoint: &Endpoint) -> String {
    let scheme = if endpoint.https { "https" } else { "http" };
    format!("{scheme}://{}{}", endpoint.authority(), endpoint.path)
}

fn upstream(config: &Config) -> anyhow::Result<UpstreamSettings> {
    let upstream = &config.upstream;
    let Endpoint { https, host, port, .. } = upstream.endpoint.clone();
    let connector = if https {
        let tls = client_tls::config(roots(&upstream.endpoint)?)?;
        Connector::tls(host, port, tls, upstream.connect_timeout)?
    } else {
        Connector::plain(host, port, upstream.connect_timeout)
    };
    let authorization = match &upstream.authorization {
        // With a grant, each request has its own.
        UpstreamAuthorization::Strip | UpstreamAuthorization::Grant => None,
        UpstreamAuthorization::Basic { username, password } => {
            Some(basic(username, password).context("upstream.username: it cannot stand in a header")?)
        }
    };
    let external = &config.http.external_url;
    let proto = if external.scheme == Scheme::Https { "https" } else { "http" };
    let authority = upstream.endpoint.authority();
    Ok(UpstreamSettings {
        connector,
        host: HeaderValue::try_from(&authority)?,
        forwarded_proto: HeaderValue::from_static(proto),
        forwarded_host: HeaderValue::try_from(&external.authority)?,
        authorization,
        origins: Origins(vec![external.authority.clone(), authority]),
        response_timeout: upstream.response_timeout,
        upload_response_timeout: upstream.upload_response_timeout,
        stall_timeout: config.http.stall_timeout,
    })
}
