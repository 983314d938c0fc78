//! File descriptors run out: the gate does not spin, and it accepts connections again as soon as
//! descriptors are free (the table of faults).

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use super::secrets::send;
use super::{HTPASSWD, Served, free};
use crate::harness::{PATIENCE, request};

/// The number of files that the gate may open in addition to those already open.
const SPARE: usize = 8;
/// The number of clients' connections, far above [`SPARE`].
const CLIENTS: usize = 30;

fn open_files(gate: &Served) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gate.child.id())).unwrap().count()
}

/// Returns the CPU time of all threads of the gate in ticks, of which Linux counts 100 a second.
fn ticks(gate: &Served) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gate.child.id())).unwrap();
    // The process name in parentheses may contain anything. User and system time are the 14th and
    // 15th field.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_gate_without_free_descriptors_does_not_spin_and_recovers() {
    let gate = Served::start(free(), HTPASSWD, "  workers: 2\n");
    let message = request("GET", "/v2/", Some(("alice", "secret")), "", "");
    // The gate listens before it is ready. It is ready once both listeners answer.
    assert!(
        send(gate.admin, &request("GET", "/readyz", None, "", "")).starts_with("HTTP/1.1 200 ")
    );
    assert!(send(gate.address, &message).starts_with("HTTP/1.1 200 "));
    let before = open_files(&gate);
    let limit = before + SPARE;
    let lowered = Command::new("prlimit")
        .args(["--pid", &gate.child.id().to_string(), &format!("--nofile={limit}:{limit}")])
        .status()
        .unwrap();
    assert!(lowered.success());

    let clients: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(gate.address).unwrap()).collect();
    wait_until("the descriptors do not run out", || open_files(&gate) >= limit);
    let used = ticks(&gate);
    // This sleep does not wait for an event: it is the time in which the gate must not use the CPU.
    std::thread::sleep(Duration::from_millis(500));
    let used = ticks(&gate) - used;
    assert!(used < 25, "{used} ticks in half a second of doing nothing");

    drop(clients);
    let freed = Instant::now();
    let answer = send(gate.address, &message);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(freed.elapsed() < Duration::from_secs(2), "{:?}", freed.elapsed());
    let shown = send(gate.admin, &request("GET", "/status.json", None, "", ""));
    assert!(shown.contains("Connections cannot be accepted: Too many open files"), "{shown}");
    wait_until("it keeps what was closed", || open_files(&gate) <= before);
    gate.signal("-TERM");
    assert_eq!(gate.end().status.code(), Some(0));
}
