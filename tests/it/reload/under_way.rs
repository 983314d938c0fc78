//! What is under way while a reload happens.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::harness::{Setup, ask_admin, read_reply};
use crate::scripted_upstream::{BLOB, OK, ScriptedUpstream, UPLOAD, open_request, soon};

/// They end with the registry that they began with; the next request on the same connection goes to the new one.
#[tokio::test]
async fn requests_end_with_what_they_began_with() {
    let (mut old, mut gate) = ScriptedUpstream::behind(Setup { workers: Some(1), ..Setup::default() }).await;
    let mut new = ScriptedUpstream::start();
    let mut upload = gate.connect().await;
    upload.write_all(open_request("PATCH", UPLOAD, "Content-Length: 10\r\n", "").as_bytes()).await.unwrap();
    upload.write_all(b"01234").await.unwrap();
    let (mut uploading, _) = old.accept_request().await;
    uploading.until(b"01234").await;
    let mut download = gate.connect().await;
    download.write_all(open_request("GET", BLOB, "", "").as_bytes()).await.unwrap();
    let (mut downloading, _) = old.accept_request().await;
    downloading.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst").await;

    gate.edit(&old.address.to_string(), &new.address.to_string());
    assert!(gate.reload().await);
    upload.write_all(b"56789").await.unwrap();
    uploading.until(b"56789").await;
    uploading.write(OK).await;
    assert_eq!(read_reply(&mut upload).await.status, 200);
    downloading.write("-last").await;
    assert_eq!(read_reply(&mut download).await.body, "first-last");

    upload.write_all(open_request("GET", BLOB, "", "").as_bytes()).await.unwrap();
    let (mut connection, _) = soon(new.accept_request()).await;
    connection.write(OK).await;
    assert_eq!(read_reply(&mut upload).await.status, 200);
    download.write_all(open_request("GET", BLOB, "", "").as_bytes()).await.unwrap();
    connection.head().await;
    connection.write(OK).await;
    assert_eq!(read_reply(&mut download).await.status, 200);
    assert_eq!(old.requests(), 2);
}

/// A pool is for a registry: where that is the same, its connections go on being used.
#[tokio::test]
async fn connections_to_the_same_registry_live_on() {
    let cache = vec!["ttl: 50s"];
    let (mut upstream, mut gate) =
        ScriptedUpstream::behind(Setup { workers: Some(1), cache, ..Setup::default() }).await;
    let mut client = gate.connect().await;
    client.write_all(open_request("GET", BLOB, "", "").as_bytes()).await.unwrap();
    let (mut connection, _) = upstream.accept_request().await;
    connection.write(OK).await;
    assert_eq!(read_reply(&mut client).await.status, 200);
    gate.edit("ttl: 50s", "ttl: 51s");
    assert!(gate.reload().await);
    client.write_all(open_request("GET", BLOB, "", "").as_bytes()).await.unwrap();
    connection.head().await;
    connection.write(OK).await;
    assert_eq!(read_reply(&mut client).await.status, 200);
    assert_eq!(upstream.accepted(), 1);
}

/// Balancers that look at `/readyz` send nobody to where nobody is served.
#[tokio::test]
async fn a_drain_begins_after_its_delay() {
    let http = vec!["drain_delay: 300ms"];
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup { http, ..Setup::default() }).await;
    let (admin, address) = (gate.admin, gate.address);
    let begun = std::time::Instant::now();
    let draining = tokio::spawn(gate.running.drain());
    soon(async { while ask_admin(admin, "/readyz").await.status != 503 {} }).await;
    if begun.elapsed() < Duration::from_millis(200) {
        let mut late = tokio::net::TcpStream::connect(address).await.unwrap();
        late.write_all(open_request("GET", BLOB, "", "").as_bytes()).await.unwrap();
        let (mut connection, _) = soon(upstream.accept_request()).await;
        connection.write(OK).await;
        assert_eq!(read_reply(&mut late).await.status, 200);
    }
    assert_eq!(soon(draining).await.unwrap(), 0);
    assert!(begun.elapsed() >= Duration::from_millis(300));
}
