//! The binary, as operators run it.

mod check_config;
mod demo;
mod descriptors;
mod memory;
mod program_log;
mod secrets;
mod service_manager;
mod shell_files;
mod signals;
mod socket_activation;
mod start;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::harness::PATIENCE;

fn moorgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorgate"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = moorgate(arguments).stdin(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input has closed the pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A gate in its own process, without TLS.
struct Served {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    config: String,
    _folder: tempfile::TempDir,
}

impl Served {
    fn start(upstream: SocketAddr, identity: &str, more: &str) -> Self {
        Self::start_by(upstream, identity, more, moorgate)
    }

    /// Starts the gate by this command.
    fn start_by(
        upstream: SocketAddr,
        identity: &str,
        more: &str,
        command: impl Fn(&[&str]) -> Command,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("moorgate.yml").display().to_string();
        std::fs::write(
            folder.path().join("htpasswd"),
            format!("alice:{}\n", bcrypt::hash("secret", 4).unwrap()),
        )
        .unwrap();
        let begun = Instant::now();
        loop {
            // A config cannot ask for any free port and report it, so these ports were free a
            // moment ago. If another process took one of them, the gate has ended and is started
            // with others.
            let (address, admin) = (free(), free());
            let yaml = format!(
                "version: 1\nhttp:\n  addr: {address}\n  external_url: http://localhost\n\
                 {more}admin: {{ addr: \"{admin}\" }}\n\
                 upstream: {{ urls: [\"http://{upstream}\"] }}\nidentity:\n  - {identity}\n\
                 log: {{ level: trace }}\n"
            );
            std::fs::write(&config, yaml).unwrap();
            let mut child = command(&["serve", "--config", &config]).spawn().unwrap();
            while child.try_wait().unwrap().is_none() {
                // The gate opens the public listener first.
                if [address, admin].iter().all(|it| TcpStream::connect(it).is_ok()) {
                    return Self { child, address, admin, config, _folder: folder };
                }
                assert!(begun.elapsed() < PATIENCE, "it does not listen");
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "it ends at once: {}",
                text(&child.wait_with_output().unwrap().stderr)
            );
        }
    }

    fn signal(&self, name: &str) {
        let killed =
            Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    fn end(self) -> Output {
        let Self { child, _folder, .. } = self;
        child.wait_with_output().unwrap()
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

const HTPASSWD: &str = "{ name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }";

#[test]
fn version_and_help() {
    assert_eq!(
        text(&run(&["--version"], "").stdout),
        format!("moorgate {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = text(&run(&["--help"], "").stdout);
    for command in [
        "serve",
        "check-config",
        "print-config",
        "schema",
        "demo",
        "hash-password",
        "explain",
        "healthcheck",
        "completions",
        "man",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
}

#[test]
fn a_command_that_cannot_write_its_output_exits_with_1() {
    for arguments in [&["schema"][..], &["hash-password", "alice"], &["completions", "bash"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut child = moorgate(arguments).stdin(Stdio::piped()).stdout(full).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(b"secret");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn hash_password_makes_lines_that_htpasswd_takes() {
    let output = run(&["hash-password", "alice"], "correct horse\n");
    assert!(output.status.success());
    let line = text(&output.stdout);
    let hash = line.trim_end().strip_prefix("alice:").unwrap();
    assert!(hash.starts_with("$2b$10$"), "{hash}");
    assert!(bcrypt::verify("correct horse", hash).unwrap());
    assert!(moorgate::identity::provider::htpasswd::file::HtpasswdFile::parse(&line).is_ok());
    let bare = run(&["hash-password"], "x");
    assert!(text(&bare.stdout).starts_with("$2b$10$"));
    let longest = run(&["hash-password"], &format!("{}\r\n", "é".repeat(36)));
    assert!(text(&longest.stdout).starts_with("$2b$10$"));
    for (user, input, why) in [
        ("alice", "\n".to_owned(), "empty"),
        ("alice", "x".repeat(73), "longer than 72 bytes"),
        // The limit of the input cuts the 38th character.
        ("alice", "é".repeat(38), "longer than 72 bytes"),
        ("alice", "a\nb\n".into(), "control character"),
        ("a:b", "x".into(), "contain a colon"),
    ] {
        let output = run(&["hash-password", user], &input);
        assert_eq!(output.status.code(), Some(1), "{why}");
        assert!(text(&output.stderr).contains(why), "{why}: {}", text(&output.stderr));
    }
}
