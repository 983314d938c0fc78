//! The audit log of a running gate: the events it records, and that no write reaches the registry
//! without a record.

use serde_json::{Value, json};

use crate::harness::{READ_ONLY, READ_WRITE, Setup, TestGate, some_digest};

const UPLOADS: &str = "/v2/demo/a/blobs/uploads/";
const PULL: &str = "/v2/demo/a/tags/list";

fn lines(gate: &TestGate) -> Vec<Value> {
    let text = std::fs::read_to_string(gate.file("audit.log")).unwrap();
    assert!(!text.contains(READ_WRITE.1) && !text.contains(READ_ONLY.1), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn gate(log: Vec<&'static str>) -> TestGate {
    TestGate::start(Setup { log, tokens: vec!["challenge: bearer"], ..Setup::default() }).await
}

#[tokio::test]
async fn the_audit_log_records_allowed_writes_and_refusals() {
    let gate = gate(vec!["audit: audit.log"]).await;
    let digest = some_digest();
    let mount = format!("{UPLOADS}?mount={digest}&from=demo/b");
    for (method, target, credential) in [
        ("GET", "/v2/", None),
        ("GET", PULL, None),
        ("GET", PULL, Some(READ_ONLY)),
        ("POST", UPLOADS, Some(READ_WRITE)),
        ("POST", &mount, Some(READ_WRITE)),
        ("POST", UPLOADS, Some(READ_ONLY)),
        ("GET", PULL, Some(("alice", "glpat-wrong"))),
        ("GET", "/token?scope=repository:demo/a:pull", Some(("alice", "glpat-wrong"))),
        ("GET", "/token?scope=repository:demo/a:pull", Some(READ_ONLY)),
        ("GET", "/v2/Demo/a/tags/list", Some(READ_ONLY)),
    ] {
        gate.send(method, target, credential, "X-Request-Id: mine\r\n", "").await;
    }
    gate.send("GET", PULL, None, "Authorization: Bearer mg1.forged.token\r\n", "").await;
    // A credential that cannot be read is refused and recorded as a credential, in a header and in
    // a form.
    gate.send("GET", PULL, None, "Authorization: Basic !\r\n", "").await;
    let form = "grant_type=password&username=alice%3A&password=secret&scope=repository:demo/a:pull";
    gate.send("POST", "/token", None, "Content-Type: application/x-www-form-urlencoded\r\n", form)
        .await;

    let lines = lines(&gate);
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            ["method", "path", "operation", "subject", "decision", "reason"]
                .map(|key| line[key].clone())
        })
        .collect();
    let expected = json!([
        ["POST", UPLOADS, "upload_start", "alice", "allowed", "allowed"],
        ["POST", UPLOADS, "upload_start", "alice", "allowed", "allowed"],
        ["POST", UPLOADS, "upload_start", "alice", "denied", "insufficient_rights"],
        ["GET", PULL, "tags", null, "denied", "wrong_credential"],
        ["GET", "/token", "token", null, "denied", "wrong_credential"],
        ["GET", PULL, "tags", null, "denied", "invalid_token"],
        ["GET", PULL, "tags", null, "denied", "malformed_credential"],
        ["POST", "/token", "token", null, "denied", "malformed_credential"],
    ]);
    assert_eq!(json!(told), expected);
    assert_eq!(lines[1]["from"], "demo/b");
    assert_eq!((&lines[1]["digest"], &lines[0]["digest"]), (&json!(digest), &Value::Null));
    for (key, value) in [
        ("request_id", "mine"),
        ("client_ip", "127.0.0.1"),
        ("repository", "demo/a"),
        ("provider", "gitlab"),
        ("credential_kind", "basic"),
        ("credential_type", "personal_access_token"),
    ] {
        assert_eq!(lines[0][key], value);
    }
    assert!(
        lines[0]["time"].as_str().unwrap().ends_with('Z') && lines[0]["credential"].is_string()
    );
    let access = gate.log(11).await;
    assert_eq!(access[3]["credential"], lines[0]["credential"], "the same name in both logs");
}

/// A request that the rules would refuse is recorded as refusals are, reads included, although
/// shadow mode lets it through.
#[tokio::test]
async fn the_audit_log_records_requests_that_only_shadow_mode_lets_through() {
    const RULES: &str =
        "rules: [{ name: pull, repositories: [demo/b], who: [authenticated], allow: [pull] }]";
    let of =
        |audit| Setup { log: vec![audit], policy: vec!["mode: shadow", RULES], ..Setup::default() };
    let gate = TestGate::start(of("audit: audit.log")).await;
    for (method, target) in [("GET", PULL), ("GET", "/v2/demo/b/tags/list"), ("POST", UPLOADS)] {
        gate.send(method, target, Some(READ_WRITE), "", "").await;
    }
    let lines = lines(&gate);
    let told: Vec<_> =
        lines.iter().map(|line| json!([line["path"], line["decision"], line["reason"]])).collect();
    let expected =
        [json!([PULL, "allowed", "shadow_denied"]), json!([UPLOADS, "allowed", "shadow_denied"])];
    assert_eq!(told, expected);

    let gate = TestGate::start(of("audit: /dev/full")).await;
    assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 404, "a read waits for no disk");
    assert_eq!(gate.send("POST", UPLOADS, Some(READ_WRITE), "", "").await.status, 503);
}

/// The gate records a write before it forwards the write. A write that cannot be recorded is not
/// made.
#[tokio::test]
async fn a_write_that_cannot_be_audited_is_not_forwarded() {
    let gate = gate(vec!["audit: /dev/full"]).await;
    let reply = gate.send("POST", UPLOADS, Some(READ_WRITE), "", "").await;
    assert_eq!((reply.status, &*reply.code()), (503, "UNAVAILABLE"));
    assert!(reply.header("retry-after").is_some() && reply.body.contains("audit log"), "{reply:?}");
    assert_eq!(gate.forwarded(), 0);
    assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 404, "reads go on");
    assert_eq!(
        gate.send("POST", UPLOADS, Some(READ_ONLY), "", "").await.status,
        403,
        "and refusals"
    );
    let log = gate.log(3).await;
    assert_eq!((&log[0]["decision"], &log[0]["reason"]), (&json!("error"), &json!("audit_failed")));
    assert_eq!(gate.forwarded(), 1);
}

/// Reads and refusals go on without their line. It is counted, and the page does not call the gate
/// well.
#[tokio::test]
async fn lines_that_cannot_be_written_are_counted_and_reported_until_one_is_written() {
    let mut gate = gate(vec!["audit: /dev/full"]).await;
    assert_eq!(gate.send("POST", UPLOADS, Some(READ_WRITE), "", "").await.status, 503);
    assert_eq!(gate.send("POST", UPLOADS, Some(READ_ONLY), "", "").await.status, 403);
    let metrics = gate.admin("/metrics").await.body;
    assert!(metrics.contains("moorgate_audit_failures_total 2\n"), "{metrics}");
    let decisions = |result, reason| {
        let labels = format!("provider=\"gitlab\",result=\"{result}\",reason=\"{reason}\"");
        format!("moorgate_auth_decisions_total{{{labels}}} ")
    };
    assert!(metrics.contains(&(decisions("error", "audit_failed") + "1\n")), "{metrics}");
    assert!(metrics.contains(&(decisions("allowed", "allowed") + "0\n")), "{metrics}");

    // A pull is no line of the audit log, so it says nothing about it.
    assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 404);
    let seen = gate.admin("/status.json").await.body;
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen["logs"]["audit"], json!({ "failing": true, "lines_lost": 2 }));
    let trouble = seen["trouble"][0].as_str().unwrap();
    let start = "The audit log cannot be written, so every push and delete is refused with 503: No \
                 space left on device (os error 28). Since ";
    assert!(trouble.starts_with(start), "{trouble}");
    let problem = &seen["problems"][0];
    assert_eq!(problem["error"], "No space left on device (os error 28)");
    assert_eq!(problem["runbook"], "moorgateauditfails");
    assert!(gate.admin("/").await.body.contains("No space left on device"));

    gate.edit("audit: /dev/full", "audit: audit.log");
    assert!(gate.reload().await);
    assert_eq!(gate.send("POST", UPLOADS, Some(READ_WRITE), "", "").await.status, 202);
    let seen: Value = serde_json::from_str(&gate.admin("/status.json").await.body).unwrap();
    assert_eq!((&seen["trouble"], &seen["logs"]["audit"]["lines_lost"]), (&json!([]), &json!(2)));
}

#[tokio::test]
async fn only_the_gates_user_has_access_to_the_audit_log_file() {
    use std::os::unix::fs::PermissionsExt;
    let gate = gate(vec!["audit: audit.log"]).await;
    let mode = std::fs::metadata(gate.file("audit.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
}

/// A reload applies another file name. A reload that reopens logs opens the same file again, as
/// logrotate needs it.
#[tokio::test]
async fn a_reload_changes_or_reopens_the_audit_log_file() {
    let mut gate = gate(vec!["audit: audit.log"]).await;
    let push =
        async |gate: &TestGate| gate.send("POST", UPLOADS, Some(READ_WRITE), "", "").await.status;
    let count = |gate: &TestGate, name| {
        std::fs::read_to_string(gate.file(name)).map_or(0, |text| text.lines().count())
    };
    assert_eq!(push(&gate).await, 202);
    gate.edit("audit: audit.log", "audit: other.log");
    assert!(gate.reload().await);
    assert_eq!(push(&gate).await, 202);
    assert_eq!((count(&gate, "audit.log"), count(&gate, "other.log")), (1, 1));
    std::fs::rename(gate.file("other.log"), gate.file("other.log.1")).unwrap();
    assert!(gate.reloader.as_mut().unwrap().reload(true));
    assert_eq!(push(&gate).await, 202);
    assert_eq!((count(&gate, "other.log.1"), count(&gate, "other.log")), (1, 1));
    // If the new file cannot be opened, the whole reload fails and the old file stays in use.
    gate.edit("audit: other.log", "audit: /proc/audit.log");
    assert!(!gate.reload().await);
    assert_eq!(push(&gate).await, 202);
    assert_eq!(count(&gate, "other.log"), 2);
}
