//! A complete gate for a test: the gate itself on ports that the kernel picked, the demo's registry
//! behind it with its ledger as the oracle, the demo's GitLab beside it, and the access log in
//! memory.

mod http1;
mod log;
mod setup;
mod tls;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use moorgate::config::{LoadAttempt, attempt};
use moorgate::demo::gitlab::GitLab;
use moorgate::demo::issuer::OidcIssuer;
use moorgate::demo::registry::{Received, Registry};
use moorgate::demo::{Ledger, self_signed};
use moorgate::record::{AccessLog, LogFormat};
use moorgate::run::{ConfigSource, Listeners, Reloader, Running, WatchIntervals};
use moorgate::server::bind;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::canary::{self, Canary};

pub use http1::{Reply, exchange, read_head, read_reply, read_to_close, request};
pub use log::Log;
pub use setup::Setup;
pub use tls::{connect_tls, trusting, try_tls};

/// A credential of the stand-in GitLab that may pull and push below `demo/`.
pub const READ_WRITE: (&str, &str) = ("alice", "glpat-demo-personal-read-write");
/// A credential that may only pull.
pub const READ_ONLY: (&str, &str) = ("alice", "glpat-demo-personal-read-only");

/// A manifest that needs nothing else in the registry: an image index of no manifests.
pub const EMPTY_INDEX: &str = "{\"schemaVersion\":2,\
                               \"mediaType\":\"application/vnd.oci.image.index.v1+json\",\
                               \"manifests\":[]}";
/// The header line with the media type of an image index.
pub const INDEX_TYPE: &str = "Content-Type: application/vnd.oci.image.index.v1+json\r\n";

/// The longest wait of a test. Reaching it fails the test.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running gate with its registry and its stand-in GitLab.
pub struct TestGate {
    /// Searches everything that the gate has emitted for secrets, before the other fields are
    /// dropped.
    _canary: Canary,
    /// The address of the public listener.
    pub address: SocketAddr,
    /// The address of the admin listener.
    pub admin: SocketAddr,
    /// The requests that reached the demo's registry.
    pub ledger: Arc<Ledger<Received>>,
    /// The stand-in GitLab, whose ledger keeps every question.
    pub gitlab: GitLab,
    /// The certificate that the gate serves, in PEM.
    pub certificate: String,
    pub running: Running,
    /// Reloads the config when the test calls it.
    pub reloader: Option<Reloader>,
    log: Log,
    folder: TempDir,
    registry: Registry,
}

impl TestGate {
    /// Starts a gate in front of the demo's registry, with the stand-in GitLab.
    pub async fn plain() -> Self {
        Self::start(Setup::default()).await
    }

    /// Starts a gate as [`plain`](Self::plain) does, with TLS and HTTP/2.
    pub async fn tls() -> Self {
        Self::start(Setup { tls: true, ..Setup::default() }).await
    }

    /// Starts a gate.
    pub async fn start(setup: Setup) -> Self {
        canary::watch_program_log();
        let registry = Registry::start(listener()).unwrap();
        let gitlab = GitLab::start(listener()).unwrap();
        registry.ledger().keep();
        gitlab.ledger().keep();

        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = self_signed().unwrap();
        std::fs::write(folder.path().join("tls.crt"), &certificate).unwrap();
        std::fs::write(folder.path().join("tls.key"), key).unwrap();
        let users = setup.htpasswd_users.iter().map(|(user, password)| {
            canary::plant(password);
            let hash = bcrypt::hash(password, 4).unwrap();
            format!("{user}:{hash}\n")
        });
        std::fs::write(folder.path().join("htpasswd"), users.collect::<String>()).unwrap();

        for (name, content) in &setup.files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }

        let upstream = setup.upstream_address.unwrap_or(registry.address());
        let text = setup.config(upstream, gitlab.address());
        let source = ConfigSource { path: folder.path().join("test.yml"), environment: Vec::new() };
        std::fs::write(&source.path, &text).unwrap();
        let LoadAttempt { loaded, files } = attempt(&source.path, []);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let listeners = Listeners {
            public: bind(loaded.config.http.addr, setup.workers.unwrap_or(2)).unwrap(),
            admin: listener(),
            admin_is_shared: false,
        };
        let (address, admin) =
            (listeners.public[0].local_addr().unwrap(), listeners.admin.local_addr().unwrap());
        let log = Log::default();
        let access_log = AccessLog::to(LogFormat::Json, log.clone()).unwrap();
        let running = Running::start(loaded, listeners, access_log).unwrap();
        let ledger = registry.ledger();
        let live = running.live();
        let _canary =
            Canary::new(address, setup.tls, folder.path().to_owned(), move || live.metrics());
        let intervals =
            WatchIntervals { interval: Duration::from_millis(1), settle: Duration::ZERO };
        let reloader = Some(Reloader::new(running.live(), source, files, intervals));
        Self {
            _canary,
            address,
            admin,
            ledger,
            gitlab,
            certificate,
            running,
            reloader,
            log,
            folder,
            registry,
        }
    }

    /// Returns the path of a file beside the config. `test.yml` is the config itself.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces the content of a file beside the config.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.file(name), content).unwrap();
    }

    /// Replaces a text in the config file. Panics if the file does not contain it.
    pub fn edit(&self, old: &str, new: &str) {
        let text = std::fs::read_to_string(self.file("test.yml")).unwrap();
        assert!(text.contains(old), "{old} is not in {text}");
        self.write("test.yml", text.replace(old, new));
    }

    /// Checks the files and reloads. Panics if no file has changed. Returns whether the reload
    /// succeeded.
    pub async fn reload(&mut self) -> bool {
        assert!(self.reloader.as_mut().unwrap().check(), "nothing has changed");
        self.admin("/metrics").await.body.contains("moorgate_config_reload_success 1\n")
    }

    /// Opens a TCP connection to the public listener.
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a new connection and returns everything that the gate sends until it closes
    /// the connection.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        read_to_close(&mut stream).await
    }

    /// Sends an HTTP/1.1 request without TLS, with `Connection: close`, and with Basic if there is
    /// a credential.
    pub async fn send(
        &self,
        method: &str,
        target: &str,
        credential: Option<(&str, &str)>,
        headers: &str,
        body: &str,
    ) -> Reply {
        Reply::parse(&self.raw(request(method, target, credential, headers, body)).await)
    }

    /// Sends a GET.
    pub async fn get(&self, target: &str, credential: Option<(&str, &str)>) -> Reply {
        self.send("GET", target, credential, "", "").await
    }

    /// Sends a GET to the admin listener.
    pub async fn admin(&self, path: &str) -> Reply {
        ask_admin(self.admin, path).await
    }

    /// Waits until the breaker of a provider is open. The gate opens it after a probe of its own,
    /// which no request waits for.
    pub async fn breaker_opens(&self) {
        let begun = std::time::Instant::now();
        while !self.admin("/status.json").await.body.contains("\"breaker\": \"open\"") {
            assert!(begun.elapsed() < PATIENCE, "it never opens");
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the access log has at least `lines` lines, and returns all of them.
    pub async fn log(&self, lines: usize) -> Vec<Value> {
        tokio::time::timeout(PATIENCE, self.log.wait(lines)).await.expect("the lines never came")
    }

    /// Returns the access log itself, for a test that moves the gate.
    pub fn access_log(&self) -> Log {
        self.log.clone()
    }

    /// Returns the address of the demo's registry.
    pub fn registry(&self) -> SocketAddr {
        self.registry.address()
    }

    /// Returns the number of requests that reached the registry.
    pub fn forwarded(&self) -> usize {
        self.ledger.count()
    }

    /// Opens a TLS connection to the public listener that offers these protocols.
    pub async fn connect_tls(&self, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
        connect_tls(self.connect().await, &self.certificate, alpn).await
    }

    /// Opens a TCP connection to the public listener from another address of this machine, such as
    /// 127.0.0.2.
    pub async fn connect_from(&self, address: &str) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Opens an HTTP/2 connection, which a separate task drives.
    pub async fn http2(&self) -> h2::client::SendRequest<bytes::Bytes> {
        let stream = self.connect_tls(&[b"h2"]).await;
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.ready().await.unwrap()
    }
}

/// Sends a GET to the admin listener at this address, also after the test has moved the gate to
/// drain it.
pub async fn ask_admin(address: SocketAddr, path: &str) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    Reply::parse(&read_to_close(&mut stream).await)
}

/// Creates a listener on a port that the kernel picks.
pub fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Returns a list of `identity` that trusts the tokens of this issuer for the audience `a`, with
/// additional settings.
pub fn jobs(issuer: &OidcIssuer, more: &str) -> &'static str {
    let (url, keys) = (issuer.url(), issuer.jwks_url());
    format!(
        "- {{ name: jobs, type: jwt, issuer: \"{url}\", jwks_url: \"{keys}\", audience: a, \
         any_tenant: true, {more} }}"
    )
    .leak()
}

/// Returns the value of `Authorization` for a user and password.
pub fn basic((user, password): (&str, &str)) -> String {
    canary::plant(password);
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// Returns a valid digest that no content has.
pub fn some_digest() -> String {
    format!("sha256:{}", "a".repeat(64))
}

/// Returns the digest of these bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
