//! The configuration as the program uses it: every value checked, every file read.

mod identity;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use rustls::sign::CertifiedKey;
use secrecy::SecretString;

use super::raw::{ChallengeScheme, LogFormat, TlsVersion};
use super::url::ExternalUrl;
use crate::identity::cache::CacheLimits;
use crate::limits::settings::Settings;
use crate::net::endpoint::Endpoint;
use crate::policy::{RequiredScopes, Rules};
use crate::token_service::gate_token::TokenKeys;

pub use identity::Provider;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The public listener.
    pub http: Http,
    /// The listener for health checks and metrics.
    pub admin: Admin,
    /// The registry behind the gate.
    pub upstream: Upstream,
    /// Who verifies credentials, asked in this order. Never empty, names unique.
    pub identity: Vec<Provider>,
    /// What an operation needs of what a credential has.
    pub scopes: RequiredScopes,
    /// What of that the rules allow.
    pub policy: Rules,
    /// The registry token service.
    pub tokens: Tokens,
    /// How long verdicts about credentials are kept, and how many.
    pub cache: CacheLimits,
    /// How often callers may come.
    pub limits: Settings,
    /// The program's own log and the access log.
    pub log: Log,
}

/// The public listener.
#[derive(Clone, Debug)]
pub struct Http {
    /// Where it listens. Port 0 lets the kernel pick one.
    pub addr: SocketAddr,
    /// How clients reach it.
    pub external_url: ExternalUrl,
    /// `None`: plain HTTP/1.1.
    pub tls: Option<Tls>,
    /// Whether TLS clients are offered HTTP/2.
    pub http2: bool,
    /// Worker threads, at least one.
    pub workers: usize,
    /// Networks whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether a PROXY header is demanded of them. There are some then.
    pub proxy_protocol: bool,
    /// Connections served at once, over all workers.
    pub max_connections: usize,
    /// From accepting a connection to the end of its TLS handshake.
    pub handshake_timeout: Duration,
    /// From there, or from the first byte of a later request, to the end of its headers.
    pub header_timeout: Duration,
    /// Between requests.
    pub idle_timeout: Duration,
    /// How long a body may make no progress.
    pub stall_timeout: Duration,
    /// All headers of a request together.
    pub max_header_bytes: usize,
    /// How long requests may take to end after SIGTERM.
    pub drain_timeout: Duration,
    /// How long it goes on as before after SIGTERM, but for `/readyz`.
    pub drain_delay: Duration,
}

/// TLS of the public listener.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The chain and its key, which belong together.
    pub certified_key: Arc<CertifiedKey>,
    /// When the certificate ends.
    pub not_after: SystemTime,
    /// The oldest version spoken.
    pub minimum_version: TlsVersion,
}

/// The listener for health checks and metrics.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What whoever revokes a credential must have.
    pub token: Option<SecretString>,
}

/// The registry behind the gate.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Where it is. Its path is empty.
    pub endpoint: Endpoint,
    /// What it is shown instead of the caller's credential.
    pub authorization: UpstreamAuthorization,
    /// How long connecting may take, TLS included.
    pub connect_timeout: Duration,
    /// From the end of a request to the head of the answer.
    pub response_timeout: Duration,
    /// The same for the last PUT of an upload.
    pub upload_response_timeout: Duration,
}

/// What the registry is shown instead of the caller's credential.
#[derive(Clone, Debug)]
pub enum UpstreamAuthorization {
    /// Nothing.
    Strip,
    /// The gate's own credential.
    Basic {
        /// Without a colon.
        username: String,
        /// As the file holds it, without the newline at its end.
        password: SecretString,
    },
    /// The token that the provider issued for this very request. At least one provider is of a kind
    /// that issues some.
    Grant,
}

/// The registry token service.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// What a 401 asks for.
    pub challenge: ChallengeScheme,
    /// The keys that seal and open tokens; `None`: one of this process's own is to be made.
    pub keys: Option<Arc<TokenKeys>>,
    /// How long a token is good, a minute to 30 days.
    pub lifetime: Duration,
}

/// The program's own log and the access log.
#[derive(Clone, Debug)]
pub struct Log {
    /// What the program's own log tells.
    pub level: tracing::Level,
    /// The form of both logs.
    pub format: LogFormat,
    /// Where the access log goes.
    pub access: AccessLog,
    /// The file of the audit log, where there is one.
    pub audit: Option<PathBuf>,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Standard output.
    Stdout,
    /// Nowhere.
    Off,
    /// The end of a file.
    File(PathBuf),
}
