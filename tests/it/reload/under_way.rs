//! Requests that are under way during a reload.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Setup, ask_admin, read_reply};
use crate::scripted_upstream::{
    BLOB, OK, ScriptedUpstream, UPLOAD, UpstreamConnection, open_request, soon,
};

async fn ask(client: &mut TcpStream) {
    client.write_all(open_request("GET", BLOB, "", "").as_bytes()).await.unwrap();
}

async fn answer(connection: &mut UpstreamConnection, client: &mut TcpStream) {
    connection.write(OK).await;
    assert_eq!(read_reply(client).await.status, 200);
}

/// Sends a request, which must reach this registry on a new connection.
async fn serve_on_new_connection(
    client: &mut TcpStream,
    upstream: &mut ScriptedUpstream,
) -> UpstreamConnection {
    ask(client).await;
    let (mut connection, _) = upstream.accept_request().await;
    answer(&mut connection, client).await;
    connection
}

/// Sends a request, which must reach the registry on this connection.
async fn serve_on_connection(client: &mut TcpStream, connection: &mut UpstreamConnection) {
    ask(client).await;
    connection.head().await;
    answer(connection, client).await;
}

/// A request ends with the registry that it began with. The next request on the same connection
/// goes to the new registry.
#[tokio::test]
async fn a_request_ends_with_the_registry_that_it_began_with() {
    let (mut old, mut gate) =
        ScriptedUpstream::behind(Setup { workers: Some(1), ..Setup::default() }).await;
    let mut new = ScriptedUpstream::start();
    let mut upload = gate.connect().await;
    upload
        .write_all(open_request("PATCH", UPLOAD, "Content-Length: 10\r\n", "").as_bytes())
        .await
        .unwrap();
    upload.write_all(b"01234").await.unwrap();
    let (mut uploading, _) = old.accept_request().await;
    uploading.until(b"01234").await;
    let mut download = gate.connect().await;
    ask(&mut download).await;
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

    let mut connection = serve_on_new_connection(&mut upload, &mut new).await;
    serve_on_connection(&mut download, &mut connection).await;
    assert_eq!(old.requests(), 2);
}

/// A connection pool belongs to a registry. If a reload keeps the registry, its pooled connections
/// stay in use.
#[tokio::test]
async fn a_reload_keeps_pooled_connections_to_an_unchanged_registry() {
    let cache = vec!["ttl: 50s"];
    let (mut upstream, mut gate) =
        ScriptedUpstream::behind(Setup { workers: Some(1), cache, ..Setup::default() }).await;
    let mut client = gate.connect().await;
    let mut connection = serve_on_new_connection(&mut client, &mut upstream).await;
    gate.edit("ttl: 50s", "ttl: 51s");
    assert!(gate.reload().await);
    serve_on_connection(&mut client, &mut connection).await;
    assert_eq!(upstream.accepted(), 1);
}

/// During the delay, `/readyz` fails while connections are still accepted, so a load balancer stops
/// sending clients before the gate stops serving them.
#[tokio::test]
async fn a_drain_begins_after_its_delay() {
    let http = vec!["drain_delay: 300ms"];
    let (mut upstream, gate) = ScriptedUpstream::behind(Setup { http, ..Setup::default() }).await;
    let (admin, address) = (gate.admin, gate.address);
    let begun = std::time::Instant::now();
    let draining = tokio::spawn(gate.running.drain());
    soon(async { while ask_admin(admin, "/readyz").await.status != 503 {} }).await;
    if begun.elapsed() < Duration::from_millis(200) {
        let mut late = TcpStream::connect(address).await.unwrap();
        serve_on_new_connection(&mut late, &mut upstream).await;
    }
    assert_eq!(soon(draining).await.unwrap(), 0);
    assert!(begun.elapsed() >= Duration::from_millis(300));
}
