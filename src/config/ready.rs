//! The configuration as the program uses it, with checked values and the content of the files that
//! they name.

mod identity;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use rustls::sign::CertifiedKey;
use secrecy::SecretString;

use super::raw::{ChallengeScheme, TlsVersion};
use super::url::ExternalUrl;
use crate::http_client::Way;
use crate::identity::cache::CacheLimits;
use crate::limits::settings::Settings;
use crate::net::endpoint::Endpoint;
use crate::net::host_list::HostList;
use crate::policy::{RequiredScopes, Rules};
use crate::record::LogFormat;
use crate::redis_link::RedisSettings;
use crate::sealing::TokenKeys;
use crate::telemetry::TelemetrySettings;

pub use identity::Provider;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The public listener.
    pub http: Http,
    /// The listener for health checks and metrics.
    pub admin: AdminConfig,
    /// The registry behind the gate.
    pub upstream: UpstreamConfig,
    /// The providers that verify credentials, in the order in which they are asked. The list is
    /// never empty, and its names are unique.
    pub identity: Vec<Provider>,
    /// The scopes that a credential needs for each operation.
    pub scopes: RequiredScopes,
    /// The rules that narrow what credentials allow.
    pub policy: Rules,
    /// The registry token service.
    pub tokens: Tokens,
    /// The lifetimes and the largest numbers of cached verdicts.
    pub cache: CacheLimits,
    /// The limits on requests, wrong credentials, pulls and uploads.
    pub limits: Settings,
    /// The Redis or Valkey through which several gates act as one; `None`: the gate is by itself.
    pub redis: Option<RedisSettings>,
    /// The program log, the access log and the audit log.
    pub log: Log,
    /// The collector of traces; `None`: no traces.
    pub telemetry: Option<TelemetrySettings>,
}

/// The public listener.
#[derive(Clone, Debug)]
pub struct Http {
    /// The address to listen on. With port 0, the kernel picks a port.
    pub addr: SocketAddr,
    /// The URL at which clients reach the gate.
    pub external_url: ExternalUrl,
    /// The TLS settings; `None`: plain HTTP/1.1.
    pub tls: Option<Tls>,
    /// `true` if TLS clients are offered HTTP/2.
    pub http2: bool,
    /// The number of worker threads, at least one.
    pub workers: usize,
    /// The networks whose `X-Forwarded-For` header the gate believes.
    pub trusted_proxies: Vec<IpNet>,
    /// `true` if `trusted_proxies` must send a PROXY header. `trusted_proxies` is not empty then.
    pub proxy_protocol: bool,
    /// The largest number of connections served at once, over all workers.
    pub max_connections: usize,
    /// The longest time from accepting a connection to the end of its TLS handshake.
    pub handshake_timeout: Duration,
    /// The longest time from the end of the handshake, or from the first byte of a later request,
    /// to the end of the request's headers.
    pub header_timeout: Duration,
    /// The longest time between requests.
    pub idle_timeout: Duration,
    /// The longest time for which a body may make no progress.
    pub stall_timeout: Duration,
    /// The largest size of all headers of a request together, in bytes.
    pub max_header_bytes: usize,
    /// The longest time that requests have to end after SIGTERM and `drain_delay`.
    pub drain_timeout: Duration,
    /// The time after SIGTERM for which the gate serves as before, except that `/readyz` answers
    /// 503.
    pub drain_delay: Duration,
}

/// The TLS settings of the public listener.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate chain and the private key that matches it.
    pub certified_key: Arc<CertifiedKey>,
    /// The time at which the certificate expires.
    pub not_after: SystemTime,
    /// The oldest TLS version that the gate accepts.
    pub minimum_version: TlsVersion,
}

/// The listener for health checks and metrics.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// The address to listen on.
    pub addr: SocketAddr,
    /// The secret that a request to revoke a credential must present; `None`: every such request
    /// is refused.
    pub token: Option<SecretString>,
}

/// The registry behind the gate.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// The address of the registry. Behind its path lies `/v2/`.
    pub endpoint: Endpoint,
    /// The credential that the gate sends to the registry in place of the caller's.
    pub authorization: UpstreamAuthorization,
    /// The hosts to which the gate follows redirects; `None`: the client follows them.
    pub followed_hosts: Option<HostList>,
    /// The hosts, beside the registry's own, to which the registry may lead an upload.
    pub upload_hosts: HostList,
    /// The way to the registry, its token server and its redirects.
    pub way: Way,
    /// The certificate and key by which the registry knows the gate.
    pub client_certificate: Option<Arc<CertifiedKey>>,
    /// The longest time for connecting, including TLS.
    pub connect_timeout: Duration,
    /// The longest time from the end of a request to the head of the response.
    pub response_timeout: Duration,
    /// The `response_timeout` of the last PUT of an upload.
    pub upload_response_timeout: Duration,
}

/// The credential that the gate sends to the registry in place of the caller's.
#[derive(Clone, Debug)]
pub enum UpstreamAuthorization {
    /// No credential.
    Strip,
    /// The gate's own credential.
    Basic {
        /// The user name. It contains no colon.
        username: String,
        /// The content of the password file, without the newline at its end.
        password: SecretString,
    },
    /// The token or the password that the challenge of the registry asks for.
    Token {
        /// The user name and the password; `None`: the gate asks as an anonymous caller.
        account: Option<(String, SecretString)>,
        /// The hosts that may be asked for tokens, beside the registry's own.
        realms: HostList,
        /// `true` if these may be asked over plain http.
        insecure: bool,
    },
    /// The token that the provider issued for the forwarded request. At least one provider is of a
    /// type that issues such tokens.
    Grant,
}

/// The registry token service.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The scheme of the challenge in a 401.
    pub challenge: ChallengeScheme,
    /// The keys that seal and open tokens; `None`: the process creates a key of its own.
    pub keys: Option<Arc<TokenKeys>>,
    /// The lifetime of a token, from a minute to 30 days.
    pub lifetime: Duration,
    /// The lifetime of a refresh token; `None`: the gate issues none.
    pub session: Option<Duration>,
}

/// The program log, the access log and the audit log.
#[derive(Clone, Debug)]
pub struct Log {
    /// The level of the program log.
    pub level: tracing::Level,
    /// The format of the program log and of the access log.
    pub format: LogFormat,
    /// The destination of the access log.
    pub access: AccessLogTarget,
    /// The file of the audit log; `None`: no audit log.
    pub audit: Option<PathBuf>,
}

/// The destination of the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Standard output.
    Stdout,
    /// No access log.
    Off,
    /// A file, to which lines are appended.
    File(PathBuf),
}
