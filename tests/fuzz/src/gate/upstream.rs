//! A registry that keeps every byte it receives and answers each message, so that the next one can
//! follow.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::message::{self, Message};

/// The headers that a request to the registry may have (`src/upstream/headers.rs`), with those that
/// frame it.
const MAY_STAND: [&str; 28] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
    "content-type",
    "docker-content-digest",
    "docker-distribution-api-version",
    "docker-upload-uuid",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "oci-subject",
    "pragma",
    "range",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Panics if a message has a header that the registry must not get, or lacks or repeats one that
/// the gate must set.
pub fn assert_hygiene(message: &Message) {
    for (name, value) in &message.headers {
        assert!(MAY_STAND.contains(&&**name) || name == "x-request-id", "{name} in {message:?}");
        assert!(value.is_ascii(), "{name} in {message:?}");
    }
    for (name, value) in [("x-forwarded-host", "registry.test"), ("x-forwarded-proto", "http")] {
        assert_eq!(message.value(name), Ok(Some(value.as_bytes())), "{name} of {message:?}");
    }
    for name in ["host", "x-forwarded-for", "x-request-id"] {
        assert!(matches!(message.value(name), Ok(Some(_))), "{name} of {message:?}");
    }
}

/// A listener that outlives the runs.
pub struct Upstream(std::net::TcpListener);

/// The bytes that reached the registry in one run.
pub struct Ledger {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    connections: mpsc::UnboundedReceiver<(SocketAddr, JoinHandle<Vec<u8>>)>,
}

impl Upstream {
    pub fn bind() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        listener.set_nonblocking(true).expect("a socket");
        Self(listener)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    /// Starts to serve. Must be called within a `LocalSet`.
    pub fn start(&self) -> Ledger {
        let listener =
            TcpListener::from_std(self.0.try_clone().expect("a socket")).expect("a listener");
        let (found, connections) = mpsc::unbounded_channel();
        let accepting = tokio::task::spawn_local(async move {
            while let Ok((socket, peer)) = listener.accept().await {
                let _ = found.send((peer, tokio::task::spawn_local(serve(socket))));
            }
        });
        Ledger { address: self.address(), accepting, connections }
    }
}

impl Ledger {
    /// Returns the bytes that arrived on each connection, once all of them are closed. The gate has
    /// closed its connection to the client by now.
    pub async fn finish(mut self) -> Vec<Vec<u8>> {
        // Connections are accepted in order, so all of the gate's are known once this one is
        // accepted.
        let last = TcpStream::connect(self.address).await.expect("a connection");
        let last_address = last.local_addr().expect("an address");
        drop(last);
        let mut received = Vec::new();
        while let Some((peer, serving)) = self.connections.recv().await {
            if peer == last_address {
                break;
            }
            received.push(serving.await.expect("no panic"));
        }
        self.accepting.abort();
        received
    }
}

/// Answers every complete message until the connection ends. Returns the bytes received.
async fn serve(mut socket: TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    let mut answered = 0;
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = socket.read(&mut buffer).await {
        received.extend_from_slice(&buffer[..count]);
        let messages = message::read(&received).messages;
        for message in messages.iter().filter(|message| message.complete).skip(answered) {
            answered += 1;
            if socket.write_all(answer(message).as_bytes()).await.is_err() {
                break;
            }
        }
    }
    received
}

fn answer(message: &Message) -> String {
    let (status, body) = match &*message.method {
        "GET" if message.target.contains("/_catalog") => {
            ("200 OK", r#"{"repositories":["public/a","team/a"]}"#)
        }
        "GET" => ("200 OK", "{}"),
        "HEAD" => ("200 OK", ""),
        "POST" | "PATCH" => ("202 Accepted", ""),
        _ => ("201 Created", ""),
    };
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
