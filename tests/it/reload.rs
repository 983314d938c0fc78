//! Reloads: the parts that are replaced, the parts that stay, and that no part is replaced halfway.

mod files;
mod logs;
mod providers;
mod rules;
mod under_way;

use std::sync::{Arc, Weak};
use std::time::Duration;

use moorgate::config;
use moorgate::demo::self_signed;
use moorgate::run::Change;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use crate::harness::{Setup, TestGate, exchange, read_reply, request};
use crate::scripted_upstream::{open_request, soon};

/// A provider with an htpasswd file in which alice is a user.
const HTPASSWD: &str = "- { name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }";
const ALICE: (&str, &str) = ("alice", "secret");

async fn with_htpasswd(setup: Setup) -> TestGate {
    TestGate::start(Setup { identity: Some(HTPASSWD), htpasswd_users: vec![ALICE], ..setup }).await
}

/// Returns a request on a connection that stays open.
fn kept_alive(target: &str, credential: (&str, &str)) -> String {
    request("GET", target, Some(credential), "", "").replace("Connection: close\r\n", "")
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections() {
    let mut gate = with_htpasswd(Setup { tls: true, ..Setup::default() }).await;
    let mut old = gate.connect_tls(&[b"http/1.1"]).await;
    assert_eq!(exchange(&mut old, kept_alive("/v2/", ALICE)).await.status, 200);
    let (certificate, key) = self_signed().unwrap();
    // A certificate without its key does not load.
    gate.write("tls.crt", &certificate);
    assert!(!gate.reload().await);
    gate.write("tls.key", key);
    assert!(gate.reload().await);
    // The client trusts only this certificate.
    gate.certificate = certificate;
    let mut new = gate.connect_tls(&[b"http/1.1"]).await;
    assert_eq!(exchange(&mut new, kept_alive("/v2/", ALICE)).await.status, 200);
    old.write_all(kept_alive("/v2/", ALICE).as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut old).await.status, 200);
}

#[tokio::test]
async fn a_removed_user_is_refused_at_once() {
    for (tls, cached) in [(false, true), (true, true), (false, false)] {
        let mut gate = with_htpasswd(Setup { tls, ..Setup::default() }).await;
        if tls {
            let mut client = gate.http2().await;
            assert_eq!(over_http2(&mut client).await, 200);
            gate.write(
                "htpasswd",
                "bob:$2b$04$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu",
            );
            assert!(gate.reload().await);
            assert_eq!(over_http2(&mut client).await, 401);
            continue;
        }
        let mut client = gate.connect().await;
        if cached {
            assert_eq!(exchange(&mut client, kept_alive("/v2/", ALICE)).await.status, 200);
        }
        gate.write("htpasswd", "bob:$2b$04$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu");
        assert!(gate.reload().await);
        assert_eq!(exchange(&mut client, kept_alive("/v2/", ALICE)).await.status, 401);
    }
}

async fn over_http2(client: &mut h2::client::SendRequest<bytes::Bytes>) -> u16 {
    let request = http::Request::get("https://registry.test/v2/")
        .header("authorization", crate::harness::basic(ALICE))
        .body(())
        .unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    soon(answer).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn gate_tokens_survive_reloads_and_their_keys_rotate_by_reload() {
    const ONE: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n";
    const TWO: &str = "YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI=\n";
    let token = async |gate: &TestGate| {
        let reply = gate.get("/token", Some(ALICE)).await;
        let json: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        format!("Authorization: Bearer {}\r\n", json["token"].as_str().unwrap())
    };
    let status =
        async |gate: &TestGate, token: &str| gate.send("GET", "/v2/", None, token, "").await.status;

    let mut gate = with_htpasswd(Setup { cache: vec!["ttl: 50s"], ..Setup::default() }).await;
    let of_no_file = token(&gate).await;
    gate.edit("ttl: 50s", "ttl: 51s");
    assert!(gate.reload().await);
    assert_eq!(status(&gate, &of_no_file).await, 200, "the process's own key stays");

    let (tokens, files) = (vec!["key_file: keys"], vec![("keys", ONE)]);
    let mut gate = with_htpasswd(Setup { tokens, files, ..Setup::default() }).await;
    let first = token(&gate).await;
    gate.write("keys", format!("{TWO}{ONE}"));
    assert!(gate.reload().await);
    let second = token(&gate).await;
    assert_eq!((status(&gate, &first).await, status(&gate, &second).await), (200, 200));
    gate.write("keys", TWO);
    assert!(gate.reload().await);
    assert_eq!((status(&gate, &first).await, status(&gate, &second).await), (401, 200));
}

/// A cached verdict holds the identity and not the permission. Each request is judged by the
/// current rules (class 14).
#[tokio::test]
async fn cached_verdicts_are_judged_by_the_current_rules() {
    let tags = "/v2/demo/a/tags/list";
    let rule = "rules: [{ name: a, repositories: [\"**\"], who: [\"user:alice\"], allow: [pull] }]";
    let mut gate = with_htpasswd(Setup { policy: vec![rule], ..Setup::default() }).await;
    assert_eq!(gate.get(tags, Some(ALICE)).await.status, 404, "the registry's own");
    gate.edit("user:alice", "user:bob");
    assert!(gate.reload().await);
    assert_eq!(gate.get(tags, Some(ALICE)).await.status, 403);
    gate.edit("user:bob", "user:alice");
    assert!(gate.reload().await);
    assert_eq!(gate.get(tags, Some(ALICE)).await.status, 404);
    let caches: Vec<_> = gate.log(3).await.iter().map(|line| line["cache"].clone()).collect();
    assert_eq!(caches, ["miss", "hit", "hit"]);
}

#[tokio::test]
async fn idle_workers_drop_old_snapshots() {
    let mut gate = with_htpasswd(Setup { cache: vec!["ttl: 1s"], ..Setup::default() }).await;
    let mut generations = gate.running.live().snapshots();
    let mut old: Vec<Weak<_>> = Vec::new();
    for number in 2..=201 {
        old.push(Arc::downgrade(&generations.borrow_and_update()));
        gate.edit(&format!("ttl: {}s", number - 1), &format!("ttl: {number}s"));
        assert!(gate.reloader.as_mut().unwrap().check());
        assert!(generations.has_changed().unwrap());
    }
    drop(generations);
    let dropped = async {
        while old.iter().any(|generation| generation.strong_count() > 0) {
            tokio::task::yield_now().await;
        }
    };
    // The timeout is shorter than the interval at which a worker checks its idle connections, which
    // would also bring it to the newest generation.
    tokio::time::timeout(Duration::from_secs(10), dropped)
        .await
        .expect("an old generation is still there");
}

#[tokio::test]
async fn a_reload_reports_changed_keys_and_keys_that_need_a_restart() {
    let gate =
        with_htpasswd(Setup { http: vec!["idle_timeout: 9s", "workers: 9"], ..Setup::default() })
            .await;
    let live = gate.running.live();
    let apply = || live.apply(config::load(&gate.file("test.yml"), []).unwrap()).unwrap();
    let change = |keys: &[&str], need_restart: &[&str]| {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        Change { keys: owned(keys), need_restart: owned(need_restart) }
    };
    assert_eq!(apply(), change(&[], &[]));
    gate.edit("idle_timeout: 9s", "idle_timeout: 8s");
    gate.edit("workers: 9", "workers: 8");
    gate.write("htpasswd", "");
    gate.write("htpasswd", "bob:$2b$04$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu");
    assert_eq!(apply(), change(&["http.idle_timeout", "identity[0].file"], &["http.workers"]));
    assert_eq!(apply(), change(&[], &["http.workers"]), "as long as it is so");
    gate.edit("workers: 8", "workers: 9");
    assert_eq!(apply(), change(&[], &[]));
}

/// The reload loop notices changed files without a signal.
#[tokio::test]
async fn the_reload_loop_notices_changed_files_without_a_signal() {
    let mut gate = with_htpasswd(Setup::default()).await;
    let mut generations = gate.running.live().snapshots();
    generations.mark_unchanged();
    let reloader = gate.reloader.take().unwrap();
    // This signal is never sent.
    tokio::spawn(reloader.run(signal(SignalKind::user_defined2()).unwrap()));
    for _ in 0..2 {
        gate.write(
            "htpasswd",
            format!("{}#\n", std::fs::read_to_string(gate.file("htpasswd")).unwrap()),
        );
        soon(generations.changed()).await.unwrap();
    }
}

/// A lower limit closes no open connection, and a higher one serves the waiting clients.
#[tokio::test]
async fn the_number_of_connections_can_be_changed() {
    let ping = open_request("GET", "/v2/", "", "");
    let mut gate =
        TestGate::start(Setup { http: vec!["max_connections: 1"], ..Setup::default() }).await;
    let mut open = vec![gate.connect().await];
    assert_eq!(exchange(&mut open[0], &ping).await.status, 200);
    let mut waiting = gate.connect().await;
    waiting.write_all(ping.as_bytes()).await.unwrap();
    gate.edit("max_connections: 1", "max_connections: 2");
    assert!(gate.reload().await);
    assert_eq!(soon(read_reply(&mut waiting)).await.status, 200);
    open.push(waiting);

    gate.edit("max_connections: 2", "max_connections: 1");
    assert!(gate.reload().await);
    for stream in &mut open {
        assert_eq!(exchange(stream, &ping).await.status, 200);
    }
    let mut waiting = gate.connect().await;
    waiting.write_all(ping.as_bytes()).await.unwrap();
    open.pop();
    let early = tokio::time::timeout(Duration::from_millis(300), waiting.read(&mut [0; 1])).await;
    assert!(early.is_err(), "as many are open as may be");
    open.pop();
    assert_eq!(soon(read_reply(&mut waiting)).await.status, 200);
}
