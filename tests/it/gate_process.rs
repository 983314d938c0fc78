//! A gate in a separate process, so that its memory and its descriptors can be told from those of
//! the test. The demo's registry runs in the test.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use moorgate::demo::registry::Registry;
use moorgate::demo::self_signed;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::{ask_admin, connect_tls, listener};
use crate::scripted_upstream::soon;

/// The user in the htpasswd file of the gate, who may pull and push.
pub const USER: (&str, &str) = ("alice", "secret");

const HTPASSWD: &str =
    "- { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry, write_registry] }";

/// The settings of the gate.
#[derive(Default)]
pub struct ProcessSetup<'a> {
    pub tls: bool,
    /// Lines of `http`.
    pub http: &'a [&'a str],
    /// Lines of `identity` after the provider with [`USER`].
    pub identity: &'a [&'a str],
    /// More sections of the config.
    pub sections: &'a str,
    /// Files beside the config: name and content.
    pub files: &'a [(&'a str, &'a str)],
}

/// A running gate. It is killed when this value is dropped.
pub struct GateProcess {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    certificate: String,
    log: PathBuf,
    child: Child,
    registry: Registry,
    _folder: TempDir,
}

impl GateProcess {
    pub async fn start(setup: ProcessSetup<'_>) -> Self {
        let registry = Registry::start(listener()).unwrap();
        registry.ledger().keep();
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = self_signed().unwrap();
        let hash = bcrypt::hash(USER.1, 4).unwrap();
        for (name, content) in [
            ("tls.crt", &certificate),
            ("tls.key", &key),
            ("htpasswd", &format!("{}:{hash}\n", USER.0)),
        ] {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        for (name, content) in setup.files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let http: String = setup.http.iter().map(|line| format!("  {line}\n")).collect();
        let tls = if setup.tls { "  tls: { certificate: tls.crt, key: tls.key }\n" } else { "" };
        let identity: String = [&[HTPASSWD], setup.identity]
            .concat()
            .iter()
            .map(|line| format!("  {line}\n"))
            .collect();
        let upstream = registry.address();
        let (config, log) =
            (folder.path().join("moorgate.yml"), folder.path().join("moorgate.log"));
        let ((child, address), admin) = soon(async {
            loop {
                // The ports were free a moment ago. If another process has taken one since, the
                // gate exits.
                let (address, admin) = (free(), free());
                let text = format!(
                    "version: 1\nhttp:\n  addr: {address}\n  \
                     external_url: https://registry.test\n  workers: 2\n\
                     {tls}{http}admin: {{ addr: \"{admin}\" }}\n\
                     upstream: {{ urls: [\"http://{upstream}\"] }}\nidentity:\n\
                     {identity}log: {{ access: off }}\n{}",
                    setup.sections
                );
                std::fs::write(&config, text).unwrap();
                if let Some(child) = listening(&config, &log, address).await {
                    return ((child, address), admin);
                }
            }
        })
        .await;
        Self { address, admin, certificate, log, child, registry, _folder: folder }
    }

    /// Opens a TLS connection that offers one ALPN protocol.
    pub async fn tls(&self, alpn: &[u8]) -> TlsStream<TcpStream> {
        self.tls_on(TcpStream::connect(self.address).await.unwrap(), alpn).await
    }

    /// Performs the TLS handshake on an existing connection.
    pub async fn tls_on(&self, socket: TcpStream, alpn: &[u8]) -> TlsStream<TcpStream> {
        connect_tls(socket, &self.certificate, &[alpn]).await
    }

    /// Opens an HTTP/2 connection, which a separate task drives.
    pub async fn http2(&self) -> h2::client::SendRequest<bytes::Bytes> {
        let (sender, connection) = h2::client::handshake(self.tls(b"h2").await).await.unwrap();
        tokio::spawn(connection);
        sender.ready().await.unwrap()
    }

    /// Returns the resident memory in KiB: the current value, and the peak since the last
    /// [`forget_peak`](Self::forget_peak) (proc(5)).
    pub fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    pub fn forget_peak(&self) {
        std::fs::write(self.proc("clear_refs"), "5").unwrap();
    }

    /// Returns the program log.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Returns the number of requests that reached the registry.
    pub fn forwarded(&self) -> usize {
        self.registry.ledger().count()
    }

    /// Returns the value of a metric, with its labels, or 0 if it does not exist yet.
    pub async fn metric(&self, name: &str) -> usize {
        let metrics = ask_admin(self.admin, "/metrics").await.body;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Returns the number of open file descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// Waits, without a time limit, until at most `count` connections are open.
    pub async fn connections_fall_to(&self, count: usize) {
        while self.metric("moorgate_connections").await > count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }
}

impl Drop for GateProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free() -> SocketAddr {
    listener().local_addr().unwrap()
}

/// Starts a gate and waits until it listens on `address`. Returns `None` if it exits instead.
async fn listening(config: &Path, log: &Path, address: SocketAddr) -> Option<Child> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_moorgate"))
        .arg("serve")
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(log).unwrap())
        .spawn()
        .unwrap();
    while child.try_wait().unwrap().is_none() {
        if TcpStream::connect(address).await.is_ok() {
            return Some(child);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    None
}
