//! Class 18 in every test: what the gates of this process say is searched for secrets, at trace
//! level.
//!
//! Planted are the samples of the stand-ins, whatever a test sends or configures as a credential,
//! and at the end of each gate a canary of its own, in all the places where a client could put a
//! secret. Searched are the program's log as the binary writes it, the access log, the audit log,
//! the metrics, and all that a test reads as an answer. What takes providers to fail or a process
//! of its own is in `commands/secrets.rs`, `commands/memory.rs`.

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

/// A shorter word may be in a log by chance.
const SHORTEST: usize = 12;

/// How many are looked for. Floods of credentials would make every search longer.
const MOST: usize = 128;

/// A gate that does not take a connection by then is not asked to keep a secret.
const PATIENCE: Duration = Duration::from_millis(500);

static PLANTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static FOUND: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on, nothing may say this.
pub fn plant(secret: &str) {
    let mut planted = PLANTED.lock().unwrap();
    if secret.len() >= SHORTEST && planted.len() < MOST && !planted.contains(secret) {
        planted.insert(secret.to_owned());
        // As it stands in Basic, behind the name that the gates' own canaries have.
        planted.insert(BASE64_STANDARD.encode(secret));
    }
}

/// The same of the credentials in lines of a request.
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

/// Looks through what was said, and remembers what should not have been.
pub fn search(place: &str, said: &[u8]) {
    let said = String::from_utf8_lossy(said);
    for secret in PLANTED.lock().unwrap().iter().filter(|secret| said.contains(secret.as_str())) {
        let around = said.lines().find(|line| line.contains(secret.as_str())).unwrap_or_default();
        FOUND.lock().unwrap().push(format!("{secret} in {place}: {around}"));
    }
}

/// One gate. At its end it is shown a secret, and nobody may have said any.
pub struct Canary {
    gate: SocketAddr,
    tls: bool,
    folder: PathBuf,
    metrics: Box<dyn Fn() -> String + Send + Sync>,
}

impl Canary {
    /// For a gate that listens here. `folder`: its audit log is there, if anywhere.
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
    /// Wherever the gate reads it without asking anybody: the test's runtime, on which the
    /// providers are, stands still.
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
            let said = self
                .ask(&format!("{start} HTTP/1.1\r\nHost: registry.test\r\nConnection: close\r\n{lines}\r\n\r\n{body}"));
            match said {
                Ok(said) => search("an answer", &said),
                // It has ended, or does not take any more connections.
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

/// Has the program's log searched from now on, as `log.level: trace` writes it.
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
        // As `cli/logging.rs` does: libraries log what passes through them, so of theirs only
        // warnings are shown.
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

/// A writer that keeps nothing.
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
