//! A server that dies, hangs, is full or read-only takes the link down, and it comes back.

use moorgate::redis_link::{RedisAway, RedisShape};
use tokio::time::Instant;

use super::{Linked, TIMEOUT, at, settings};
use crate::redis_servers::RedisServer;

async fn linked() -> (RedisServer, Linked) {
    let server = RedisServer::start(&[]);
    let linked = Linked::up(settings(RedisShape::Single(at(&server)))).await;
    assert_eq!(linked.count("a").await, Ok(1));
    (server, linked)
}

/// Shows that a question takes the link down within one time-out, and that others fail at once.
async fn goes_down(linked: &Linked) {
    let begun = Instant::now();
    assert_eq!(linked.count("a").await, Err(RedisAway));
    assert!(begun.elapsed() < TIMEOUT * 2, "{:?}", begun.elapsed());
    assert!(!linked.link.is_up());
    let begun = Instant::now();
    for _ in 0..1000 {
        assert_eq!(linked.count("a").await, Err(RedisAway));
    }
    assert!(begun.elapsed() < TIMEOUT, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_killed_server_is_used_again_after_its_restart() {
    let (mut server, linked) = linked().await;
    server.kill();
    goes_down(&linked).await;
    server.restart();
    linked.waits_for(true).await;
    assert_eq!(linked.count("a").await, Ok(1));
}

#[tokio::test]
async fn a_paused_server_is_noticed_without_a_question() {
    let (server, linked) = linked().await;
    server.pause();
    goes_down(&linked).await;
    server.resume();
    linked.waits_for(true).await;
    server.pause();
    linked.waits_for(false).await;
    server.resume();
    linked.waits_for(true).await;
    assert!(linked.count("a").await.is_ok());
}

#[tokio::test]
async fn a_full_server_is_used_again_when_it_has_room() {
    let (server, linked) = linked().await;
    assert_eq!(server.ask(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    goes_down(&linked).await;
    assert_eq!(server.ask(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    linked.waits_for(true).await;
    assert_eq!(linked.count("a").await, Ok(2));
}

#[tokio::test]
async fn a_master_that_becomes_a_read_only_replica_takes_the_link_down() {
    let (server, linked) = linked().await;
    let master = RedisServer::start(&[]);
    let port = master.port.to_string();
    assert_eq!(server.ask(&["REPLICAOF", "127.0.0.1", &port]), "OK");
    linked.waits_for(false).await;
    assert_eq!(server.ask(&["REPLICAOF", "NO", "ONE"]), "OK");
    linked.waits_for(true).await;
    assert!(linked.count("b").await.is_ok());
}
