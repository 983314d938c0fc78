//! What `moorgate demo` runs beside the gate, and what the tests run it against: a small container registry, and
//! stand-ins for GitLab's token endpoint, an RFC 7662 server and an OIDC issuer. All speak plain HTTP/1.1 on a listener
//! that the caller hands over.

mod certificate;
mod claims;
pub mod gitlab;
pub mod introspection;
pub mod issuer;
mod ledger;
pub mod registry;
mod script;
mod serve;
mod signing_key;
mod web;

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::config::load_text;
use crate::run::{Listeners, Running, access_log};
use gitlab::GitLab;
use registry::Registry;

pub use certificate::self_signed;
pub use ledger::Ledger;
pub use script::Scripted;

/// Everything in one process: the gate as it always is, with a config file that names the two stand-ins.
pub struct Demo {
    folder: TempDir,
    address: SocketAddr,
    admin: SocketAddr,
    // Dropped in this order: the gate first, then what it talks to.
    running: Running,
    _gitlab: GitLab,
    _registry: Registry,
}

impl Demo {
    /// Starts the demo with the gate on this port of localhost; 0 lets the kernel pick one.
    ///
    /// # Errors
    /// Where the port is taken, or no temporary folder can be had.
    pub fn start(port: u16) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("moorgate-demo-").tempdir()?;
        let registry = Registry::start(loopback(0)?)?;
        let gitlab = GitLab::start(loopback(0)?)?;
        // Taken and given back: the config must name the port before the gate binds it.
        let port = if port == 0 { loopback(0)?.local_addr()?.port() } else { port };
        let admin = loopback(0)?;

        let (certificate, key) = self_signed()?;
        std::fs::write(folder.path().join("tls.crt"), certificate)?;
        let mut key_file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.path().join("tls.key"))?;
        key_file.write_all(key.as_bytes())?;
        let text = config_text(port, admin.local_addr()?, registry.address(), gitlab.address());
        let file = folder.path().join("moorgate.yml");
        std::fs::write(&file, &text)?;
        let loaded = load_text(&text, &file, folder.path(), []).map_err(|problems| anyhow::anyhow!("{problems}"))?;

        let listeners = Listeners {
            public: crate::server::bind(loaded.config.http.addr, loaded.config.http.workers)
                .with_context(|| format!("port {port} cannot be had; name another one with --port"))?,
            admin,
        };
        let access_log = access_log(&loaded.config.log)?;
        let (address, admin) = (loaded.config.http.addr, loaded.config.admin.addr);
        let running = Running::start(loaded.config, listeners, access_log)?;
        Ok(Self { folder, address, admin, running, _gitlab: gitlab, _registry: registry })
    }

    /// Where the gate listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its health checks and metrics are.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its config file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("moorgate.yml")
    }

    /// The folder that holds all of it, gone when the demo ends.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends the demo as a gate ends.
    pub async fn drain(self) -> usize {
        self.running.drain().await
    }
}

fn loopback(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

fn config_text(port: u16, admin: SocketAddr, registry: SocketAddr, gitlab: SocketAddr) -> String {
    format!(
        "# The config of moorgate demo: the gate in front of a small registry, with a stand-in for GitLab.
version: 1
http:
  addr: 127.0.0.1:{port}
  external_url: https://localhost:{port}
  tls:
    certificate: tls.crt
    key: tls.key
  drain_timeout: 10s
admin:
  addr: {admin}
upstream:
  urls: [http://{registry}]
identity:
  - name: gitlab
    type: gitlab
    url: http://{gitlab}
log:
  format: text
"
    )
}
