//! The binary, as operators run it.

mod descriptors;
mod memory;
mod secrets;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, basic, listener};

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
                "version: 1\nhttp:\n  addr: {address}\n  external_url: http://localhost\n{more}admin: {{ addr: \"{admin}\" }}\nupstream: {{ urls: [\"http://{upstream}\"] }}\nidentity:\n  - {identity}\nlog: {{ level: trace }}\n"
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
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
}

#[test]
fn an_invalid_config_exits_with_78_and_prints_every_problem() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bad.yml").display().to_string();
    std::fs::write(&config, "version: 1\nhttp:\n  adr: 1\n  idle_timeout: soon\n").unwrap();
    for command in ["serve", "check-config", "validate", "print-config"] {
        let output = run(&[command, "--config", &config], "");
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{command}: {errors}");
        for problem in [
            format!("{config}:3:3: "),
            format!("{config}:4:17: "),
            "external_url".into(),
            "identity".into(),
        ] {
            assert!(errors.contains(&problem), "{command}: {problem} is not in\n{errors}");
        }
    }
    let missing = run(&["serve", "--config", "no-such-file.yml"], "");
    assert_eq!(missing.status.code(), Some(78));
}

#[test]
fn the_error_about_a_taken_port_names_its_config_key() {
    let taken = listener();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("htpasswd"),
        format!("a:{}\n", bcrypt::hash("b", 4).unwrap()),
    )
    .unwrap();
    let config = folder.path().join("moorgate.yml");
    let address = taken.local_addr().unwrap();
    let text_of_config = format!(
        "version: 1\nhttp: {{ addr: \"{address}\", external_url: \"http://localhost\" }}\nupstream: {{ urls: [\"http://127.0.0.1:9\"] }}\nidentity:\n  - {HTPASSWD}\n"
    );
    std::fs::write(&config, text_of_config).unwrap();
    let output = run(&["serve", "--config", config.to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains(&format!("http.addr: cannot listen on {address}")),
        "{}",
        text(&output.stderr)
    );
}

/// On Linux, sockets of one user that share a port do so without an error, so a second gate must
/// check for the first.
#[test]
fn two_gates_do_not_share_a_port() {
    let served = Served::start(free(), HTPASSWD, "");
    let port = served.address.port().to_string();
    let output = run(&["demo", "--port", &port], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot listen on port"), "{}", text(&output.stderr));
    served.signal("-TERM");
    served.end();
}

#[test]
fn a_command_that_cannot_write_its_output_exits_with_1() {
    for arguments in [&["schema"][..], &["hash-password", "alice"]] {
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
    for (user, input, why) in [
        ("alice", "\n".to_owned(), "empty"),
        ("alice", "x".repeat(73), "longer than 72 bytes"),
        ("alice", "a\nb\n".into(), "control character"),
        ("a:b", "x".into(), "contain a colon"),
    ] {
        let output = run(&["hash-password", user], &input);
        assert_eq!(output.status.code(), Some(1), "{why}");
        assert!(text(&output.stderr).contains(why), "{why}: {}", text(&output.stderr));
    }
}

#[test]
fn a_signal_ends_the_gate_with_0_and_healthcheck_reports_its_state() {
    for signal in ["-TERM", "-INT"] {
        let served = Served::start(free(), HTPASSWD, "");
        assert_eq!(run(&["healthcheck", "--config", &served.config], "").status.code(), Some(0));
        let config = served.config.clone();
        // A file that was read at the start and is invalid by now does not make the running gate
        // unhealthy.
        std::fs::write(Path::new(&config).with_file_name("htpasswd"), "torn").unwrap();
        assert_eq!(run(&["healthcheck", "--config", &config], "").status.code(), Some(0));
        served.signal(signal);
        let output = served.end();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        // The gate's folder is deleted with it, so the config does not exist any more.
        assert_eq!(run(&["healthcheck", "--config", &config], "").status.code(), Some(1));
    }
}

#[test]
fn a_second_signal_ends_the_gate_at_once_with_1() {
    let silent = listener();
    let served = Served::start(silent.local_addr().unwrap(), HTPASSWD, "");
    let mut client = TcpStream::connect(served.address).unwrap();
    let authorization = basic(("alice", "secret"));
    write!(
        client,
        "GET /v2/a/tags/list HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n"
    )
    .unwrap();
    // The request is under way once the registry, which never answers, has received it.
    let (mut upstream, _) = silent.accept().unwrap();
    upstream.read_exact(&mut [0]).unwrap();
    served.signal("-TERM");
    let begun = Instant::now();
    while !ready_is_503(served.admin) {
        assert!(begun.elapsed() < PATIENCE, "it does not drain");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(run(&["healthcheck", "--config", &served.config], "").status.code(), Some(1));
    served.signal("-TERM");
    assert_eq!(served.end().status.code(), Some(1));
}

/// During the drain delay the gate accepts connections, and a second signal ends it at once.
#[test]
fn the_gate_accepts_during_drain_delay_and_a_second_signal_ends_it() {
    let served = Served::start(free(), HTPASSWD, "  drain_delay: 1h\n");
    served.signal("-TERM");
    let begun = Instant::now();
    while !ready_is_503(served.admin) {
        assert!(begun.elapsed() < PATIENCE, "it does not drain");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut client = TcpStream::connect(served.address).unwrap();
    let authorization = basic(("alice", "secret"));
    write!(client, "GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    served.signal("-TERM");
    assert_eq!(served.end().status.code(), Some(1));
}

#[test]
fn sighup_reloads_the_config_and_logs_what_changed() {
    let mut served = Served::start(free(), HTPASSWD, "  idle_timeout: 9s\n");
    let mut lines =
        BufReader::new(served.child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut line = |part: &str| lines.find(|line| line.contains(part)).unwrap();
    line("moorgate serves");
    let good = std::fs::read_to_string(&served.config).unwrap();
    std::fs::write(&served.config, good.replace("9s", "9 s") + "bad: 1\n").unwrap();
    served.signal("-HUP");
    for place in [":5:17: `http.idle_timeout`", ":11:1: `bad`"] {
        line(&format!("{}{place}", served.config));
    }
    assert!(line("the running config stays in use").contains("\"problems\":2"));
    std::fs::write(
        &served.config,
        good.replace("9s", "8s").replace(&served.admin.to_string(), "127.0.0.1:1"),
    )
    .unwrap();
    served.signal("-HUP");
    assert!(line("only with a restart").contains("admin.addr"));
    assert!(line("reloaded; changed: ").contains("changed: http.idle_timeout\""));
    // The log level itself changes: with `warn`, the only message about the next reload is a
    // warning.
    let quiet = good.replace("9s", "8s").replace(&served.admin.to_string(), "127.0.0.1:1");
    std::fs::write(&served.config, quiet.replace("level: trace", "level: warn")).unwrap();
    served.signal("-HUP");
    line("only with a restart");
    std::fs::write(&served.config, good).unwrap();
    served.signal("-HUP");
    assert!(line("reloaded; changed: ").contains("changed: http.idle_timeout, log.level\""));
    served.signal("-TERM");
    assert_eq!(served.end().status.code(), Some(0));
}

fn ready_is_503(admin: SocketAddr) -> bool {
    let mut socket = TcpStream::connect(admin).unwrap();
    socket.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).unwrap();
    reply.starts_with("HTTP/1.1 503")
}

/// The program's log reports the registry's faults, also on a pooled connection, and does not blame
/// the registry for faults of clients.
#[test]
fn the_log_reports_faults_of_the_registry_and_none_of_clients() {
    let registry = listener();
    let served = Served::start(
        registry.local_addr().unwrap(),
        &HTPASSWD.replace("]", ", write_registry]"),
        "  workers: 1\n",
    );
    let head = format!("HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n", basic(("alice", "secret")));
    let mut client = TcpStream::connect(served.address).unwrap();
    let mut buffer = [0; 4096];

    // The client breaks off within its body.
    let mut leaving = TcpStream::connect(served.address).unwrap();
    write!(
        leaving,
        "PATCH /v2/a/blobs/uploads/1 {head}X-Request-Id: left\r\nContent-Length: 9\r\n\r\nhalf"
    )
    .unwrap();
    let (mut connection, _) = registry.accept().unwrap();
    let mut seen = String::new();
    while !seen.ends_with("half") {
        let read = connection.read(&mut buffer).unwrap();
        seen.push_str(&text(&buffer[..read]));
    }
    drop(leaving);
    while connection.read(&mut buffer).is_ok_and(|read| read > 0) {}

    // The registry answers the first request on the connection and does not answer the second.
    write!(client, "GET /v2/a/tags/list {head}\r\n").unwrap();
    let (mut connection, _) = registry.accept().unwrap();
    let _ = connection.read(&mut buffer).unwrap();
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    let _ = client.read(&mut buffer).unwrap();
    write!(client, "POST /v2/a/blobs/uploads/ {head}X-Request-Id: unanswered\r\n\r\n").unwrap();
    let _ = connection.read(&mut buffer).unwrap();
    drop(connection);
    let read = client.read(&mut buffer).unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 502 "), "{}", text(&buffer[..read]));

    served.signal("-TERM");
    let log = text(&served.end().stderr);
    let about = |id: &str| {
        log.lines().filter(|line| line.contains(&format!("\"request_id\":\"{id}\""))).count()
    };
    assert_eq!((about("unanswered"), about("left")), (1, 0), "{log}");
}

/// The log reports a caller over a limit once a minute for each limit, by user, or by address if
/// the user is not verified.
#[test]
fn the_log_reports_a_caller_over_a_limit_once() {
    let once = "{ rate: 1/h, burst: 1 }";
    let limits = format!("limits: {{ per_identity: {once}, failed_logins: {once} }}\n");
    let served = Served::start(listener().local_addr().unwrap(), HTPASSWD, &limits);
    for (password, statuses) in [("secret", [200, 429, 429, 429]), ("wrong", [401, 429, 429, 429])]
    {
        for (number, status) in statuses.into_iter().enumerate() {
            // The gate remembers a wrong password as wrong, so each attempt uses a new one.
            let password = if password == "wrong" {
                format!("{password}{number}")
            } else {
                password.to_owned()
            };
            let credential = basic(("alice", &password));
            let message = format!(
                "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {credential}\r\n\r\n"
            );
            let reply = secrets::send(served.address, &message);
            assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
        }
    }
    served.signal("-TERM");
    let log = text(&served.end().stderr);
    let told: Vec<_> = log.lines().filter(|line| line.contains("over a limit")).collect();
    let [user, address] = told[..] else { panic!("{told:#?}") };
    assert!(
        user.contains("\"limit\":\"per_identity\",\"subject\":\"alice\",\"provider\":\"local\""),
        "{user}"
    );
    assert!(address.contains("\"limit\":\"failed_logins\",\"client\":\"127.0.0.1\""), "{address}");
}

/// Every connection is an open file, so the gate warns at the start if the limit of open files is
/// too low.
#[test]
fn the_gate_warns_about_a_low_limit_of_open_files() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("moorgate.yml");
    std::fs::write(
        folder.path().join("htpasswd"),
        format!("a:{}\n", bcrypt::hash("b", 4).unwrap()),
    )
    .unwrap();
    let taken = listener();
    let address = taken.local_addr().unwrap();
    let text_of_config = format!(
        "version: 1\nhttp: {{ addr: \"{address}\", external_url: \"http://localhost\" }}\nupstream: {{ urls: [\"http://127.0.0.1:9\"] }}\nidentity:\n  - {HTPASSWD}\n"
    );
    std::fs::write(&config, text_of_config).unwrap();
    // The gate ends at once, because its port is taken.
    let script = "ulimit -n 1000; exec \"$0\" serve --config \"$1\"";
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_moorgate")])
        .arg(&config)
        .output()
        .unwrap();
    assert!(text(&output.stderr).contains("LimitNOFILE"), "{}", text(&output.stderr));
}

#[test]
fn the_demo_prints_lines_to_copy_and_serves() {
    let mut child = moorgate(&["demo", "--port", "0"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let printed: Vec<String> =
        lines.by_ref().take_while(|line| !line.starts_with("Each request")).collect();
    let printed = printed.join("\n");
    for wanted in [
        "docker login -u alice --password-stdin localhost:",
        "docker login -u sso --password-stdin localhost:",
        "docker login -u oidc --password-stdin localhost:",
        "Authorization: Bearer sso-",
        "podman login",
        "skopeo login",
        "print-config --config",
    ] {
        assert!(printed.contains(wanted), "{wanted}: {printed}");
    }
    let config = printed
        .lines()
        .find_map(|line| line.split_once("print-config --config "))
        .unwrap()
        .1
        .to_owned();
    assert!(Path::new(&config).exists());
    assert_eq!(run(&["check-config", "--config", &config], "").status.code(), Some(0));
    assert_eq!(run(&["healthcheck", "--config", &config], "").status.code(), Some(0));
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!Path::new(&config).exists(), "the temporary folder stayed");
}
