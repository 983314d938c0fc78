//! `max_connections`: a connection above the limit waits, and is served when another one ends.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Reply, Setup, TestGate, connect_tls, exchange, read_reply};
use crate::scripted_upstream::{open_request, soon};

#[tokio::test]
async fn a_connection_above_max_connections_waits() {
    for workers in [1, 2] {
        let setup =
            Setup { http: vec!["max_connections: 3"], workers: Some(workers), ..Setup::default() };
        let gate = TestGate::start(setup).await;
        let ping = open_request("GET", "/v2/", "", "");
        let mut served = Vec::new();
        for _ in 0..3 {
            let mut stream = gate.connect().await;
            assert_eq!(exchange(&mut stream, &ping).await.status, 200);
            served.push(stream);
        }
        let mut waiting = gate.connect().await;
        waiting.write_all(ping.as_bytes()).await.unwrap();
        let early =
            tokio::time::timeout(Duration::from_millis(300), waiting.read(&mut [0; 1])).await;
        assert!(early.is_err(), "it was served, or refused: {early:?}");
        // The accepted connections and the admin listener are still served.
        assert_eq!(exchange(&mut served[0], &ping).await.status, 200);
        let metrics = gate.admin("/metrics").await;
        assert!(metrics.body.contains("moorgate_connections 3\n"), "{}", metrics.body);

        served.pop();
        assert_eq!(soon(read_reply(&mut waiting)).await.status, 200);
        drop((served, waiting));
        no_connections(&gate).await;
    }
}

/// Silent clients lose their places at their deadline, for any number of clients that wait behind
/// them. An honest client among those is served.
#[tokio::test]
async fn silent_clients_lose_their_places_at_their_deadline() {
    let http = || {
        vec![
            "max_connections: 4",
            "handshake_timeout: 2s",
            "header_timeout: 2s",
            "idle_timeout: 1m",
        ]
    };
    for tls in [false, true] {
        let gate =
            TestGate::start(Setup { http: http(), tls, workers: Some(1), ..Setup::default() })
                .await;
        let begun = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.push(gate.connect().await);
        }
        let honest = gate.connect().await;
        for _ in 0..20 {
            silent.push(gate.connect().await);
        }
        let ping = open_request("GET", "/v2/", "", "");
        let reply = if tls {
            exchange(&mut soon(connect_tls(honest, &gate.certificate, &[])).await, &ping).await
        } else {
            let mut honest = honest;
            exchange(&mut honest, &ping).await
        };
        assert_eq!(reply.status, 200);
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(1), "there was a place too many: {took:?}");
    }
}

/// The gauge counts down for every way in which a connection ends.
#[tokio::test]
async fn the_connection_gauge_falls_for_every_way_to_end() {
    let gate = TestGate::start(Setup {
        http: vec!["header_timeout: 100ms", "idle_timeout: 100ms"],
        ..Setup::default()
    })
    .await;
    for bytes in
        ["", "GET /v2/ HTTP/1.1\r\nHost", "nonsense\r\n\r\n", &open_request("GET", "/v2/", "", "")]
    {
        drop(gate.raw(bytes).await);
        let left = gate.connect().await;
        drop(left);
    }
    no_connections(&gate).await;

    let gate = TestGate::start(Setup {
        tls: true,
        http: vec!["handshake_timeout: 100ms"],
        ..Setup::default()
    })
    .await;
    gate.raw("").await;
    gate.raw("GET / HTTP/1.1\r\n\r\n").await;
    drop(gate.connect_tls(&[b"h2"]).await);
    let sender = gate.http2().await;
    assert_eq!(crate::http2_client::ask(&sender, "GET", "/v2/").await.status(), 200);
    drop(sender);
    no_connections(&gate).await;
}

/// Waits until the gauge is zero. It may fall a little after the client sees the end of its
/// connection.
async fn no_connections(gate: &TestGate) {
    soon(async {
        loop {
            let reply: Reply = gate.admin("/metrics").await;
            if reply.body.contains("moorgate_connections 0\n") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
