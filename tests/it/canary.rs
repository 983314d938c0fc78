//! Class 18 in every test: the output of this process's gates is searched for secrets, at trace
//! level.
//!
//! The planted secrets are the stand-ins' sample credentials, every credential that a test sends or
//! configures, and one canary per gate at its end, in all the places where a client could put a
//! secret. The searched output is the program's log as the binary writes it, the access log, the
//! audit log, the metrics, and every answer that a test reads. Cases that need a failing provider
//! or a separate process are in `commands/secrets.rs` and `commands/memory.rs`.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Mutex, Once};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use moorgate::demo::gitlab::sample_credentials;
use moorgate::demo::introspection::{CLIENT_SECRET, sample_tokens};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::panics::PanicAtId;

/// The shortest secret that is planted, in bytes. A shorter word may be in a log by chance.
const SHORTEST: usize = 12;

/// The largest number of planted secrets. A flood of credentials would make every search longer.
const MOST: usize = 128;

/// The longest wait for a gate to answer. A gate that takes no connection within it is not tested
/// with a canary.
const PATIENCE: Duration = Duration::from_millis(500);

static PLANTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static FOUND: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Plants a secret: no output may contain it from now on.
pub fn plant(secret: &str) {
    let mut planted = PLANTED.lock().unwrap();
    if secret.len() >= SHORTEST && planted.len() < MOST && !planted.contains(secret) {
        planted.insert(secret.to_owned());
        // Also in base64, as it is sent in Basic behind the user name that the gates' own canaries
        // have.
        planted.insert(BASE64_STANDARD.encode(secret));
    }
}

/// Plants the credentials in the header lines of a request.
pub fn plant_lines(lines: &str) {
    for value in lines.lines().filter_map(|line| line.strip_prefix("Authorization: ")) {
        match value.split_once(' ') {
            Some(("Bearer", token)) => plant(token),
            Some(("Basic", encoded)) => {
                let decoded = BASE64_STANDARD.decode(encoded).unwrap_or_default();
                plant(
                    String::from_utf8_lossy(&decoded)
                        .split_once(':')
                        .map_or("", |(_, password)| password),
                );
            }
            _ => {}
        }
    }
}

/// Searches an output and stores each planted secret that it contains.
pub fn search(place: &str, said: &[u8]) {
    let said = String::from_utf8_lossy(said);
    for secret in PLANTED.lock().unwrap().iter().filter(|secret| said.contains(secret.as_str())) {
        let around = said.lines().find(|line| line.contains(secret.as_str())).unwrap_or_default();
        FOUND.lock().unwrap().push(format!("{secret} in {place}: {around}"));
    }
}

/// The canary of one gate. At the end of the gate, it sends a secret and asserts that no output
/// contained a planted one.
pub struct Canary {
    gate: SocketAddr,
    tls: bool,
    folder: PathBuf,
    metrics: Box<dyn Fn() -> String + Send + Sync>,
}

impl Canary {
    /// Creates the canary of a gate that listens at this address. `folder` holds its audit log, if
    /// it has one.
    pub fn new(
        gate: SocketAddr,
        tls: bool,
        folder: PathBuf,
        metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        Self { gate, tls, folder, metrics: Box::new(metrics) }
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if !self.tls {
            self.show();
        }
        search("the metrics", (self.metrics)().as_bytes());
        search("the audit log", &std::fs::read(self.folder.join("audit.log")).unwrap_or_default());
        let found = FOUND.lock().unwrap().clone();
        assert!(
            found.is_empty(),
            "a secret was said, by this gate or another:\n{}",
            found.join("\n")
        );
    }
}

impl Canary {
    /// Sends a canary in each place where the gate reads it without asking a provider, because the
    /// test's runtime, which runs the providers, is blocked meanwhile.
    fn show(&self) {
        let canary = format!("canary{:032x}", fastrand::u128(..));
        plant(&canary);
        let form = format!(
            "grant_type=password&username=alice&password={canary}%00&refresh_token={canary}"
        );
        let form_type = format!(
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}",
            form.len()
        );
        for (start, lines, body) in [
            ("GET /v2/", format!("Authorization: Basic {canary}"), ""),
            ("GET /v2/", format!("Authorization: {}", BASE64_STANDARD.encode(&canary)), ""),
            ("GET /v2/", format!("Authorization: Bearer mg1.AAAAAAAA.{canary}"), ""),
            (
                "GET /v2/",
                format!("Authorization: Bearer {canary}\r\nAuthorization: Bearer {canary}"),
                "",
            ),
            ("GET /v2/", format!("Cookie: {canary}\r\nProxy-Authorization: Basic {canary}"), ""),
            (
                &format!("GET /v2/demo/a/tags/list?n={canary}&password={canary}"),
                "X: x".to_owned(),
                "",
            ),
            (&format!("GET /token?service={canary}&scope={canary}"), "X: x".to_owned(), ""),
            ("POST /token", form_type, &form),
        ] {
            let said = self.ask(&format!(
                "{start} HTTP/1.1\r\nHost: registry.test\r\nConnection: close\r\n\
                 {lines}\r\n\r\n{body}"
            ));
            match said {
                Ok(said) => search("an answer", &said),
                // The gate has ended, or accepts no more connections.
                Err(_) => return,
            }
        }
    }

    fn ask(&self, message: &str) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&self.gate, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(message.as_bytes())?;
        let mut said = Vec::new();
        stream.read_to_end(&mut said)?;
        Ok(said)
    }
}

/// Starts to search the program's log as `log.level: trace` writes it.
pub fn watch_program_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for credential in sample_credentials() {
            plant(&credential.password);
        }
        for token in sample_tokens() {
            plant(&token.token);
        }
        plant(CLIENT_SECRET);
        // The same filter as in `cli/logging.rs`: libraries log the data that passes through them,
        // so only their warnings are shown.
        let targets = Targets::new()
            .with_default(LevelFilter::WARN)
            .with_target("moorgate", LevelFilter::TRACE);
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(|| ProgramLog)
            .with_filter(targets);
        tracing_subscriber::registry().with(layer).with(PanicAtId).init();
    });
}

/// A writer that searches each line and stores none.
struct ProgramLog;

impl Write for ProgramLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        search("the program's log", line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
