//! What keeps the gate from starting, and what it warns about at the start.

use std::process::Command;

use super::{HTPASSWD, Served, free, run, text};
use crate::harness::listener;

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
fn the_error_about_an_address_names_its_config_key_and_the_remedy() {
    let taken = listener();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("htpasswd"),
        format!("a:{}\n", bcrypt::hash("b", 4).unwrap()),
    )
    .unwrap();
    let config = folder.path().join("moorgate.yml");
    let taken = taken.local_addr().unwrap().to_string();
    for (key, address, remedy) in [
        ("http.addr", &*taken, "end it, or take another port"),
        ("admin.addr", &*taken, "end it, or take another port"),
        ("http.addr", "192.0.2.1:0", "no interface of this machine has this address"),
        ("admin.addr", "192.0.2.1:0", "no interface of this machine has this address"),
        ("http.addr", "[fe80::1]:0", "needs the number of its interface, as in [fe80::1%2]:8443"),
    ] {
        let of = |wanted| if key == wanted { address } else { "127.0.0.1:0" };
        let text_of_config = format!(
            "version: 1\nhttp: {{ addr: \"{}\", external_url: \"http://localhost\" }}\n\
             admin: {{ addr: \"{}\" }}\nupstream: {{ urls: [\"http://127.0.0.1:9\"] }}\n\
             identity:\n  - {HTPASSWD}\n",
            of("http.addr"),
            of("admin.addr"),
        );
        std::fs::write(&config, text_of_config).unwrap();
        let output = run(&["serve", "--config", config.to_str().unwrap()], "");
        assert_eq!(output.status.code(), Some(1));
        let errors = text(&output.stderr);
        assert!(errors.contains(&format!("{key}: cannot listen on {address}")), "{errors}");
        assert!(errors.contains(remedy), "{errors}");
    }
}

/// On Linux, sockets of one user that share a port do so without an error, so a second gate must
/// check for the first.
#[test]
fn two_gates_do_not_share_a_port() {
    let served = Served::start(free(), HTPASSWD, "");
    let port = served.address.port().to_string();
    let output = run(&["demo", "--port", &port], "");
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(errors.contains("cannot listen on port") && errors.contains("--port"), "{errors}");
    served.signal("-TERM");
    served.end();
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
        "version: 1\nhttp: {{ addr: \"{address}\", external_url: \"http://localhost\" }}\n\
         upstream: {{ urls: [\"http://127.0.0.1:9\"] }}\nidentity:\n  - {HTPASSWD}\n"
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
