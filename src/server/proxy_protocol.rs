//! The client's address of a connection on which a proxy sends a PROXY header before anything else.
//!
//! A trusted proxy must send the header: without it, all its clients would appear under the proxy's
//! address. Any other peer must not send one, because its claim could not be trusted.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::proxy_header::{Header, HeaderError, HeaderSource, MAX_HEADER_BYTES, SIGNATURE_BYTES};
use crate::log_throttle::LogThrottle;
use crate::net::client_address::TrustedProxies;

/// The subject of a log line about a connection that was closed for its header. Lines about other
/// peers do not suppress lines about trusted proxies.
#[derive(Hash)]
enum Complaint {
    TrustedProxy,
    OtherPeer,
}

/// Returns the client's address: the one in the header of a trusted proxy, otherwise the peer's
/// own. Only the header is read from the connection.
///
/// # Errors
/// [`io::Error`] if the connection must be closed: a trusted proxy sends no valid header by
/// `deadline`, or another peer sends a header or nothing at all by then.
pub(super) async fn client(
    socket: &mut TcpStream,
    peer: SocketAddr,
    trusted: &TrustedProxies,
    deadline: Instant,
    log_throttle: &LogThrottle,
) -> io::Result<SocketAddr> {
    if !trusted.trusts(peer.ip()) {
        let mut first = [0; SIGNATURE_BYTES];
        let length = timeout_at(deadline, socket.peek(&mut first)).await??;
        if first.get(..length).is_some_and(Header::begins) {
            if let Some(left_out) = line_about(Complaint::OtherPeer, log_throttle) {
                tracing::warn!(
                    %peer,
                    left_out,
                    "a connection was closed: it begins with a PROXY header, and its address is \
                     not in http.trusted_proxies"
                );
            }
            return Err(io::Error::other("a PROXY header from a peer that is not trusted"));
        }
        return Ok(peer);
    }
    let why = match timeout_at(deadline, read_header(socket)).await {
        Ok(Ok(Ok(HeaderSource::Client(client)))) => return Ok(client),
        Ok(Ok(Ok(HeaderSource::Proxy))) => return Ok(peer),
        // Not logged: load balancers open such connections to check whether the gate listens.
        Ok(Err(error)) => return Err(error),
        Ok(Ok(Err(error))) => error.to_string(),
        Err(_) => "its PROXY header did not come within http.handshake_timeout".to_owned(),
    };
    if let Some(left_out) = line_about(Complaint::TrustedProxy, log_throttle) {
        tracing::warn!(%peer, left_out, "a trusted proxy's connection was closed: {why}");
    }
    Err(io::Error::other(why))
}

/// Reads the header and not a byte more. The bytes after it belong to TLS or HTTP.
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
            // All bytes so far belong to the header.
            Ok(Header::Partial) => (there, None),
            Err(error) => return Ok(Err(error)),
        };
        // The bytes were peeked at before, so this read does not wait.
        socket.read_exact(buffer.get_mut(taken..end).unwrap_or_default()).await?;
        if let Some(source) = source {
            return Ok(Ok(source));
        }
        taken = end;
    }
}

/// Returns the number of lines left out since the last one if a line may be logged now.
fn line_about(complaint: Complaint, log_throttle: &LogThrottle) -> Option<u64> {
    log_throttle.line(&complaint, Instant::now().into_std()).map(|left_out| left_out.same)
}
