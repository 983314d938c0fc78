//! Who is at the other end of a connection, where proxies say so with a PROXY header before
//! anything else.
//!
//! It is demanded of those who are trusted: one that sends none would lend its own address to all
//! its clients. From anybody else it is refused: it would be a word for which nobody answers.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::proxy_header::{Header, HeaderError, HeaderSource, MAX_HEADER_BYTES, SIGNATURE_BYTES};
use crate::net::client_address::TrustedProxies;

/// A line about connections that are closed for their header, in this time, a worker: each may be
/// somebody's flood.
const ONE_LINE_IN: Duration = Duration::from_secs(10);

/// When a worker last said that it closed connections for their headers. A stranger's keep back no
/// line about a proxy's.
#[derive(Default)]
pub(super) struct Complaints {
    proxies: Pace,
    strangers: Pace,
}

#[derive(Default)]
struct Pace {
    said: Cell<Option<Instant>>,
    left_out: Cell<u64>,
}

/// The client's address: what the header of a trusted proxy says, else the peer's own. Of the
/// connection nothing is read but that header.
///
/// # Errors
/// Where the connection is to be closed: a trusted proxy sends no header that can be read by
/// `deadline`, or somebody else sends one.
pub(super) async fn client(
    socket: &mut TcpStream,
    peer: SocketAddr,
    trusted: &TrustedProxies,
    deadline: Instant,
    complaints: &Complaints,
) -> io::Result<SocketAddr> {
    if !trusted.trusts(peer.ip()) {
        let mut first = [0; SIGNATURE_BYTES];
        let length = timeout_at(deadline, socket.peek(&mut first)).await??;
        if first.get(..length).is_some_and(Header::begins) {
            if let Some(left_out) = complaints.strangers.line() {
                tracing::warn!(%peer, left_out, "a connection was closed: it begins with a PROXY header, and its address is not in http.trusted_proxies");
            }
            return Err(io::Error::other("a PROXY header from a peer that is not trusted"));
        }
        return Ok(peer);
    }
    let why = match timeout_at(deadline, read_header(socket)).await {
        Ok(Ok(Ok(HeaderSource::Client(client)))) => return Ok(client),
        Ok(Ok(Ok(HeaderSource::Proxy))) => return Ok(peer),
        // Balancers see so whether somebody listens.
        Ok(Err(error)) => return Err(error),
        Ok(Ok(Err(error))) => error.to_string(),
        Err(_) => "its PROXY header did not come within http.handshake_timeout".to_owned(),
    };
    if let Some(left_out) = complaints.proxies.line() {
        tracing::warn!(%peer, left_out, "a trusted proxy's connection was closed: {why}");
    }
    Err(io::Error::other(why))
}

/// Reads the header and not a byte more: what is behind it is for TLS, or for HTTP.
async fn read_header(socket: &mut TcpStream) -> io::Result<Result<HeaderSource, HeaderError>> {
    let mut buffer = vec![0; MAX_HEADER_BYTES];
    let mut taken = 0;
    loop {
        let peeked = socket.peek(buffer.get_mut(taken..).unwrap_or_default()).await?;
        if peeked == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let there = taken + peeked;
        let (end, source) = match Header::read(buffer.get(..there).unwrap_or_default()) {
            Ok(Header::Whole { source, bytes }) => (bytes, Some(source)),
            // They are all the header's own.
            Ok(Header::Partial) => (there, None),
            Err(error) => return Ok(Err(error)),
        };
        // What was peeked at is there, so this waits for nothing.
        socket.read_exact(buffer.get_mut(taken..end).unwrap_or_default()).await?;
        if let Some(source) = source {
            return Ok(Ok(source));
        }
        taken = end;
    }
}

impl Pace {
    /// Whether a line may be written now, and how many were left out since the one before it.
    fn line(&self) -> Option<u64> {
        let now = Instant::now();
        if self.said.get().is_some_and(|said| now.duration_since(said) < ONE_LINE_IN) {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        self.said.set(Some(now));
        Some(self.left_out.take())
    }
}
