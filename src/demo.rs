//! The servers that `moorgate demo` runs beside the gate, and that the tests run the gate against:
//! a small container registry, and stand-ins for GitLab's token endpoint, an RFC 7662 server and an
//! OIDC issuer. All of them speak plain HTTP/1.1 on a listener that the caller passes in.

mod certificate;
mod claims;
pub mod gitlab;
pub mod introspection;
pub mod issuer;
mod ledger;
pub mod registry;
mod script;
mod serve;
pub(crate) mod signing_key;
mod web;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::config::load_text;
use crate::net::bind_error;
use crate::run::{Listeners, Running, access_log};
use claims::now;
use gitlab::GitLab;
use introspection::Introspection;
use issuer::OidcIssuer;
use registry::Registry;

pub use certificate::self_signed;
pub use ledger::Ledger;
pub use script::Scripted;

/// The audience of the tokens of the demo's workload.
const AUDIENCE: &str = "moorgate-demo";

/// The repository of the demo that callers without a credential may pull from.
const PUBLIC_REPOSITORY: &str = "demo/public/hello";
/// The group of [`PUBLIC_REPOSITORY`], which the stand-in GitLab treats as public.
const PUBLIC_GROUP: &str = "demo/public";

/// The file with the config for a second gate.
const SECOND_CONFIG: &str = "second-gate.yml";

/// The time that requests in progress have when the demo ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The lifetime of the demo's ID token, in seconds. It exceeds the length of any demo. A real ID
/// token lives for minutes.
const ID_TOKEN_LIFETIME: u64 = 365 * 24 * 3600;

/// The whole demo in one process: a regular gate whose config file names the stand-ins.
pub struct Demo {
    folder: TempDir,
    address: SocketAddr,
    admin: SocketAddr,
    second_port: u16,
    // Fields are dropped in this order: the gate first, then the servers that it talks to.
    running: Running,
    _stand_ins: StandIns,
}

/// The servers that the gate talks to.
struct StandIns {
    registry: Registry,
    gitlab: GitLab,
    introspection: Introspection,
    issuer: OidcIssuer,
}

impl Demo {
    /// Starts the demo with the gate on this port of localhost. With port 0 the kernel picks a
    /// port.
    ///
    /// # Errors
    /// Returns an error if the port is taken or a temporary folder cannot be created.
    pub fn start(port: u16) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("moorgate-demo-").tempdir()?;
        let stand_ins = StandIns::start()?;
        stand_ins.gitlab.set_public(PUBLIC_GROUP);
        let hello = ("hello.txt", "hello from the registry of moorgate demo\n");
        stand_ins.registry.seed(PUBLIC_REPOSITORY, "v1", hello)?;
        // The port is bound and released here, because the config must name it before the gate
        // binds it.
        let port = if port == 0 { loopback(0)?.local_addr()?.port() } else { port };
        let admin = loopback(0)?;

        let (certificate, key) = self_signed()?;
        std::fs::write(folder.path().join("tls.crt"), certificate)?;
        write_secret(&folder.path().join("tls.key"), &key)?;
        write_secret(&folder.path().join("introspection.secret"), introspection::CLIENT_SECRET)?;
        let claims = json!({ "exp": now()? + ID_TOKEN_LIFETIME });
        write_secret(
            &folder.path().join("id_token"),
            &stand_ins.issuer.id_token(AUDIENCE, &claims)?,
        )?;
        let gate = GateConfig {
            comment: "The config of moorgate demo: the gate in front of a small registry, with \
                      stand-ins for\n# three identity providers.",
            port,
            admin: admin.local_addr()?,
            folder: Path::new(""),
        };
        let text = gate.text(&stand_ins);
        let file = folder.path().join("moorgate.yml");
        std::fs::write(&file, &text)?;
        let second_port = loopback(0)?;
        let second_admin = loopback(0)?.local_addr()?;
        let second_port = second_port.local_addr()?.port();
        let second_gate = GateConfig {
            comment: "A config for a second gate, in front of the same servers as moorgate demo. \
                      They end with\n# the demo. The paths are absolute, so the file can be copied.",
            port: second_port,
            admin: second_admin,
            folder: folder.path(),
        };
        std::fs::write(folder.path().join(SECOND_CONFIG), second_gate.text(&stand_ins))?;
        let loaded = load_text(&text, &file, folder.path(), [])
            .map_err(|problems| anyhow::anyhow!("{problems}"))?;

        let listeners = Listeners {
            public: crate::server::bind(loaded.config.http.addr, loaded.config.http.workers)
                .map_err(|error| {
                    let remedy = bind_error::remedy(loaded.config.http.addr, &error);
                    anyhow::anyhow!(
                        "cannot listen on port {port} ({error}); {remedy}: choose it with --port"
                    )
                })?,
            admin,
            admin_is_shared: false,
        };
        let access_log = access_log(&loaded.config.log)?;
        let (address, admin) = (loaded.config.http.addr, loaded.config.admin.addr);
        let running = Running::start(loaded, listeners, access_log)?;
        Ok(Self { folder, address, admin, second_port, running, _stand_ins: stand_ins })
    }

    /// Returns the address that the gate listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address of the gate's health checks and metrics.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Returns the path of the gate's config file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("moorgate.yml")
    }

    /// Returns the path of a config with which `moorgate serve` runs a second gate in front of the
    /// same servers.
    pub fn second_config(&self) -> PathBuf {
        self.folder.path().join(SECOND_CONFIG)
    }

    /// Returns the port that the second gate listens on. It was free when the demo started.
    pub fn second_port(&self) -> u16 {
        self.second_port
    }

    /// Returns the path of the gate's certificate, which clients can be told to trust.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    /// Returns the path of a workload's ID token, as a CI job would have it in a variable.
    pub fn id_token(&self) -> PathBuf {
        self.folder.path().join("id_token")
    }

    /// Returns the image that callers without a credential may pull, without its host.
    pub fn public_image(&self) -> String {
        format!("{PUBLIC_REPOSITORY}:v1")
    }

    /// Returns the longest time that [`drain`](Self::drain) takes.
    pub fn drain_timeout(&self) -> Duration {
        DRAIN_TIMEOUT
    }

    /// Returns the folder that holds all files of the demo. It is deleted when the demo ends.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Drains the gate and ends the demo.
    pub async fn drain(self) -> usize {
        self.running.drain().await
    }
}

impl StandIns {
    fn start() -> io::Result<Self> {
        Ok(Self {
            registry: Registry::start(loopback(0)?)?,
            gitlab: GitLab::start(loopback(0)?)?,
            introspection: Introspection::start(loopback(0)?)?,
            issuer: OidcIssuer::start(loopback(0)?)?,
        })
    }
}

fn loopback(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

/// Writes a file that only its owner can read.
fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(secret.as_bytes())
}

/// The parts in which the configs of the demo differ.
struct GateConfig<'a> {
    comment: &'a str,
    port: u16,
    admin: SocketAddr,
    /// The folder of the files that the config names, as the config has it.
    folder: &'a Path,
}

impl GateConfig<'_> {
    fn text(&self, stand_ins: &StandIns) -> String {
        let Self { comment, port, admin, folder } = self;
        let StandIns { registry, gitlab, introspection, issuer } = stand_ins;
        // Each JSON string is a valid YAML string too, so any name of the folder is quoted right.
        let file = |name| json!(folder.join(name).display().to_string()).to_string();
        format!(
            "# {comment}
version: 1
http:
  addr: 127.0.0.1:{port}
  external_url: https://localhost:{port}
  tls:
    certificate: {certificate}
    key: {key}
  drain_timeout: {drain_timeout}s
admin:
  addr: {admin}
upstream:
  urls: [http://{registry}]
identity:
  - name: workloads
    type: jwt
    issuer: {issuer}
    jwks_url: {jwks_url}
    audience: {AUDIENCE}
    required_claims: {{ namespace_id: [\"42\"] }}
    scopes: [read_registry, write_registry]
  - name: sso
    type: introspection
    url: {introspection}
    client_id: {client_id}
    client_secret_file: {client_secret}
    accepts: {{ prefixes: [sso-] }}
  - name: gitlab
    type: gitlab
    url: http://{gitlab}
    anonymous: true
log:
  format: text
",
            certificate = file("tls.crt"),
            key = file("tls.key"),
            client_secret = file("introspection.secret"),
            drain_timeout = DRAIN_TIMEOUT.as_secs(),
            registry = registry.address(),
            issuer = issuer.url(),
            jwks_url = issuer.jwks_url(),
            introspection = introspection.url(),
            client_id = introspection::CLIENT_ID,
            gitlab = gitlab.address(),
        )
    }
}
