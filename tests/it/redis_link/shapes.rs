//! Every arrangement of servers can be used.

use std::sync::Arc;
use std::time::Duration;

use moorgate::redis_link::{RedisAddress, RedisSettings, RedisShape, RedisTls, check};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::{Instant, sleep};

use super::{Linked, TIMEOUT, at, settings};
use crate::redis_servers::{RedisServer, wait_until};

fn trusting(server: &RedisServer) -> Option<RedisTls> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.ca().as_bytes()).unwrap()).unwrap();
    Some(RedisTls { roots: Some(Arc::new(roots)) })
}

#[tokio::test]
async fn scripts_run_and_are_sent_again_after_they_were_forgotten() {
    let server = RedisServer::start(&[]);
    let linked = Linked::up(settings(RedisShape::Single(at(&server)))).await;
    assert_eq!(linked.count("a").await, Ok(1));
    assert_eq!(server.ask(&["SCRIPT", "FLUSH"]), "OK");
    assert_eq!(linked.count("a").await, Ok(2));
    assert_eq!(server.ask(&["GET", "moorgate:a"]), "2");
}

#[tokio::test]
async fn the_database_of_the_url_is_used_behind_a_socket_too() {
    let server = RedisServer::start(&[]);
    let shape = RedisShape::Single(RedisAddress::Socket(server.socket()));
    let linked = Linked::up(RedisSettings { database: 3, ..settings(shape.clone()) }).await;
    assert_eq!(linked.count("a").await, Ok(1));
    assert!(server.ask(&["INFO", "keyspace"]).contains("db3:keys="));
    assert!(!server.ask(&["INFO", "keyspace"]).contains("db0:"));
    let fault = check(RedisSettings { database: 99, ..settings(shape) }).await.unwrap_err();
    assert_eq!(fault.key, "url");
    assert!(fault.to_string().contains("no database of this number"), "{fault}");
}

#[tokio::test]
async fn tls_checks_the_certificate_and_its_name() {
    let (server, other) = (RedisServer::tls(), RedisServer::tls());
    let named = |host: &str, tls| {
        let host = RedisAddress::Host { host: host.into(), port: server.port };
        RedisSettings { tls, ..settings(RedisShape::Single(host)) }
    };
    let linked = Linked::up(named("localhost", trusting(&server))).await;
    assert_eq!(linked.count("a").await, Ok(1));
    for (settings, key) in [
        (named("localhost", trusting(&other)), "ca"),
        (named("127.0.0.1", trusting(&server)), "url"),
        (named("localhost", None), "url"),
    ] {
        let fault = check(settings).await.unwrap_err();
        assert_eq!(fault.key, key, "{fault}");
        assert!(!fault.to_string().contains("http"), "{fault}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_named_and_a_new_one_is_used_at_once() {
    let server = RedisServer::start(&[]);
    let right = settings(RedisShape::Single(at(&server)));
    let wrong = RedisSettings { password: Some("hunter2".into()), ..right.clone() };
    let fault = check(wrong.clone()).await.unwrap_err();
    assert_eq!(fault.key, "password_file", "{fault}");
    assert!(!fault.to_string().contains("hunter2"), "{fault}");
    let linked = Linked::start(wrong.clone());
    assert_eq!(linked.count("a").await.ok(), None);
    linked.link.replace_settings(right.clone());
    linked.waits_for(true).await;
    assert_eq!(linked.count("a").await, Ok(1));
    linked.link.replace_settings(wrong);
    linked.waits_for(false).await;

    let other_keys = RedisSettings { prefix: "other".into(), ..right };
    assert_eq!(check(other_keys).await.unwrap_err().key, "username");
}

/// A user who may run most commands is told so before the gate needs the others.
#[tokio::test]
async fn every_command_must_be_allowed() {
    let server = RedisServer::start(&[]);
    let settings = settings(RedisShape::Single(at(&server)));
    for command in ["type", "zremrangebyrank", "xadd", "hmget", "pttl"] {
        let user = |sign: &str| {
            let rule = format!("{sign}{command}");
            assert_eq!(server.ask(&["ACL", "SETUSER", "gate", &rule]), "OK");
        };
        user("-");
        assert_eq!(check(settings.clone()).await.unwrap_err().key, "username", "{command}");
        user("+");
        assert!(check(settings.clone()).await.is_ok(), "{command}");
    }
}

#[tokio::test]
async fn reading_streams_delays_no_other_question() {
    let server = RedisServer::start(&[]);
    let linked = Linked::up(settings(RedisShape::Single(at(&server)))).await;
    let after = [("moorgate:s".to_owned(), "0".to_owned())];
    let reads = linked.link.clone();
    let long = Duration::from_secs(30);
    let reading = tokio::spawn(async move { reads.read_streams(&after, 10, long).await });
    let blocked = || server.ask(&["INFO", "clients"]).contains("blocked_clients:1");
    while !blocked() {
        sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..100 {
        linked.count("a").await.unwrap();
    }
    server.ask(&["XADD", "moorgate:s", "7-0", "name", "value"]);
    let entries = reading.await.unwrap().unwrap();
    assert_eq!((&*entries[0].stream, &*entries[0].id), ("moorgate:s", "7-0"));
    assert_eq!(entries[0].fields, [(b"name".to_vec(), b"value".to_vec())]);

    let begun = Instant::now();
    let after = [("moorgate:s".to_owned(), "7-0".to_owned())];
    let block = Duration::from_millis(50);
    assert_eq!(linked.link.read_streams(&after, 10, block).await, Ok(vec![]));
    assert!(begun.elapsed() >= block);
    assert!(linked.link.is_up());
}

/// Redis ends a wait when it wakes next, which an idle server does ten times a second.
#[tokio::test]
async fn an_idle_server_that_ends_a_wait_late_is_not_away() {
    let server = RedisServer::start(&[]);
    let linked = Linked::up(RedisSettings {
        timeout: Duration::from_millis(10),
        ..settings(RedisShape::Single(at(&server)))
    })
    .await;
    let after = [("moorgate:s".to_owned(), "0".to_owned())];
    for block in [310, 330, 350] {
        let block = Duration::from_millis(block);
        assert_eq!(linked.link.read_streams(&after, 10, block).await, Ok(vec![]), "{block:?}");
    }
}

#[tokio::test]
async fn a_sentinel_leads_to_the_new_master() {
    let mut master = RedisServer::start(&[]);
    let replica = RedisServer::replica_of(&master);
    let sentinel = RedisServer::sentinel_of(&master);
    let shape = |name: &str| RedisShape::Sentinel {
        // The first one does not answer.
        sentinels: vec![RedisAddress::Host { host: "127.0.0.1".into(), port: 1 }, at(&sentinel)],
        master: name.into(),
    };
    let linked = Linked::up(settings(shape("main"))).await;
    assert_eq!(linked.count("a").await, Ok(1));
    wait_until("the replica has the key", || replica.ask(&["EXISTS", "moorgate:a"]) == "1");
    let only = RedisShape::Sentinel { sentinels: vec![at(&sentinel)], master: "other".into() };
    let fault = check(settings(only)).await.unwrap_err();
    assert_eq!(fault.key, "sentinel", "{fault}");
    master.kill();
    linked.waits_for(false).await;
    linked.waits_for(true).await;
    assert_eq!(linked.count("a").await, Ok(2));
    assert_eq!(replica.ask(&["GET", "moorgate:a"]), "2");
}

#[tokio::test]
async fn every_node_of_a_cluster_is_used_and_moved_slots_are_followed() {
    let nodes = RedisServer::cluster();
    let linked = Linked::up(settings(RedisShape::Cluster(vec![at(&nodes[0])]))).await;
    for key in 0..50 {
        assert_eq!(linked.count(&format!("{{{key}}}")).await, Ok(1), "{key}");
    }
    for node in &nodes {
        assert_ne!(node.ask(&["DBSIZE"]), "0");
    }
    // A slot without keys moves to another node.
    let slot = nodes[0].ask(&["CLUSTER", "KEYSLOT", "moorgate:{empty}"]);
    let has_slot = |node: &RedisServer| node.ask(&["EXISTS", "moorgate:{empty}"]) == "0";
    let owner = nodes.iter().position(has_slot).unwrap();
    let target = (owner + 1) % 3;
    let id = nodes[target].ask(&["CLUSTER", "MYID"]);
    for node in [target, owner] {
        let set = nodes[node].ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        assert_eq!(set, "OK");
    }
    assert_eq!(linked.count("{empty}").await, Ok(1));
    assert_eq!(nodes[target].ask(&["GET", "moorgate:{empty}"]), "1");
    let after = [("moorgate:s{empty}".to_owned(), "0".to_owned())];
    nodes[target].ask(&["XADD", "moorgate:s{empty}", "7-0", "name", "value"]);
    let entries = linked.link.read_streams(&after, 10, TIMEOUT).await.unwrap();
    assert_eq!(entries.len(), 1);

    let fault = check(settings(RedisShape::Single(at(&nodes[0])))).await.err();
    if let Some(fault) = fault {
        assert!(fault.to_string().contains("a list"), "{fault}");
    }
    let single = RedisServer::start(&[]);
    let fault = check(settings(RedisShape::Cluster(vec![at(&single)]))).await.unwrap_err();
    assert!(fault.to_string().contains("write one URL"), "{fault}");
}
