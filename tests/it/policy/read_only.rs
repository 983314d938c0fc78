//! Maintenance: `policy.read_only` refuses every write and delete, and pulls go on.

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::harness::{
    EMPTY_INDEX, INDEX_TYPE, READ_ONLY, READ_WRITE, Reply, Setup, TestGate, exchange, read_reply,
    request, some_digest,
};
use crate::http2_client;
use crate::scripted_upstream::{OK, ScriptedUpstream, UPLOAD, UPLOADS, open_request};

const READ_ONLY_MODE: &str = "read_only: true";

fn setup() -> Setup {
    Setup { policy: vec![READ_ONLY_MODE], log: vec!["audit: audit.log"], ..Setup::default() }
}

fn writes() -> Vec<(&'static str, String)> {
    let digest = some_digest();
    let of = |method: &'static str, rest: String| (method, format!("/v2/demo/a/{rest}"));
    vec![
        of("PUT", "manifests/v1".into()),
        of("PUT", format!("manifests/{digest}")),
        of("DELETE", "manifests/v1".into()),
        of("DELETE", format!("manifests/{digest}")),
        of("DELETE", format!("blobs/{digest}")),
        of("POST", "blobs/uploads/".into()),
        of("POST", format!("blobs/uploads/?mount={digest}&from=demo/b")),
        of("PATCH", "blobs/uploads/1".into()),
        of("PUT", format!("blobs/uploads/1?digest={digest}")),
        of("DELETE", "blobs/uploads/1".into()),
    ]
}

fn assert_refused(reply: &Reply, context: &str) {
    assert_eq!((reply.status, reply.code()), (405, "UNSUPPORTED".to_owned()), "{context}");
    assert_eq!(reply.header("allow"), Some("GET, HEAD"), "{context}");
    assert!(reply.body.contains("maintenance"), "{context}: {reply:?}");
}

#[tokio::test]
async fn writes_and_deletes_are_refused_before_any_provider_is_asked() {
    let gate = TestGate::start(setup()).await;
    let mut lines = 0;
    for caller in [None, Some(READ_WRITE), Some(("alice", "wrong"))] {
        for (method, target) in writes() {
            let body = if matches!(method, "PUT" | "PATCH") { EMPTY_INDEX } else { "" };
            let reply = gate.send(method, &target, caller, INDEX_TYPE, body).await;
            assert_refused(&reply, &format!("{method} {target} {caller:?}"));
            lines += 1;
        }
    }
    assert_eq!((gate.gitlab.ledger().count(), gate.forwarded()), (0, 0), "a server was asked");
    for line in gate.log(lines).await {
        let told = (&line["decision"], &line["reason"], &line["status"]);
        assert_eq!(told, (&"denied".into(), &"read_only".into(), &405.into()), "{line}");
    }
    // The caller is not known, so this is not the refusal of a credential or a right.
    assert_eq!(std::fs::read_to_string(gate.file("audit.log")).unwrap(), "");
    let metrics = gate.running.metrics();
    assert!(metrics.contains("operation=\"manifest_put\",code=\"405\"} 6\n"), "{metrics}");
}

#[tokio::test]
async fn pulls_logins_and_tokens_go_on() {
    let gate = TestGate::start(setup()).await;
    for (method, target, status) in [
        ("GET", "/v2/", 200),
        ("HEAD", "/v2/", 200),
        ("GET", "/v2/demo/a/tags/list", 404),
        ("HEAD", "/v2/demo/a/manifests/v1", 404),
        ("GET", "/v2/demo/a/manifests/v1", 404),
        ("GET", "/v2/demo/a/blobs/uploads/1", 404),
    ] {
        let reply = gate.send(method, target, Some(READ_WRITE), "", "").await;
        assert_eq!(reply.status, status, "{method} {target}");
    }
    let scope = "/token?scope=repository:demo/a:pull,push";
    let reply = gate.get(scope, Some(READ_WRITE)).await;
    let token: Value = serde_json::from_str(&reply.body).unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap());
    assert_eq!(gate.send("GET", "/v2/demo/a/tags/list", None, &bearer, "").await.status, 404);
    assert_refused(&gate.send("POST", UPLOADS, None, &bearer, "").await, "with a token");
    let form = format!("grant_type=password&username=alice&password={}", READ_ONLY.1);
    let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(gate.send("POST", "/token", None, headers, &form).await.status, 200);
    // What is no operation is answered as ever.
    for (method, target, status) in
        [("DELETE", "/v2/", 405), ("POST", "/v2/x", 404), ("PUT", "/v2/Demo/manifests/v1", 400)]
    {
        let reply = gate.send(method, target, Some(READ_WRITE), "", "").await;
        assert_eq!(reply.status, status, "{method} {target}");
        assert!(!reply.body.contains("maintenance"), "{method} {target}");
    }
}

/// `per_client` comes first, so that a flood of writes is a flood all the same.
#[tokio::test]
async fn refused_writes_count_for_the_limit_of_their_address() {
    let limits = vec!["per_client: { rate: 1/h, burst: 2 }"];
    let gate = TestGate::start(Setup { limits, ..setup() }).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(gate.send("DELETE", &writes()[2].1, None, "", "").await.status);
    }
    assert_eq!(statuses, [405, 405, 429]);
}

#[tokio::test]
async fn shadow_mode_does_not_lift_it() {
    let policy = vec![
        READ_ONLY_MODE,
        "mode: shadow",
        "rules: [{ name: all, repositories: [\"**\"], who: [authenticated], allow: [pull] }]",
    ];
    let gate = TestGate::start(Setup { policy, ..setup() }).await;
    assert_refused(&gate.send("POST", UPLOADS, Some(READ_WRITE), "", "").await, "in shadow mode");
}

#[tokio::test]
async fn over_http2() {
    let gate = TestGate::start(Setup { tls: true, ..setup() }).await;
    let sender = gate.http2().await;
    let response = http2_client::ask(&sender, "POST", UPLOADS).await;
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "GET, HEAD");
}

/// A reload begins and ends the maintenance, on open connections too. The request under way ends,
/// and the next request of its upload is refused.
#[tokio::test]
async fn a_reload_begins_and_ends_the_maintenance() {
    let policy = vec!["read_only: false"];
    let (mut upstream, mut gate) =
        ScriptedUpstream::behind(Setup { policy, ..Setup::default() }).await;
    let mut client = gate.connect().await;
    let patch = open_request("PATCH", UPLOAD, "Content-Length: 10\r\n", "");
    client.write_all(patch.as_bytes()).await.unwrap();
    client.write_all(b"01234").await.unwrap();
    let (mut uploading, _) = upstream.accept_request().await;
    uploading.until(b"01234").await;

    gate.edit("read_only: false", READ_ONLY_MODE);
    assert!(gate.reload().await);
    client.write_all(b"56789").await.unwrap();
    uploading.until(b"56789").await;
    uploading.write(OK).await;
    assert_eq!(read_reply(&mut client).await.status, 200);
    let next = open_request("PATCH", UPLOAD, "Content-Length: 1\r\n", "");
    client.write_all(next.as_bytes()).await.unwrap();
    assert_refused(&read_reply(&mut client).await, "the next chunk");
    assert_eq!(upstream.requests(), 1);

    gate.edit(READ_ONLY_MODE, "read_only: false");
    assert!(gate.reload().await);
    let mut client = gate.connect().await;
    let ask = exchange(&mut client, request("DELETE", UPLOAD, Some(READ_WRITE), "", ""));
    let script = async {
        uploading.head().await;
        uploading.write(OK).await;
    };
    let (reply, ()) = tokio::join!(ask, script);
    assert_eq!(reply.status, 200);
}
