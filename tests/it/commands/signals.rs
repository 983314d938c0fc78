//! The signals that end the gate or reload its config.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{HTPASSWD, Served, free, run, text};
use crate::harness::{PATIENCE, basic, listener};

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
    write!(
        client,
        "GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\
         Connection: close\r\n\r\n"
    )
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
