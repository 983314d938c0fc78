//! Socket activation: systemd binds the sockets and passes them to the gate (sd_listen_fds(3)), so
//! that one gate replaces another and no connection is refused.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::secrets::send;
use super::service_manager::Manager;
use super::{HTPASSWD, free, text};
use crate::harness::{PATIENCE, listener, request};

/// A config for gates that are started with the sockets of the test.
struct Config {
    folder: tempfile::TempDir,
    upstream: SocketAddr,
}

impl Config {
    fn new(http: SocketAddr, admin: SocketAddr, upstream: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let htpasswd = format!("alice:{}\n", bcrypt::hash("secret", 4).unwrap());
        std::fs::write(folder.path().join("htpasswd"), htpasswd).unwrap();
        let config = Self { folder, upstream };
        config.write(http, admin);
        config
    }

    fn write(&self, http: SocketAddr, admin: SocketAddr) {
        let upstream = self.upstream;
        let yaml = format!(
            "version: 1\nhttp: {{ addr: \"{http}\", external_url: http://localhost, workers: 2 }}\n\
             admin: {{ addr: \"{admin}\" }}\nupstream: {{ urls: [\"http://{upstream}\"] }}\n\
             identity:\n  - {HTPASSWD}\nlog: {{ access: off }}\n"
        );
        std::fs::write(self.folder.path().join("moorgate.yml"), yaml).unwrap();
    }

    /// Starts a gate that gets these sockets as its file descriptors 3 and 4. A command before it
    /// sets their number and its own process id, as systemd does.
    fn start(&self, manager: &Manager, first: OwnedFd, second: OwnedFd, pid: &str) -> Child {
        let script = "exec 3<&0 4<&1 < /dev/null > /dev/null\n\
                      LISTEN_FDS=2 LISTEN_PID=$1 exec \"$0\" serve --config moorgate.yml";
        Command::new("sh")
            .args(["-c", &script.replace("$1", pid), env!("CARGO_BIN_EXE_moorgate")])
            .current_dir(self.folder.path())
            .env("NOTIFY_SOCKET", manager.address())
            .stdin(first)
            .stdout(second)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Starts a gate that cannot use the sockets, and returns its program log.
    fn refusal(&self, first: impl Into<OwnedFd>, second: impl Into<OwnedFd>) -> String {
        let child = self.start(&Manager::new(), first.into(), second.into(), "$$");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        text(&output.stderr)
    }
}

fn end(child: Child) -> Output {
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    child.wait_with_output().unwrap()
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().unwrap()
}

fn copy(listener: &TcpListener) -> OwnedFd {
    listener.try_clone().unwrap().into()
}

#[test]
fn one_gate_replaces_another_on_the_passed_sockets_while_a_request_is_under_way() {
    let (http, admin, registry) = (listener(), listener(), listener());
    let config = Config::new(address(&http), address(&admin), address(&registry));
    let (of_first, of_second) = (Manager::new(), Manager::new());
    // In either order: the gate tells them by their addresses.
    let first = config.start(&of_first, copy(&http), copy(&admin), "$$");
    assert_eq!(of_first.told(), ["READY=1", "STATUS=serves"]);
    // The registry does not answer this request until the end of the test.
    let mut held = TcpStream::connect(address(&http)).unwrap();
    let asks = request("GET", "/v2/a/tags/list", Some(("alice", "secret")), "", "");
    held.write_all(asks.as_bytes()).unwrap();
    let (mut forwarded, _) = registry.accept().unwrap();
    forwarded.read_exact(&mut [0]).unwrap();
    // A monitor that keeps its connection.
    let mut monitor = TcpStream::connect(address(&admin)).unwrap();
    monitor.set_read_timeout(Some(PATIENCE)).unwrap();
    monitor.write_all(b"GET /readyz HTTP/1.1\r\nHost: admin\r\n\r\n").unwrap();
    let mut answer = [0; 15];
    monitor.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");

    let second = config.start(&of_second, copy(&admin), copy(&http), "$$");
    assert_eq!(of_second.told(), ["READY=1", "STATUS=serves"]);
    let killed = Command::new("kill").arg(first.id().to_string()).status().unwrap();
    assert!(killed.success());
    let ping = request("GET", "/v2/", Some(("alice", "secret")), "", "");
    let ready = request("GET", "/readyz", None, "", "");
    // Before, during and after the moment at which the first gate leaves the sockets.
    while of_first.told() != ["STOPPING=1", "STATUS=drains"] {}
    for _ in 0..100 {
        let answer = send(address(&http), &ping);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let begun = Instant::now();
    while !send(address(&admin), &ready).starts_with("HTTP/1.1 200 ") {
        assert!(begun.elapsed() < PATIENCE, "the gate that drains still answers");
        std::thread::sleep(Duration::from_millis(1));
    }
    for _ in 0..20 {
        let answer = send(address(&admin), &ready);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // Its next request goes to the other gate.
    monitor.read_to_end(&mut Vec::new()).expect("the end of the connection");

    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    forwarded.write_all(answer.as_bytes()).unwrap();
    let mut reply = String::new();
    held.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    let said = text(&first.wait_with_output().unwrap().stderr);
    assert!(said.contains("systemd passed the sockets") && said.contains("has ended"), "{said}");
    assert_eq!(end(second).status.code(), Some(0));
    // The sockets are still open: connections wait for the next gate.
    TcpStream::connect(address(&http)).unwrap();
}

#[test]
fn sockets_that_are_passed_to_another_process_are_left_alone() {
    let (http, admin) = (free(), free());
    let config = Config::new(http, admin, free());
    let manager = Manager::new();
    let gate = config.start(&manager, copy(&listener()), copy(&listener()), "1");
    assert_eq!(manager.told(), ["READY=1", "STATUS=serves"]);
    // The gate has bound its own sockets.
    let ping = request("GET", "/v2/", Some(("alice", "secret")), "", "");
    assert!(send(http, &ping).starts_with("HTTP/1.1 200 "));
    let said = text(&end(gate).stderr);
    assert!(!said.contains("systemd passed"), "{said}");
}

#[test]
fn a_socket_that_the_gate_cannot_use_is_an_error_that_says_what_to_write() {
    let (http, admin) = (listener(), listener());
    let config = Config::new(address(&http), address(&admin), free());
    let unusable = [
        ("datagram", OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap())),
        ("connection", TcpStream::connect(address(&http)).unwrap().into()),
        ("local", UnixListener::bind(config.folder.path().join("local")).unwrap().into()),
        ("file", std::fs::File::open("/dev/null").unwrap().into()),
    ];
    for (kind, unusable) in unusable {
        let said = config.refusal(copy(&http), unusable);
        assert!(
            said.contains("the file descriptor 4, which the gate cannot use"),
            "{kind}: {said}"
        );
    }
    // A socket on another address, or the same one again.
    let other = listener();
    let said = config.refusal(copy(&http), copy(&other));
    for part in [
        format!("a socket on {} that the gate does not need", address(&other)),
        format!("http.addr is {}", address(&http)),
        format!("admin.addr is {}", address(&admin)),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    let said = config.refusal(copy(&http), copy(&http));
    assert!(said.contains("one line ListenStream= for each"), "{said}");
    let bad = config.start(&Manager::new(), copy(&http), copy(&admin), "none");
    let said = text(&bad.wait_with_output().unwrap().stderr);
    assert!(said.contains("LISTEN_FDS and LISTEN_PID"), "{said}");
}
