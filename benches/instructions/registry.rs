//! A registry with one manifest. It runs on threads of its own, so that its instructions are not
//! counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The size of the manifest, in bytes. It ends with [`BODY_END`], which occurs nowhere else in an
/// answer.
pub const BODY_BYTES: usize = 1024;
pub const BODY_END: &[u8] = b"end of it";

pub struct Registry {
    address: SocketAddr,
    answered: Arc<AtomicU64>,
}

impl Registry {
    /// Starts a registry that serves until the process ends.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let registry = Self { address: listener.local_addr().unwrap(), answered: Arc::default() };
        let answered = registry.answered.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let answered = answered.clone();
                std::thread::spawn(move || serve(socket.unwrap(), &answered));
            }
        });
        registry
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of requests so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }
}

/// Serves a connection. Writes each answer in one piece, so that the gate reads it in one piece.
fn serve(mut socket: TcpStream, answered: &AtomicU64) {
    socket.set_nodelay(true).unwrap();
    let answer = answer();
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = socket.read(&mut buffer) {
        received.extend_from_slice(&buffer[..count]);
        if received.ends_with(b"\r\n\r\n") {
            received.clear();
            answered.fetch_add(1, Ordering::SeqCst);
            if socket.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

fn answer() -> Vec<u8> {
    let digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\n\
         Content-Length: {BODY_BYTES}\r\n\
         Content-Type: application/vnd.oci.image.manifest.v1+json\r\n\
         Docker-Content-Digest: {digest}\r\n\
         Docker-Distribution-Api-Version: registry/2.0\r\n\
         Etag: \"{digest}\"\r\n\
         Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + BODY_BYTES - BODY_END.len(), b'.');
    answer.extend_from_slice(BODY_END);
    answer
}
