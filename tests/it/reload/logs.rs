//! The access log: it is reopened on request, and a reload can change its destination.

use std::os::unix::fs::symlink;

use super::{ALICE, with_htpasswd};
use crate::harness::{Setup, TestGate};
use crate::scripted_upstream::soon;

/// Sends a request and waits for its line in this file.
async fn logged(gate: &TestGate, id: &str, file: &str) {
    gate.send("GET", "/v2/", Some(ALICE), &format!("X-Request-Id: {id}\r\n"), "").await;
    soon(async {
        while !std::fs::read_to_string(gate.file(file))
            .is_ok_and(|log| log.contains(&format!("\"{id}\"")))
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The end of a file within a line is not the start of the next line: after a restart, and after
/// the signal on the same file.
#[tokio::test]
async fn a_torn_end_of_a_log_is_not_continued() {
    let log = vec!["access: a.log", "audit: audit.log"];
    let files = vec![("a.log", "torn"), ("audit.log", "torn"), ("b.log", "torn")];
    let mut gate = with_htpasswd(Setup { log, files, ..Setup::default() }).await;
    // The test's own log is in memory until a reload changes the target.
    gate.edit("access: a.log", "access: b.log");
    assert!(gate.reload().await);
    let both = async |gate: &TestGate, id| {
        let header = format!("X-Request-Id: {id}\r\n");
        gate.send("GET", "/v2/", Some(("alice", "wrong")), &header, "").await;
        logged(gate, &format!("{id}-logged"), "b.log").await;
    };
    both(&gate, "first").await;
    for name in ["b.log", "audit.log"] {
        let text = std::fs::read_to_string(gate.file(name)).unwrap();
        assert!(text.starts_with("torn\n{") && text.ends_with("}\n"), "{name}: {text}");
        gate.write(name, text + "torn again");
    }
    assert!(gate.reloader.as_mut().unwrap().reload(true));
    both(&gate, "second").await;
    for name in ["b.log", "audit.log"] {
        let text = std::fs::read_to_string(gate.file(name)).unwrap();
        assert!(text.contains("}\ntorn again\n{"), "{name}: {text}");
        assert!(!text.contains("\n\n"), "{name}: {text}");
    }
}

#[tokio::test]
async fn lost_lines_of_the_access_log_are_counted_and_reported() {
    let mut gate = with_htpasswd(Setup { log: vec!["access: a.log"], ..Setup::default() }).await;
    gate.edit("access: a.log", "access: /dev/full");
    assert!(gate.reload().await);
    gate.send("GET", "/v2/", Some(ALICE), "", "").await;
    let lost = "moorgate_access_log_lines_lost_total 1\n";
    soon(async { while !gate.admin("/metrics").await.body.contains(lost) {} }).await;
    let shown = gate.admin("/status.json").await.body;
    assert!(shown.contains("The access log cannot be written: No space left"), "{shown}");
    gate.edit("access: /dev/full", "access: b.log");
    assert!(gate.reload().await);
    logged(&gate, "written", "b.log").await;
    let shown = gate.admin("/status.json").await.body;
    assert!(shown.contains("The access log loses lines: No space left"), "{shown}");
}

/// Logs are reopened even if the config is invalid. The tool that rotates the logs does not know
/// the config, and lines must not go to a file that it has deleted.
#[tokio::test]
async fn logs_are_reopened_while_the_config_is_invalid() {
    let log = vec!["access: a.log", "audit: audit.log"];
    let mut gate = with_htpasswd(Setup { log, ..Setup::default() }).await;
    gate.edit("access: a.log", "access: b.log");
    assert!(gate.reload().await, "the test's own log is in memory until then");
    gate.edit("version: 1", "version: 7");
    assert!(!gate.reload().await);
    for (name, moved) in [("b.log", "b.log.1"), ("audit.log", "audit.log.1")] {
        std::fs::rename(gate.file(name), gate.file(moved)).unwrap();
    }
    assert!(!gate.reloader.as_mut().unwrap().reload(true));
    logged(&gate, "later", "b.log").await;
    gate.send("GET", "/v2/", Some(("alice", "wrong")), "X-Request-Id: refused\r\n", "").await;
    assert!(std::fs::read_to_string(gate.file("audit.log")).unwrap().contains("\"refused\""));
}

#[tokio::test]
async fn the_access_log_is_reopened_and_can_change_its_file() {
    let mut gate = with_htpasswd(Setup::default()).await;
    gate.write(
        "test.yml",
        std::fs::read_to_string(gate.file("test.yml")).unwrap() + "log: { access: a.log }\n",
    );
    assert!(gate.reload().await, "a file where there was none");
    logged(&gate, "first", "a.log").await;

    // logrotate works in this order: it renames the file, and then sends the signal.
    std::fs::rename(gate.file("a.log"), gate.file("a.log.1")).unwrap();
    logged(&gate, "between", "a.log.1").await;
    assert!(gate.reloader.as_mut().unwrap().reload(true));
    logged(&gate, "second", "a.log").await;
    assert!(!std::fs::read_to_string(gate.file("a.log.1")).unwrap().contains("second"));

    // If the file cannot be opened again, lines go on to the open one, and the rest of the reload
    // applies.
    std::fs::rename(gate.file("a.log"), gate.file("a.log.2")).unwrap();
    symlink("no-such-folder/a.log", gate.file("a.log")).unwrap();
    assert!(gate.reloader.as_mut().unwrap().reload(true));
    logged(&gate, "third", "a.log.2").await;

    // A new name that cannot be opened makes the config invalid.
    symlink("no-such-folder/b.log", gate.file("b.log")).unwrap();
    gate.edit("access: a.log", "access: b.log");
    assert!(!gate.reload().await);
    logged(&gate, "fourth", "a.log.2").await;
    gate.edit("access: b.log", "access: \"off\"");
    assert!(gate.reload().await);
    gate.send("GET", "/v2/", Some(ALICE), "X-Request-Id: unlogged\r\n", "").await;
    gate.edit("access: \"off\"", "access: c.log");
    assert!(gate.reload().await);
    logged(&gate, "last", "c.log").await;
    let all = ["a.log.2", "c.log"].map(|file| std::fs::read_to_string(gate.file(file)).unwrap());
    assert!(!all.concat().contains("unlogged"));
}
