//! `check-config --online`: the report about each server, whether it is configured right or wrong,
//! and that no server is shown a user's credential.

mod certificates;
mod faults;
mod redis;
mod registry;
mod secrets;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use moorgate::demo::gitlab::GitLab;
use moorgate::demo::introspection::CLIENT_SECRET;
use moorgate::demo::registry::Registry;

use crate::config::files::{JWKS, token_keys};
use crate::harness::listener;
use crate::redis_servers::PASSWORD;

/// A server that gives one answer to every request and keeps the requests.
struct Canned {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Canned {
    fn start(status: &str, headers: &str, body: &str) -> Self {
        let response = response(&format!("{status}\r\n{headers}"), body);
        Self::answering(move |_, _| response.clone())
    }

    /// Starts a server whose answers depend on its own address and on the request.
    fn answering(answer: impl Fn(SocketAddr, &str) -> String + Send + 'static) -> Self {
        let (listener, seen) = (listener(), Arc::new(Mutex::new(Vec::new())));
        let (address, kept) = (listener.local_addr().unwrap(), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read_request(&mut stream);
                let answer = answer(address, &request);
                kept.lock().unwrap().push(request);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// Returns a response that ends its connection. The head is the status line's rest and header
/// lines.
fn response(head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// Reads the head, and as much of a body as the head announces.
fn read_request(stream: &mut impl Read) -> String {
    let mut request = String::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = request.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return request;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return request,
            Ok(read) => request.push_str(&String::from_utf8_lossy(&buffer[..read])),
        }
    }
}

/// The output of the command, without the path of the folder.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    /// Returns the line of standard error that contains this text, with the position that it names.
    fn problem(&self, part: &str) -> &str {
        let mut lines =
            self.stderr.lines().filter(|line| line.contains(part) && !line.contains("warning: "));
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("{part:?} is not in\n{}{}", self.stdout, self.stderr));
        assert!(line.contains("; "), "{line}: what would be right?");
        line
    }
}

/// Runs the command with this upstream and these providers, one entry each.
async fn check(upstream: &str, providers: &[String]) -> Said {
    check_trusting(&moorgate::demo::self_signed().unwrap().0, upstream, providers).await
}

/// Runs the command, with this content of the file `ca.pem`.
async fn check_trusting(ca: &str, upstream: &str, providers: &[String]) -> Said {
    check_all(ca, upstream, providers, "").await
}

/// Runs the command, with these lines after the sections above.
async fn check_all(ca: &str, upstream: &str, providers: &[String], lines: &str) -> Said {
    let ca = ca.to_owned();
    let mut text = "version: 1\nhttp: { external_url: \"http://localhost\" }\n".to_owned();
    writeln!(text, "upstream: {{ {upstream} }}\nidentity:").unwrap();
    for provider in providers {
        writeln!(text, "  - {{ {provider} }}").unwrap();
    }
    text.push_str(lines);
    tokio::task::spawn_blocking(move || {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, content: &str| std::fs::write(folder.path().join(name), content).unwrap();
        write("moorgate.yml", &text);
        write("introspection.secret", "canary secret/1\n");
        write(CLIENT_SECRET, CLIENT_SECRET);
        write("wrong", "canary");
        write("upstream.password", "canary-password\n");
        write("htpasswd", &format!("alice:{}\n", bcrypt::hash("canary-user", 4).unwrap()));
        write("ca.pem", &ca);
        write("tokens.keys", &token_keys());
        write("redis.password", PASSWORD);
        let output = Command::new(env!("CARGO_BIN_EXE_moorgate"))
            .args(["check-config", "--online", "--config"])
            .arg(folder.path().join("moorgate.yml"))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes).replace(&format!("{}/", folder.path().display()), "")
        };
        Said {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    })
    .await
    .unwrap()
}

fn urls(address: SocketAddr) -> String {
    format!("urls: [\"http://{address}\"]")
}

fn gitlab(address: SocketAddr) -> String {
    format!("name: gitlab, type: gitlab, url: \"http://{address}\", timeout: 1m")
}

fn harbor(address: SocketAddr) -> String {
    format!(
        "name: harbor, type: registry_token, realm: \"http://{address}/service/token\", \
         service: my harbor, timeout: 1m"
    )
}

fn sso(address: SocketAddr) -> String {
    format!("name: sso, type: introspection, url: \"http://{address}/introspect\", timeout: 1m")
}

fn jobs(address: SocketAddr) -> String {
    format!(
        "name: jobs, type: jwt, issuer: \"https://ci.example.com\", audience: a, any_tenant: true, \
         jwks_url: \"http://{address}/keys\", timeout: 1m"
    )
}

const LOCAL: &str = "name: local, type: htpasswd, file: htpasswd, scopes: [read_registry]";

/// If every server answers as it should, the command prints one line for each, in the order of the
/// config, and sends no user's credential to any of them.
#[tokio::test(flavor = "multi_thread")]
async fn correct_servers_are_reported_and_shown_no_user_credential() {
    let (registry, real) =
        (Registry::start(listener()).unwrap(), GitLab::start(listener()).unwrap());
    real.ledger().keep();
    let token_server = Canned::start("401 Unauthorized", "", "no");
    let introspection = Canned::start("200 OK", "", "{\"active\": false}");
    let keys = Canned::start("200 OK", "", JWKS);
    let providers = [
        LOCAL.to_owned(),
        jobs(keys.address),
        gitlab(real.address()),
        harbor(token_server.address),
        sso(introspection.address),
    ];
    let said = check(&urls(registry.address()), &providers).await;
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert!(lines[0].starts_with("moorgate.yml: valid"), "{lines:?}");
    assert_eq!(lines[1], "asking 5 servers, for at most 1m 5s");
    let upstream =
        format!("upstream http://{}: 200, uploads lead back to the gate, in ", registry.address());
    for (line, start) in lines[2..].iter().zip([
        upstream.as_str(),
        "identity[0] local: no server to ask",
        "identity[1] jobs: 1 usable key in ",
        "identity[2] gitlab: answers (",
        "identity[3] harbor: answers (401 without a credential, as it should) in ",
        "identity[4] sso: answers (it knows the client and rejects a made-up token) in ",
    ]) {
        assert!(line.starts_with(start), "{line} does not start with {start}");
        assert!(start.ends_with("ask") || line.ends_with(" ms"), "{line}");
    }
    assert_eq!(lines.len(), 8);

    let asked = real.ledger().entries();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].service.as_deref(), Some("container_registry"));
    assert!(asked[0].user.is_none() && asked[0].secret.is_none());
    let harbor = &token_server.seen()[0];
    assert!(harbor.starts_with("GET /service/token?service=my+harbor HTTP/1.1\r\n"), "{harbor}");
    for question in [harbor, &keys.seen()[0]] {
        assert!(!question.to_lowercase().contains("authorization"), "{question}");
    }
    // The id and the secret are encoded before they are joined (RFC 6749, section 2.3.1).
    let sso = &introspection.seen()[0];
    assert!(
        sso.starts_with("POST /introspect HTTP/1.1\r\n") && sso.contains("\r\n\r\ntoken=check-"),
        "{sso}"
    );
    assert!(sso.contains(&crate::harness::basic(("moorgate", "canary+secret%2F1"))), "{sso}");
}

/// Two servers that wait for each other are both reported, so no server's check waits for
/// another's.
#[tokio::test(flavor = "multi_thread")]
async fn all_servers_are_checked_at_the_same_time() {
    let (one, other) = (listener(), listener());
    let addresses = [one.local_addr().unwrap(), other.local_addr().unwrap()];
    std::thread::spawn(move || {
        let mut asked = [one.accept().unwrap().0, other.accept().unwrap().0];
        for stream in &mut asked {
            read_request(stream);
        }
        for stream in &mut asked {
            stream
                .write_all(
                    b"HTTP/1.1 200 OK\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\
                      Content-Length: 17\r\nConnection: close\r\n\r\n{\"token\": \"none\"}",
                )
                .unwrap();
        }
    });
    let said = check(&urls(addresses[0]), &[gitlab(addresses[1])]).await;
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
}

/// No server is asked without `--online`, nor with an invalid config.
#[tokio::test(flavor = "multi_thread")]
async fn no_server_is_asked_if_the_config_is_invalid() {
    let server = Canned::start("200 OK", "", "{}");
    let said =
        check(&urls(server.address), &[format!("{}, tiemout: 1s", gitlab(server.address))]).await;
    assert_eq!((said.code, server.seen().len()), (Some(78), 0), "{}", said.stderr);
}
