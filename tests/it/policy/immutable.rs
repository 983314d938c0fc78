//! Rules that make tags immutable, through the whole gate. The registry's ledger shows what was
//! forwarded.

use serde_json::{Value, json};

use crate::harness::{EMPTY_INDEX, INDEX_TYPE, Reply, Setup, TestGate, digest_of, request};
use crate::scripted_upstream::{ScriptedUpstream, soon};

const ALICE: (&str, &str) = ("alice", "password-of-alice");
const BOB: (&str, &str) = ("bob", "password-of-bob");
const V1: &str = "/v2/releases/a/manifests/v1";

/// Bob may do everything by a rule of his own, and the immutable rule holds for him too.
const RULES: [&str; 3] = [
    "rules:",
    "  - { name: releases, repositories: [\"releases/**\"], who: [\"user:alice\"], \
     allow: [pull, push], tags: [\"v*\"], immutable: true }",
    "  - { name: bob, repositories: [\"**\"], who: [\"user:bob\"], allow: [pull, push, delete] }",
];

fn setup(more: &[&'static str]) -> Setup {
    Setup {
        identity: Some(
            "- { name: local, type: htpasswd, file: htpasswd, \
             scopes: [read_registry, write_registry, delete_registry] }",
        ),
        htpasswd_users: vec![ALICE, BOB],
        policy: [&RULES[..], more].concat(),
        log: vec!["audit: audit.log"],
        ..Setup::default()
    }
}

/// Sends a request. Returns the reply, and what reached the registry.
async fn send(
    gate: &TestGate,
    caller: (&str, &str),
    method: &str,
    target: &str,
) -> (Reply, Vec<String>) {
    let before = gate.forwarded();
    let (headers, body) = if method == "PUT" { (INDEX_TYPE, EMPTY_INDEX) } else { ("", "") };
    let reply = gate.send(method, target, Some(caller), headers, body).await;
    let entries = gate.ledger.entries().split_off(before);
    let forwarded = entries.iter().map(|entry| format!("{} {}", entry.method, entry.target));
    (reply, forwarded.collect())
}

/// Some registries take tags that differ only in case for one.
#[tokio::test]
async fn an_immutable_tag_is_so_in_any_case_of_letters() {
    let gate = TestGate::start(setup(&[])).await;
    let target = "/v2/releases/a/manifests/V1";
    assert_eq!(send(&gate, BOB, "DELETE", target).await.0.status, 403);
    let (reply, forwarded) = send(&gate, BOB, "PUT", target).await;
    assert_eq!((reply.status, &*forwarded[0]), (201, "HEAD /v2/releases/a/manifests/V1"));
    assert_eq!(send(&gate, BOB, "PUT", target).await.0.status, 403);
}

#[tokio::test]
async fn an_immutable_tag_is_made_once_and_neither_moved_nor_deleted() {
    let gate = TestGate::start(setup(&[])).await;
    let digest = digest_of(EMPTY_INDEX.as_bytes());
    let path = |reference: &str| format!("/v2/releases/a/manifests/{reference}");
    let signature = path(&format!("{}.sig", digest.replace(':', "-")));
    let several = path(&format!("{digest}?tag=latest&tag=v2&tag=v3"));
    let one_exists = path(&format!("{digest}?tag=v4&tag=v2"));
    let blob = format!("/v2/releases/a/blobs/{digest}");
    let head = |tag: &str| format!("HEAD {}", path(tag));
    let exists = "exists and is immutable by a rule of this registry";
    for (caller, method, target, (status, says, forwarded)) in [
        (ALICE, "PUT", &*path("v1"), (201, "", vec![head("v1"), format!("PUT {}", path("v1"))])),
        // The same manifest is refused too.
        (ALICE, "PUT", &path("v1"), (403, exists, vec![head("v1")])),
        (BOB, "PUT", &path("v1"), (403, exists, vec![head("v1")])),
        (BOB, "PUT", &several, (201, "", vec![head("v2"), head("v3"), format!("PUT {several}")])),
        (BOB, "PUT", &one_exists, (403, exists, vec![head("v4"), head("v2")])),
        (BOB, "DELETE", &path("v1"), (403, "it cannot be deleted", vec![])),
        (BOB, "DELETE", &path(&digest), (403, "nothing can be deleted by digest here", vec![])),
        (BOB, "DELETE", &blob, (403, "nothing can be deleted by digest here", vec![])),
        // Tags that the rule is not for, tags of signatures, and other repositories.
        (BOB, "PUT", &path("latest"), (201, "", vec![format!("PUT {}", path("latest"))])),
        (BOB, "DELETE", &path("latest"), (202, "", vec![format!("DELETE {}", path("latest"))])),
        (BOB, "PUT", &signature, (201, "", vec![format!("PUT {signature}")])),
        (BOB, "PUT", &signature, (201, "", vec![format!("PUT {signature}")])),
        (BOB, "DELETE", &signature, (202, "", vec![format!("DELETE {signature}")])),
        (BOB, "PUT", "/v2/b/manifests/v1", (201, "", vec!["PUT /v2/b/manifests/v1".into()])),
        (BOB, "PUT", "/v2/b/manifests/v1", (201, "", vec!["PUT /v2/b/manifests/v1".into()])),
        (ALICE, "GET", &path("v1"), (200, "", vec![format!("GET {}", path("v1"))])),
    ] {
        let (reply, came) = send(&gate, caller, method, target).await;
        let context = format!("{} {method} {target}: {reply:?}", caller.0);
        assert_eq!((reply.status, came), (status, forwarded), "{context}");
        assert!(reply.body.contains(says), "{context}");
        if status == 403 {
            assert_eq!(reply.code(), "DENIED", "{context}");
        }
    }
    let log = gate.log(16).await;
    let refused = log.iter().filter(|line| line["reason"] == "tag_immutable").count();
    assert_eq!(refused, 6);
    let audited = std::fs::read_to_string(gate.file("audit.log")).unwrap();
    assert_eq!(audited.lines().filter(|line| line.contains("tag_immutable")).count(), 6);
}

/// A 403 and not a 401, because another token would not help.
#[tokio::test]
async fn a_gate_token_gets_the_same_refusal() {
    let gate = TestGate::start(setup(&[])).await;
    let (made, _) = send(&gate, BOB, "PUT", V1).await;
    assert_eq!(made.status, 201);
    let reply = gate.get("/token?scope=repository:releases/a:pull,push,delete", Some(BOB)).await;
    let token: Value = serde_json::from_str(&reply.body).unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap());
    for (method, headers, body) in
        [("PUT", format!("{bearer}{INDEX_TYPE}"), EMPTY_INDEX), ("DELETE", bearer.clone(), "")]
    {
        let reply = gate.send(method, V1, None, &headers, body).await;
        assert_eq!((reply.status, reply.code()), (403, "DENIED".to_owned()), "{method} {reply:?}");
    }
}

#[tokio::test]
async fn shadow_mode_logs_and_forwards() {
    let gate = TestGate::start(setup(&["mode: shadow"])).await;
    let digest = digest_of(EMPTY_INDEX.as_bytes());
    let sent = [
        ("PUT", V1.to_owned(), 201, "allowed"),
        ("PUT", V1.to_owned(), 201, "shadow_denied"),
        ("DELETE", V1.to_owned(), 202, "shadow_denied"),
        ("DELETE", format!("/v2/releases/a/manifests/{digest}"), 202, "shadow_denied"),
        ("PUT", "/v2/releases/a/manifests/x".to_owned(), 201, "allowed"),
    ];
    for (number, (method, target, status, reason)) in sent.into_iter().enumerate() {
        let (reply, came) = send(&gate, BOB, method, &target).await;
        assert_eq!(reply.status, status, "{method} {target} {reply:?}");
        assert_eq!(came.last().unwrap(), &format!("{method} {target}"));
        let line = gate.log(number + 1).await.pop().unwrap();
        assert_eq!(line["reason"], json!(reason), "{method} {target} {line}");
    }
    let audited = std::fs::read_to_string(gate.file("audit.log")).unwrap();
    assert_eq!(audited.lines().filter(|line| line.contains("shadow_denied")).count(), 3);
    let metrics = gate.running.metrics();
    assert!(metrics.contains("moorgate_shadow_denied_total 3\n"), "{metrics}");
}

/// If the gate cannot tell whether the tag exists, it does not write. In shadow mode no rule stops
/// the write.
#[tokio::test]
async fn a_look_up_that_fails_is_502_and_no_write_except_in_shadow_mode() {
    for shadow in [false, true] {
        let more: &[&str] = if shadow { &["mode: shadow"] } else { &[] };
        let (mut upstream, gate) = ScriptedUpstream::behind(setup(more)).await;
        for answer in [
            "500 Oops",
            "401 Unauthorized",
            "403 Forbidden",
            "304 Not Modified",
            "404 Not Found\r\nTransfer-Encoding: gzip",
            "",
        ] {
            let before = upstream.requests();
            let message = request("PUT", V1, Some(BOB), INDEX_TYPE, EMPTY_INDEX);
            let script = async {
                let (mut connection, head) = upstream.accept_request().await;
                assert_eq!(head.line(), ("HEAD", V1));
                if !answer.is_empty() {
                    let head = "Connection: close\r\nContent-Length: 0\r\n\r\n";
                    connection.write(format!("HTTP/1.1 {answer}\r\n{head}")).await;
                }
                drop(connection);
                if shadow {
                    let (mut connection, head) = upstream.accept_request().await;
                    assert_eq!(head.line(), ("PUT", V1));
                    let created = "HTTP/1.1 201 Created\r\nConnection: close\r\n";
                    connection.bytes(EMPTY_INDEX.len()).await;
                    connection.write(format!("{created}Content-Length: 0\r\n\r\n")).await;
                }
            };
            let (reply, ()) = soon(async { tokio::join!(gate.raw(message), script) }).await;
            let reply = Reply::parse(&reply);
            assert_eq!(reply.status, if shadow { 201 } else { 502 }, "{answer}: {reply:?}");
            assert_eq!(upstream.requests() - before, 1 + usize::from(shadow), "{answer}");
        }
    }
}
