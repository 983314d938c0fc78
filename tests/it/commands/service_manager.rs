//! What the gate tells the service manager that started it (sd_notify(3)).

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;

use super::{HTPASSWD, Served, free, moorgate};
use crate::harness::PATIENCE;

/// A service manager that listens on a socket in a folder.
pub(super) struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = moorgate(arguments);
        command.env("NOTIFY_SOCKET", self.address());
        command
    }

    /// Returns the value of `NOTIFY_SOCKET` for a gate of this service manager.
    pub(super) fn address(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// Returns the lines of the next message.
    pub(super) fn told(&self) -> Vec<String> {
        let mut buffer = [0; 512];
        let length = self.socket.recv(&mut buffer).unwrap();
        std::str::from_utf8(&buffer[..length]).unwrap().lines().map(str::to_owned).collect()
    }

    /// Reads the two messages of a reload and returns the status in the second.
    fn reload(&self) -> String {
        let told = self.told();
        assert_eq!(told[0], "RELOADING=1");
        assert!(told[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0);
        let told = self.told();
        assert_eq!((told.len(), &*told[0]), (2, "READY=1"));
        told[1].strip_prefix("STATUS=").unwrap().to_owned()
    }
}

#[test]
fn the_service_manager_is_told_of_the_start_of_reloads_and_of_the_end() {
    let manager = Manager::new();
    let served = Served::start_by(free(), HTPASSWD, "", |it| manager.command(it));
    assert_eq!(manager.told(), ["READY=1", "STATUS=serves"]);
    served.signal("-HUP");
    assert_eq!(manager.reload(), "serves");
    // Reloaded because the file has changed.
    let good = std::fs::read_to_string(&served.config).unwrap();
    std::fs::write(&served.config, format!("{good}bad: 1\n")).unwrap();
    assert!(manager.reload().contains("the last reload failed"));
    std::fs::write(&served.config, good).unwrap();
    served.signal("-HUP");
    assert_eq!(manager.reload(), "serves");
    served.signal("-TERM");
    while manager.told() != ["STOPPING=1", "STATUS=drains"] {}
    assert_eq!(served.end().status.code(), Some(0));
}

#[test]
fn the_watchdog_hears_from_the_gate_again_and_again_during_the_drain_too() {
    let manager = Manager::new();
    let served = Served::start_by(free(), HTPASSWD, "  drain_delay: 1h\n", |it| {
        let mut command = manager.command(it);
        command.env("WATCHDOG_USEC", "100000");
        command
    });
    let beats = |count| (0..count).all(|_| manager.told() == ["WATCHDOG=1"]);
    while manager.told() != ["READY=1", "STATUS=serves"] {}
    assert!(beats(3));
    served.signal("-TERM");
    while manager.told() != ["STOPPING=1", "STATUS=drains"] {}
    assert!(beats(3));
    served.signal("-TERM");
    assert_eq!(served.end().status.code(), Some(1));
}

#[test]
fn a_watchdog_of_another_process_hears_nothing() {
    let manager = Manager::new();
    let served = Served::start_by(free(), HTPASSWD, "", |it| {
        let mut command = manager.command(it);
        command.envs([("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")]);
        command
    });
    assert_eq!(manager.told(), ["READY=1", "STATUS=serves"]);
    served.signal("-TERM");
    assert_eq!(manager.told(), ["STOPPING=1", "STATUS=drains"]);
    assert_eq!(served.end().status.code(), Some(0));
}
