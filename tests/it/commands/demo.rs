//! `moorgate demo`: what it prints, what it serves, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use tempfile::TempDir;

use super::{moorgate, run, text};
use crate::harness::{PATIENCE, basic, trusting};

/// A running demo whose folders lie in a folder of the test, with a space in its name.
struct DemoProcess {
    child: Child,
    stdout: BufReader<ChildStdout>,
    introduction: String,
    folder: TempDir,
}

impl DemoProcess {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("the demo ").tempdir().unwrap();
        let mut child =
            moorgate(&["demo", "--port", "0"]).env("TMPDIR", folder.path()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut introduction = String::new();
        while !introduction.contains("Each request") {
            assert_ne!(stdout.read_line(&mut introduction).unwrap(), 0, "{introduction}");
        }
        Self { child, stdout, introduction, folder }
    }

    /// Returns the printed commands: the lines that begin with two spaces.
    fn commands(&self) -> Vec<&str> {
        self.introduction.lines().filter_map(|line| line.strip_prefix("  ")).collect()
    }

    fn command(&self, part: &str) -> &str {
        let found = self.commands().into_iter().find(|command| command.contains(part));
        found.unwrap_or_else(|| panic!("{part}: {}", self.introduction))
    }

    /// Returns a file of the demo's own folder.
    fn file(&self, name: &str) -> PathBuf {
        let mut folders = std::fs::read_dir(self.folder.path()).unwrap();
        let of_demo = |path: &PathBuf| path.to_string_lossy().contains("moorgate-demo-");
        let found = folders.find_map(|entry| Some(entry.unwrap().path()).filter(of_demo));
        found.unwrap().join(name)
    }

    fn signal(&self, name: &str) {
        let killed =
            Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    /// Waits until the demo has printed a line with this part.
    fn wait_for(&mut self, part: &str) {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "it never prints {part}");
        }
    }

    /// Waits for the end, and checks that the demo has deleted its folders.
    fn ends(mut self) {
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let left: Vec<_> = std::fs::read_dir(self.folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for DemoProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn the_demo_prints_lines_to_copy_and_serves() {
    let demo = DemoProcess::start();
    for wanted in [
        "docker pull localhost:",
        "docker login -u alice --password-stdin localhost:",
        "docker login -u sso --password-stdin localhost:",
        "docker login -u oidc --password-stdin localhost:",
        "docker push localhost:",
        "Authorization: Bearer sso-",
        "podman login",
        "skopeo login",
        "oras login --plain-http=false --insecure",
        "oras push --plain-http=false --insecure",
        "print-config --config",
    ] {
        demo.command(wanted);
    }
    let config = demo.file("moorgate.yml").display().to_string();
    assert_eq!(run(&["check-config", "--config", &config], "").status.code(), Some(0));
    assert_eq!(run(&["healthcheck", "--config", &config], "").status.code(), Some(0));
    demo.signal("-INT");
    demo.ends();
}

/// zsh runs what is behind a `#`, and a line that continues is not copied with its end.
#[test]
fn each_printed_command_is_a_whole_line_without_a_comment() {
    let demo = DemoProcess::start();
    let commands = demo.commands();
    assert!(commands.len() > 20, "{commands:?}");
    for command in commands {
        let first = command.split(' ').next().unwrap();
        let known = ["docker", "echo", "tar", "curl", "podman", "skopeo", "oras", "cat"];
        let known = known.contains(&first);
        assert!(known || first.contains("moorgate"), "not a command: {command}");
        assert!(!command.contains('#') && !command.ends_with('\\'), "{command}");
        assert!(!command.contains("&&") && !command.contains(';'), "{command}");
    }
}

/// The path of the folder has a space, and the commands of the gate itself work as printed.
#[test]
fn printed_paths_are_quoted_for_the_shell() {
    let demo = DemoProcess::start();
    for part in ["print-config --config", "--as gitlab/", "manifests/v1 -u ", "cat "] {
        let output = Command::new("sh").args(["-c", demo.command(part)]).output().unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{part}: {out}{err}");
    }
    let token = format!("< '{}'", demo.file("id_token").display());
    assert!(demo.command("-u oidc").ends_with(&token), "{}", demo.introduction);
    assert!(demo.command("--cacert").contains(&format!("'{}'", demo.file("tls.crt").display())));
}

/// Returns the gate's answer to `GET /v2/`; `None` if it does not listen yet.
fn answer_at(port: u16, certificate: &str) -> Option<String> {
    let socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let server = "localhost".try_into().unwrap();
    let session = ClientConnection::new(Arc::new(trusting(certificate)), server).unwrap();
    let mut stream = StreamOwned::new(session, socket);
    write!(
        stream,
        "GET /v2/ HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\
         Authorization: {}\r\n\r\n",
        basic(("alice", "glpat-demo-personal-read-write")),
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A gate that ends with the test.
struct SecondGate(Child);

impl Drop for SecondGate {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_demo_prints_a_config_that_serve_takes() {
    let demo = DemoProcess::start();
    let command = format!("exec {}", demo.command(" serve --config"));
    let port = demo.commands().into_iter().rev().find_map(|command| {
        let (_, port) = command.strip_prefix("curl")?.rsplit_once("https://localhost:")?;
        port.strip_suffix("/v2/")?.parse().ok()
    });
    let mut gate = Command::new("sh");
    gate.args(["-c", &command]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut gate = SecondGate(gate.spawn().unwrap());
    let certificate = std::fs::read_to_string(demo.file("tls.crt")).unwrap();
    let begun = Instant::now();
    let answer = loop {
        if let Some(answer) = answer_at(port.unwrap(), &certificate) {
            break answer;
        }
        let ended = gate.0.try_wait().unwrap();
        assert!(ended.is_none() && begun.elapsed() < PATIENCE, "it does not serve: {ended:?}");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let text = std::fs::read_to_string(demo.file("second-gate.yml")).unwrap();
    assert!(text.starts_with("# A config for a second gate"), "{text}");
}

#[test]
fn the_demo_explains_that_its_public_image_needs_no_login() {
    let demo = DemoProcess::start();
    let config = demo.file("moorgate.yml").display().to_string();
    let image = demo.command("docker pull").split_once('/').unwrap().1.to_owned();
    let (name, tag) = image.split_once(':').unwrap();
    for (name, code) in [(name, 0), ("demo/hello", 1)] {
        let path = format!("/v2/{name}/manifests/{tag}");
        let explain = ["explain", "--config", &config, "--method", "GET", "--path", &path];
        let output = run(&explain, "");
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stdout));
    }
}

#[test]
fn each_signal_that_ends_the_demo_deletes_its_folders() {
    for signal in ["-INT", "-TERM", "-HUP", "-QUIT"] {
        let demo = DemoProcess::start();
        assert!(Path::new(&demo.file("tls.key")).exists());
        demo.signal(signal);
        demo.ends();
    }
}

#[test]
fn the_demo_says_that_it_waits_for_an_upload_and_a_second_signal_ends_it() {
    let mut demo = DemoProcess::start();
    let certificate = std::fs::read_to_string(demo.file("tls.crt")).unwrap();
    let address = demo.command("docker pull").split(['/', ' ']).nth(2).unwrap().to_owned();
    let port: u16 = address.split_once(':').unwrap().1.parse().unwrap();
    let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let session =
        ClientConnection::new(Arc::new(trusting(&certificate)), "localhost".try_into().unwrap());
    let mut stream = StreamOwned::new(session.unwrap(), socket);
    write!(
        stream,
        "POST /v2/demo/a/blobs/uploads/?digest=sha256:{} HTTP/1.1\r\nHost: {address}\r\n\
         Authorization: {}\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n",
        "a".repeat(64),
        basic(("alice", "glpat-demo-personal-read-write")),
    )
    .unwrap();
    // The gate reads the body, so the request is in progress.
    let mut interim = [0; 12];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100");
    demo.signal("-INT");
    demo.wait_for("A second Ctrl-C ends the demo at once");
    demo.signal("-INT");
    let begun = Instant::now();
    demo.ends();
    // The drain itself would last for ten seconds.
    assert!(begun.elapsed() < Duration::from_secs(6));
}
