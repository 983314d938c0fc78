//! The configuration file as written: every key, its default and its description.
//!
//! This is the only source of the schema (the comments here are its descriptions), of the defaults
//! and of `print-config`. A key that the operator must set is an `Option` marked `required`. It is
//! `None` only if its absence was reported.

mod identity;
mod limits;
mod policy;
mod redis;
mod telemetry;
mod upstream;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::format::{
    ByteSize, Duration, ListenAddress, Network, ScopeName, UpTo30Days, UpToAnHour, Workers,
};
use super::url::ExternalUrl;
use crate::record::LogFormat;

pub(super) use identity::*;
pub(super) use limits::{LimitOverrideSection, LimitsSection, RateLimit};
pub(super) use policy::{PolicyMode, PolicySection, RuleAction, RuleSection};
pub(super) use redis::RedisSection;
pub(super) use telemetry::TelemetrySection;
pub(super) use upstream::{Authorization, Redirects, UpstreamSection};

/// The configuration of moorgate, an authenticating reverse proxy in front of a container registry.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "moorgate configuration")]
pub(super) struct Raw {
    /// The version of the file format, which is 1.
    #[schemars(required, extend("enum" = [1]))]
    pub(super) version: Option<u8>,
    /// The public listener.
    pub(super) http: HttpSection,
    /// The listener for health checks and metrics.
    pub(super) admin: AdminSection,
    /// The registry behind the gate.
    pub(super) upstream: UpstreamSection,
    /// The identity providers that verify credentials, in the order in which they are asked.
    // An entry is `None` if its type is unknown, so that the other entries keep their index.
    #[schemars(with = "Vec<ProviderSection>", length(min = 1))]
    pub(super) identity: Option<Vec<Option<ProviderSection>>>,
    /// The scopes that a credential needs for each operation.
    pub(super) scopes: ScopesSection,
    /// The rules that narrow what credentials allow.
    pub(super) policy: PolicySection,
    /// The registry token service, at /token on the public listener.
    pub(super) tokens: TokensSection,
    /// The lifetimes and the largest numbers of cached verdicts about credentials.
    pub(super) cache: CacheSection,
    /// The limits on requests, wrong credentials, pulls and uploads.
    pub(super) limits: LimitsSection,
    /// The Redis or Valkey through which several gates act as one; null: each gate by itself.
    pub(super) redis: Option<RedisSection>,
    /// The program log, the access log and the audit log.
    pub(super) log: LogSection,
    /// Traces, sent to an OpenTelemetry collector.
    pub(super) telemetry: TelemetrySection,
}

/// The public listener.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HttpSection {
    /// The IP address and port to listen on.
    pub(super) addr: ListenAddress,
    /// The URL at which clients reach the gate. The realm and the service of challenges are made
    /// from it, never from a request.
    #[schemars(required)]
    pub(super) external_url: Option<ExternalUrl>,
    /// The TLS certificate and its key; null: plain HTTP/1.1, for a gate behind another TLS
    /// terminator.
    pub(super) tls: Option<TlsSection>,
    /// True if clients are offered HTTP/2 in addition to HTTP/1.1. HTTP/2 needs TLS.
    pub(super) http2: bool,
    /// The number of worker threads: auto (one per CPU) or 1 to 512.
    pub(super) workers: Workers,
    /// The networks whose X-Forwarded-For header the gate believes.
    pub(super) trusted_proxies: Vec<Network>,
    /// True if trusted_proxies must send a PROXY header, version 1 or 2. The header is refused
    /// from all other addresses.
    pub(super) proxy_protocol: bool,
    /// The largest number of connections served at once, 1 to 1000000. Further connections wait.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) max_connections: u32,
    /// The longest time from accepting a connection to the end of its TLS handshake.
    pub(super) handshake_timeout: Duration,
    /// The longest time from the end of the handshake, or from the first byte of a later request,
    /// to the end of the request's headers.
    pub(super) header_timeout: Duration,
    /// The longest time between two requests on a connection.
    pub(super) idle_timeout: Duration,
    /// The longest time for which a body may make no progress. The whole body has no time limit,
    /// because layers take minutes.
    pub(super) stall_timeout: Duration,
    /// The largest size of all headers of a request together, 4KiB to 256KiB.
    pub(super) max_header_bytes: ByteSize,
    /// The longest time that requests have to end after SIGTERM and drain_delay.
    pub(super) drain_timeout: Duration,
    /// The time after SIGTERM for which the gate still accepts connections while /readyz answers
    /// 503, so that load balancers notice; 0s to 1h.
    pub(super) drain_delay: UpToAnHour,
}

impl Default for HttpSection {
    fn default() -> Self {
        Self {
            // An unprivileged port that differs from the upstream's 5000.
            addr: ListenAddress(SocketAddr::from(([0, 0, 0, 0], 8443))),
            external_url: None,
            tls: None,
            http2: true,
            workers: Workers::Auto,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            max_connections: 10_000,
            handshake_timeout: Duration::seconds(10),
            header_timeout: Duration::seconds(10),
            idle_timeout: Duration::seconds(60),
            stall_timeout: Duration::seconds(60),
            max_header_bytes: ByteSize::kibibytes(32),
            // A restart should not cut off a layer of a few GB on a slow line.
            drain_timeout: Duration::minutes(5),
            drain_delay: UpToAnHour::seconds(0),
        }
    }
}

/// The TLS settings of the public listener.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TlsSection {
    /// A PEM file with the certificate, followed by its intermediates.
    #[schemars(required, length(min = 1), extend("format" = "file", "examples" = ["tls.crt"]))]
    pub(super) certificate: Option<String>,
    /// A PEM file with the private key, not encrypted.
    #[schemars(required, length(min = 1), extend("format" = "file", "examples" = ["tls.key"]))]
    pub(super) key: Option<String>,
    /// The oldest TLS version that the gate accepts: 1.2 or 1.3.
    pub(super) minimum_version: TlsVersion,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

/// The listener for health checks and metrics.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AdminSection {
    /// The IP address and port to listen on. It must differ from http.addr.
    pub(super) addr: ListenAddress,
    /// A file with the secret that POST /revoke requires, of 16 bytes or more; null: every POST
    /// /revoke is refused.
    #[schemars(length(min = 1), extend("format" = "file", "examples" = ["admin.token"]))]
    pub(super) token_file: Option<String>,
}

impl Default for AdminSection {
    fn default() -> Self {
        // Only the scraper on this machine reads metrics unless the operator sets another address.
        Self { addr: ListenAddress(SocketAddr::from(([127, 0, 0, 1], 9464))), token_file: None }
    }
}

/// The scopes that a credential needs for each operation. It needs every scope of the list.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ScopesSection {
    /// The scopes for reading manifests, blobs, tags and referrers.
    pub(super) pull: ScopeList,
    /// The scopes for uploading blobs and manifests.
    pub(super) push: ScopeList,
    /// The scopes for deleting manifests and blobs.
    pub(super) delete: ScopeList,
    /// Scopes that stand for other scopes, such as those of GitLab's own OAuth:
    /// `{ api: [read_registry, write_registry, delete_registry], read_api: [read_registry] }`.
    #[schemars(extend("propertyNames" = { "format": "scope" }))]
    pub(super) equivalents: BTreeMap<ScopeName, ScopeList>,
}

/// One or more scopes. An empty list would require nothing, and so let every caller in.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(transparent)]
#[schemars(extend("minItems" = 1))]
pub(super) struct ScopeList(pub(super) Vec<ScopeName>);

impl Default for ScopesSection {
    /// Returns the names of GitLab's scopes:
    /// <https://docs.gitlab.com/user/profile/personal_access_tokens/#personal-access-token-scopes>.
    fn default() -> Self {
        let scopes = |names: &[&str]| {
            ScopeList(names.iter().map(|name| ScopeName((*name).to_owned())).collect())
        };
        Self {
            pull: scopes(&["read_registry"]),
            // A push asks the registry for pull and push, but write_registry alone grants only
            // push.
            push: scopes(&["read_registry", "write_registry"]),
            delete: scopes(&["delete_registry"]),
            // Empty, because `api` has another meaning for other servers than for GitLab.
            equivalents: BTreeMap::new(),
        }
    }
}

/// The registry token service, at /token on the public listener.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TokensSection {
    /// The scheme of the challenge in a 401: bearer or basic. The gate accepts both kinds of
    /// credential with either scheme.
    pub(super) challenge: ChallengeScheme,
    /// A file of keys, one per line, each 32 random bytes in base64. The first key seals tokens,
    /// and all keys open them; null: a key that only this process has, and that replicas cannot
    /// share.
    #[schemars(length(min = 1), extend("format" = "file", "examples" = ["tokens.keys"]))]
    pub(super) key_file: Option<String>,
    /// The lifetime of a token, 60s to 720h (30 days). Its credential is verified again after
    /// cache.ttl.
    pub(super) lifetime: Duration,
    /// The lifetime of a refresh token, which a client keeps in place of a password, 1s to 720h
    /// (30 days); 0s: the gate issues none. It needs key_file.
    pub(super) session: UpTo30Days,
}

impl Default for TokensSection {
    fn default() -> Self {
        // An hour is long enough for a push. It is not too long, because the credential in a token
        // is verified again after `cache.ttl`.
        Self {
            challenge: ChallengeScheme::Bearer,
            key_file: None,
            lifetime: Duration::hours(1),
            // Pull secrets that are copied from `config.json` do not work with refresh tokens.
            session: UpTo30Days::seconds(0),
        }
    }
}

/// The kind of credential that a 401 asks for (RFC 9110, section 11.6.1). The gate accepts both
/// kinds with either scheme.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChallengeScheme {
    Bearer,
    Basic,
}

/// The lifetimes and the largest numbers of cached verdicts about credentials.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CacheSection {
    /// The time for which a valid credential is not verified again. It never exceeds the
    /// credential's own expiry.
    pub(super) ttl: Duration,
    /// The time for which a wrong credential is not verified again.
    pub(super) negative_ttl: Duration,
    /// The time beyond ttl for which a valid credential may still pull while its provider cannot
    /// be reached, 0s to 1h.
    pub(super) stale_if_error: UpToAnHour,
    /// The largest number of valid credentials in the cache, 1 or more.
    #[schemars(range(min = 1))]
    pub(super) capacity: u64,
    /// The largest number of wrong credentials in the cache, 1 or more.
    #[schemars(range(min = 1))]
    pub(super) negative_capacity: u64,
}

impl Default for CacheSection {
    fn default() -> Self {
        Self {
            // A revoked credential stays valid for up to this time.
            ttl: Duration::seconds(60),
            // Clients repeat a wrong password up to twelve times.
            negative_ttl: Duration::seconds(10),
            // Enough for a provider's restart or upgrade. In an outage, a revoked credential stays
            // valid for this much longer.
            stale_if_error: UpToAnHour::minutes(10),
            capacity: 100_000,
            negative_capacity: 10_000,
        }
    }
}

/// The program log, the access log and the audit log.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LogSection {
    /// The level of the program log on standard error: error, warn, info, debug or trace.
    pub(super) level: LogLevel,
    /// The format of the program log and of the access log: json, or text for terminals.
    pub(super) format: LogFormat,
    /// The destination of the access log: stdout, off or a file.
    #[schemars(length(min = 1), extend("format" = "access-log-target", "examples" = ["stdout"]))]
    pub(super) access: String,
    /// The destination of the audit log, which records allowed writes and refusals: off or a file.
    /// A write is refused if its line cannot be written.
    #[schemars(length(min = 1), extend("format" = "audit-log-target", "examples" = ["audit.log"]))]
    pub(super) audit: String,
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            format: LogFormat::Json,
            access: "stdout".to_owned(),
            audit: "off".to_owned(),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}
