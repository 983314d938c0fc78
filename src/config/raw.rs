//! The configuration file as it is written: every key, its default and what it means.
//!
//! The one source of the schema (the comments here are its descriptions), of the defaults and of
//! `print-config`. A key that must be given is an `Option` marked `required`: it is `None` only
//! where its absence was reported.

mod identity;
mod limits;
mod policy;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::format::{ByteSize, Duration, ListenAddress, Network, ScopeName, UpToAnHour, Workers};
use super::url::{ExternalUrl, ServerUrl};

pub(super) use identity::{
    Accepts, ClaimValues, Gitlab, Htpasswd, Introspection, Jwt, Provider, RegistryToken, Server,
};
pub(super) use limits::{LimitOverride, Limits, RateLimit};
pub(super) use policy::{Policy, PolicyMode, Rule, RuleAction};

/// The configuration of moorgate, an authenticating reverse proxy in front of a container registry.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "moorgate configuration")]
pub(super) struct Raw {
    /// The version of this form of file.
    #[schemars(required, extend("enum" = [1]))]
    pub(super) version: Option<u8>,
    /// The public listener.
    pub(super) http: Http,
    /// The listener for health checks and metrics.
    pub(super) admin: Admin,
    /// The registry behind the gate.
    pub(super) upstream: Upstream,
    /// Who verifies credentials, asked in this order.
    // An entry is `None` where its type was not known, so that the others keep their place in the
    // list.
    #[schemars(with = "Vec<Provider>", length(min = 1))]
    pub(super) identity: Option<Vec<Option<Provider>>>,
    /// What an operation needs of what a credential has.
    pub(super) scopes: Scopes,
    /// Rules that narrow what credentials allow.
    pub(super) policy: Policy,
    /// The registry token service, at /token on the public listener.
    pub(super) tokens: Tokens,
    /// How long verdicts about credentials are kept, and how many.
    pub(super) cache: Cache,
    /// How often callers may come.
    pub(super) limits: Limits,
    /// The program's own log and the access log.
    pub(super) log: Log,
}

/// The public listener.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Http {
    /// The address and port to listen on.
    pub(super) addr: ListenAddress,
    /// How clients reach the gate. The realm and the service of challenges come from here, never
    /// from a request.
    #[schemars(required)]
    pub(super) external_url: Option<ExternalUrl>,
    /// The certificate; null is plain HTTP/1.1, for a gate behind another TLS terminator.
    pub(super) tls: Option<Tls>,
    /// Whether HTTP/2 is offered beside HTTP/1.1. It needs TLS.
    pub(super) http2: bool,
    /// Worker threads: auto (one per CPU) or 1 to 512.
    pub(super) workers: Workers,
    /// Networks whose X-Forwarded-For is believed.
    pub(super) trusted_proxies: Vec<Network>,
    /// Whether a PROXY header, version 1 or 2, is demanded of trusted_proxies and refused from
    /// others.
    pub(super) proxy_protocol: bool,
    /// Connections served at once; further ones wait.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) max_connections: u32,
    /// From accepting a connection to the end of its TLS handshake.
    pub(super) handshake_timeout: Duration,
    /// From there, or from the first byte of a later request, to the end of its headers.
    pub(super) header_timeout: Duration,
    /// Between requests.
    pub(super) idle_timeout: Duration,
    /// How long a body may make no progress. There is no limit on the whole: layers take minutes.
    pub(super) stall_timeout: Duration,
    /// All headers of a request together, 4KiB to 256KiB.
    pub(super) max_header_bytes: ByteSize,
    /// How long requests may take to end after SIGTERM.
    pub(super) drain_timeout: Duration,
    /// How long the gate goes on accepting after SIGTERM with /readyz at 503, so that balancers
    /// notice; 0s to 1h.
    pub(super) drain_delay: UpToAnHour,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            // Unprivileged, and not the upstream's 5000.
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
            // A layer of a few GB on a slow line: a restart should not cut it off.
            drain_timeout: Duration::minutes(5),
            drain_delay: UpToAnHour::seconds(0),
        }
    }
}

/// TLS of the public listener.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tls {
    /// A PEM file: the certificate, then its intermediates.
    #[schemars(required, length(min = 1), extend("examples" = ["tls.crt"]))]
    pub(super) certificate: Option<String>,
    /// A PEM file: the private key, not encrypted.
    #[schemars(required, length(min = 1), extend("examples" = ["tls.key"]))]
    pub(super) key: Option<String>,
    /// The oldest version spoken.
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
pub(super) struct Admin {
    /// The address and port to listen on, never the public one.
    pub(super) addr: ListenAddress,
    /// A file with the secret, of 16 bytes or more, that POST /revoke takes.
    #[schemars(length(min = 1), extend("examples" = ["admin.token"]))]
    pub(super) token_file: Option<String>,
}

impl Default for Admin {
    fn default() -> Self {
        // Loopback: metrics are for the machine's own scraper until somebody decides otherwise.
        Self { addr: ListenAddress(SocketAddr::from(([127, 0, 0, 1], 9464))), token_file: None }
    }
}

/// The registry behind the gate.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Upstream {
    /// Where it is: exactly one URL, without a path.
    #[schemars(required, length(min = 1, max = 1), extend("examples" = [["http://127.0.0.1:5000"]]))]
    pub(super) urls: Option<Vec<ServerUrl>>,
    /// What the registry is shown instead of the caller's credential: strip (nothing), basic
    /// (username and password_file) or grant (the token that the provider issued for this very
    /// request).
    pub(super) authorization: Authorization,
    /// The user name for authorization: basic.
    #[schemars(length(min = 1), extend("examples" = ["moorgate"]))]
    pub(super) username: Option<String>,
    /// A file that holds the password for authorization: basic, in one line.
    #[schemars(length(min = 1), extend("examples" = ["upstream.password"]))]
    pub(super) password_file: Option<String>,
    /// A PEM file of the authorities that its certificate may come from; null: the system's.
    #[schemars(length(min = 1), extend("examples" = ["ca.pem"]))]
    pub(super) ca: Option<String>,
    /// How long connecting may take, TLS included.
    pub(super) connect_timeout: Duration,
    /// From the end of a request to the head of the answer.
    pub(super) response_timeout: Duration,
    /// The same for the last PUT of an upload: registries on object storage copy then.
    pub(super) upload_response_timeout: Duration,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            urls: None,
            authorization: Authorization::Strip,
            username: None,
            password_file: None,
            ca: None,
            connect_timeout: Duration::seconds(5),
            response_timeout: Duration::seconds(60),
            upload_response_timeout: Duration::minutes(15),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Authorization {
    Strip,
    Basic,
    Grant,
}

/// What an operation needs of what a credential has: every scope listed.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Scopes {
    /// Reading manifests, blobs, tags and referrers.
    pub(super) pull: ScopeList,
    /// Uploading blobs and manifests.
    pub(super) push: ScopeList,
    /// Deleting manifests and blobs.
    pub(super) delete: ScopeList,
    /// Scopes that stand for others, such as those of GitLab's own OAuth:
    /// `{ api: [read_registry, write_registry, delete_registry], read_api: [read_registry] }`.
    #[schemars(extend("propertyNames" = { "format": "scope" }))]
    pub(super) equivalents: BTreeMap<ScopeName, ScopeList>,
}

/// One scope or more: an empty list would ask for nothing, and so let everybody in.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(transparent)]
#[schemars(extend("minItems" = 1))]
pub(super) struct ScopeList(pub(super) Vec<ScopeName>);

impl Default for Scopes {
    /// GitLab's words: <https://docs.gitlab.com/user/profile/personal_access_tokens/#personal-access-token-scopes>.
    fn default() -> Self {
        let scopes = |names: &[&str]| {
            ScopeList(names.iter().map(|name| ScopeName((*name).to_owned())).collect())
        };
        Self {
            pull: scopes(&["read_registry"]),
            // A push asks the registry for pull and push, and write_registry alone grants push
            // only.
            push: scopes(&["read_registry", "write_registry"]),
            delete: scopes(&["delete_registry"]),
            // None: `api` means something else to other servers than to GitLab.
            equivalents: BTreeMap::new(),
        }
    }
}

/// The registry token service, at /token on the public listener.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tokens {
    /// What a 401 asks for: bearer or basic. Either kind of credential is accepted either way.
    pub(super) challenge: ChallengeScheme,
    /// A file of keys, 32 random bytes in base64 a line: the first seals tokens, all open them;
    /// null: a key of this process's own, which replicas cannot share.
    #[schemars(length(min = 1), extend("examples" = ["tokens.keys"]))]
    pub(super) key_file: Option<String>,
    /// How long a token is good, 60s to 720h (30 days). The credential in it is asked about again
    /// after cache.ttl.
    pub(super) lifetime: Duration,
}

impl Default for Tokens {
    fn default() -> Self {
        // An hour: no push dies of it, for the credential in a token is verified again all the
        // while.
        Self { challenge: ChallengeScheme::Bearer, key_file: None, lifetime: Duration::hours(1) }
    }
}

/// The credential that a 401 asks for (RFC 9110, section 11.6.1). The gate accepts either kind,
/// whichever it asks for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChallengeScheme {
    Bearer,
    Basic,
}

/// How long verdicts about credentials are kept, and how many.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Cache {
    /// How long a credential counts as good without asking again, but never past its own expiry.
    pub(super) ttl: Duration,
    /// How long a credential counts as bad.
    pub(super) negative_ttl: Duration,
    /// How long past that a good credential still pulls while its provider cannot be reached, 0s
    /// to 1h.
    pub(super) stale_if_error: UpToAnHour,
    /// Good credentials kept.
    #[schemars(range(min = 1))]
    pub(super) capacity: u64,
    /// Bad credentials kept.
    #[schemars(range(min = 1))]
    pub(super) negative_capacity: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            // A revoked credential lives this long.
            ttl: Duration::seconds(60),
            // Clients repeat a wrong password up to twelve times.
            negative_ttl: Duration::seconds(10),
            // A provider's restart or upgrade; a revoked credential lives this much longer in an
            // outage.
            stale_if_error: UpToAnHour::minutes(10),
            capacity: 100_000,
            negative_capacity: 10_000,
        }
    }
}

/// The program's own log and the access log.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    /// What the program's own log, on standard error, tells.
    pub(super) level: LogLevel,
    /// The form of both logs: json, or text for terminals.
    pub(super) format: LogFormat,
    /// Where the access log goes: stdout, off, or a file.
    #[schemars(length(min = 1), extend("examples" = ["stdout"]))]
    pub(super) access: String,
    /// Where allowed writes and refusals are told of: off, or a file. A write whose line cannot be
    /// written is refused.
    #[schemars(length(min = 1), extend("examples" = ["audit.log"]))]
    pub(super) audit: String,
}

impl Default for Log {
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

/// The format of the program's own log and of the access log.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Text,
}
