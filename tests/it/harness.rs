//! A complete gate for a test: the gate itself on ports that the kernel picked, the demo's registry
//! behind it with its ledger as the oracle, the demo's GitLab beside it, and the access log in
//! memory.

mod http1;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use moorgate::config::{LoadAttempt, attempt};
use moorgate::demo::gitlab::GitLab;
use moorgate::demo::issuer::OidcIssuer;
use moorgate::demo::registry::{Received, Registry};
use moorgate::demo::{Ledger, self_signed};
use moorgate::record::{AccessLog, AccessLogFormat};
use moorgate::run::{ConfigSource, Listeners, Reloader, Running, WatchIntervals};
use moorgate::server::bind;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::client::TlsStream;

use crate::canary::{self, Canary};

pub use http1::{Reply, exchange, read_head, read_reply, read_to_close, request};

/// A credential of the stand-in GitLab that may pull and push below `demo/`.
pub const READ_WRITE: (&str, &str) = ("alice", "glpat-demo-personal-read-write");
/// A credential that may only pull.
pub const READ_ONLY: (&str, &str) = ("alice", "glpat-demo-personal-read-only");

/// The longest wait of a test. Reaching it fails the test.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The deviations from the default gate of a test. Lines are YAML at the depth of the section that
/// they go into.
#[derive(Default)]
pub struct Setup {
    /// Lines of `http`, such as `stall_timeout: 200ms`.
    pub http: Vec<&'static str>,
    /// The port in the external URL, such as `:8443`. Empty for the default port.
    pub external_port: &'static str,
    /// `true` if the gate serves TLS and therefore HTTP/2.
    pub tls: bool,
    /// Lines of `upstream`.
    pub upstream: Vec<&'static str>,
    /// The address of a registry of the test, instead of the demo's.
    pub upstream_address: Option<SocketAddr>,
    /// The URL of a registry of the test. It takes precedence over
    /// [`upstream_address`](Self::upstream_address).
    pub upstream_url: Option<String>,
    /// The whole list of `identity`, instead of the stand-in GitLab. `{gitlab}` becomes the URL of
    /// the stand-in. A file `htpasswd` with the users of [`htpasswd_users`](Self::htpasswd_users)
    /// lies beside the config.
    pub identity: Option<&'static str>,
    /// Users and passwords of the file `htpasswd`.
    pub htpasswd_users: Vec<(&'static str, &'static str)>,
    /// Lines of `cache`.
    pub cache: Vec<&'static str>,
    /// Lines of `tokens`.
    pub tokens: Vec<&'static str>,
    /// Lines of `admin`.
    pub admin: Vec<&'static str>,
    /// Lines of `log`.
    pub log: Vec<&'static str>,
    /// Lines of `scopes`.
    pub scopes: Vec<&'static str>,
    /// Lines of `policy`.
    pub policy: Vec<&'static str>,
    /// Lines of `limits`.
    pub limits: Vec<&'static str>,
    /// The number of workers, two by default. With one worker, all connections share one pool.
    pub workers: Option<usize>,
    /// Files beside the config: name and content.
    pub files: Vec<(&'static str, &'static str)>,
}

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
    _registry: Registry,
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
        };
        let (address, admin) =
            (listeners.public[0].local_addr().unwrap(), listeners.admin.local_addr().unwrap());
        let log = Log::default();
        let access_log = AccessLog::to(AccessLogFormat::Json, log.clone()).unwrap();
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
            _registry: registry,
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

impl Setup {
    fn config(&self, upstream: SocketAddr, gitlab: SocketAddr) -> String {
        let lines =
            |lines: &[&str]| lines.iter().map(|line| format!("  {line}\n")).collect::<String>();
        let section = |name: &str, content: &[&str]| {
            if content.is_empty() { String::new() } else { format!("{name}:\n{}", lines(content)) }
        };
        let scheme = if self.tls { "https" } else { "http" };
        let tls = if self.tls { "  tls: { certificate: tls.crt, key: tls.key }\n" } else { "" };
        let upstream = self.upstream_url.clone().unwrap_or_else(|| format!("http://{upstream}"));
        let identity =
            self.identity.unwrap_or("- { name: gitlab, type: gitlab, url: \"{gitlab}\" }");
        let identity = identity.replace("{gitlab}", &format!("http://{gitlab}"));
        let identity: String = identity.lines().map(|line| format!("  {line}\n")).collect();
        format!(
            "version: 1\nhttp:\n  addr: 127.0.0.1:0\n  external_url: {scheme}://registry.test{}\n{tls}{}upstream:\n  urls: [\"{upstream}\"]\n{}identity:\n{identity}{}{}{}{}{}{}{}",
            self.external_port,
            lines(&self.http),
            lines(&self.upstream),
            section("cache", &self.cache),
            section("scopes", &self.scopes),
            section("policy", &self.policy),
            section("limits", &self.limits),
            section("tokens", &self.tokens),
            section("log", &self.log),
            section("admin", &self.admin),
        )
    }
}

/// Performs a TLS handshake with a gate that serves this certificate, and offers these protocols.
pub async fn connect_tls(
    socket: TcpStream,
    certificate: &str,
    alpn: &[&[u8]],
) -> TlsStream<TcpStream> {
    try_tls(socket, certificate, alpn).await.unwrap()
}

/// Performs a TLS handshake that the gate may refuse.
pub async fn try_tls(
    socket: TcpStream,
    certificate: &str,
    alpn: &[&[u8]],
) -> io::Result<TlsStream<TcpStream>> {
    let mut config = trusting(certificate);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect("localhost".try_into().unwrap(), socket).await
}

/// Returns the settings of a TLS client that trusts this certificate.
pub fn trusting(certificate: &str) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap())
        .unwrap();
    rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth()
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
        "- {{ name: jobs, type: jwt, issuer: \"{url}\", jwks_url: \"{keys}\", audience: a, any_tenant: true, {more} }}"
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

/// An access log in memory.
#[derive(Clone, Default)]
pub struct Log(Arc<(Mutex<Vec<u8>>, Notify)>);

impl Log {
    /// Waits until there are at least `lines` lines, and returns all of them.
    pub async fn wait(&self, lines: usize) -> Vec<Value> {
        loop {
            let mut changed = std::pin::pin!(self.0.1.notified());
            changed.as_mut().enable();
            let text = String::from_utf8(self.0.0.lock().unwrap().clone()).unwrap();
            let found: Vec<Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if found.len() >= lines {
                return found;
            }
            changed.await;
        }
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        canary::search("the access log", bytes);
        self.0.0.lock().unwrap().extend_from_slice(bytes);
        self.0.1.notify_waiters();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
