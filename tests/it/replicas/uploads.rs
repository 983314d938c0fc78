//! The places of uploads of a gate that is gone.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::{PERSON, Replicas, soon};
use crate::harness::{Setup, TestGate, request};
use crate::scripted_upstream::{ScriptedUpstream, UPLOAD, UPLOADS, UpstreamConnection};

/// The longest time for which a gate that died may hold a place, in milliseconds.
const HELD_FOR: f64 = 60_000.0;

fn setup(upstream: &ScriptedUpstream) -> Setup {
    Setup {
        http: vec!["drain_timeout: 10ms"],
        limits: vec!["concurrent_uploads_per_identity: 1"],
        upstream_address: Some(upstream.address),
        ..Setup::default()
    }
}

/// Starts an upload that does not end by itself.
async fn begin(
    gate: &TestGate,
    upstream: &mut ScriptedUpstream,
) -> (TcpStream, UpstreamConnection) {
    let mut client = gate.connect().await;
    let head = request("PATCH", UPLOAD, Some(PERSON), "Content-Length: 1000\r\n", "");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(b"x").await.unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    connection.bytes(1).await;
    (client, connection)
}

/// Starts another upload of the same caller, and returns its status.
async fn next(gate: &TestGate, upstream: &mut ScriptedUpstream) -> u16 {
    let next = gate.send("POST", UPLOADS, Some(PERSON), "", "");
    let answer = async {
        let (mut connection, _) = upstream.accept_request().await;
        connection.write("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        reply = next => reply.status,
        () = answer => unreachable!(),
    }
}

/// Returns the key of the caller's uploads, and the places with their ends in milliseconds.
fn places(replicas: &Replicas) -> (String, Vec<(String, f64)>) {
    let key = replicas.redis.ask(&["KEYS", "moorgate:*:u"]);
    let places = replicas.redis.ask(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]);
    let lines: Vec<_> = places.lines().collect();
    let places = lines.chunks(2).map(|place| (place[0].to_owned(), place[1].parse().unwrap()));
    (key, places.collect())
}

/// Its runtime ends in the middle of an upload, so it tells nobody.
#[tokio::test(flavor = "multi_thread")]
async fn places_of_a_gate_that_died_become_free() {
    let mut upstream = ScriptedUpstream::start();
    let replicas = Replicas::start_as(1, || setup(&upstream)).await;
    let life = Runtime::new().unwrap();
    let dying = life.spawn(TestGate::start(replicas.with(setup(&upstream)))).await.unwrap();
    replicas.until_known(2).await;
    let upload = begin(&dying, &mut upstream).await;
    life.shutdown_background();
    drop((dying, upload));

    assert_eq!(next(&replicas.gates[0], &mut upstream).await, 429, "its place is held");
    let (key, held) = places(&replicas);
    let [(place, until)] = &held[..] else { panic!("{held:?}") };
    let time = replicas.redis.ask(&["TIME"]);
    let now = time.lines().next().unwrap().parse::<f64>().unwrap() * 1000.0;
    assert!((now..now + HELD_FOR).contains(until), "{until} at {now}");
    let kept: f64 = replicas.redis.ask(&["PTTL", &key]).parse().unwrap();
    assert!((1.0..HELD_FOR).contains(&kept), "{kept}");
    // As if the time had passed.
    let passed = (until - HELD_FOR).to_string();
    assert_eq!(replicas.redis.ask(&["ZADD", &key, "XX", "CH", &passed, place]), "1");
    assert_eq!(next(&replicas.gates[0], &mut upstream).await, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_of_a_gate_that_ends_are_free_at_once() {
    let mut upstream = ScriptedUpstream::start();
    let replicas = Replicas::start_as(2, || setup(&upstream)).await;
    let life = Runtime::new().unwrap();
    let ending = life.spawn(TestGate::start(replicas.with(setup(&upstream)))).await.unwrap();
    replicas.until_known(3).await;
    let _upload = begin(&ending, &mut upstream).await;
    assert_eq!(places(&replicas).1.len(), 1);
    let cut_off = life.spawn(ending.running.drain()).await.unwrap();
    // The process ends here, so nothing is sent later.
    life.shutdown_background();
    assert_eq!(cut_off, 1, "the upload");
    assert_eq!(replicas.redis.ask(&["KEYS", "moorgate:*:u"]), "");
    assert_eq!(next(&replicas.gates[0], &mut upstream).await, 202);
    soon("the others know that it has left", async || super::known(&replicas.gates[0]).await == 2)
        .await;
}
