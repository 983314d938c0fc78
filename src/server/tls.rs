//! TLS towards clients.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::key_schedule;
use super::linger::{LINGER_TIME, linger};
use crate::net::monitored_io::{IoStatus, MonitoredIo};
use crate::net::read_ahead::ReadAhead;
use crate::request_id::RequestId;

/// Returns the response to a client that speaks HTTP on a TLS port. Without it the client would
/// report a malformed response, which does not show the cause.
fn speak_https() -> String {
    const BODY: &str = "{\"errors\":[{\"code\":\"UNSUPPORTED\",\"message\":\"this port speaks \
                        HTTPS: use https:// in the address; with docker, run docker login \
                        first\"}]}";
    let (length, request_id) = (BODY.len(), RequestId::random());
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\
        Docker-Distribution-Api-Version: registry/2.0\r\nX-Request-Id: {request_id}\r\n\
        Content-Length: {length}\r\nConnection: close\r\n\r\n{BODY}"
    )
}

/// Creates the TLS settings: TLS 1.3, and 1.2 unless `tls13_only`, with hybrid post-quantum key
/// exchange preferred and resumption by tickets. HTTP/2 is offered if `http2` is set. Early data is
/// off.
///
/// # Errors
/// [`rustls::Error`] if the system has no randomness for the ticket key.
pub fn server_tls(
    certified_key: &Arc<CertifiedKey>,
    tls13_only: bool,
    http2: bool,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let versions: &[_] = if tls13_only { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let mut config = ServerConfig::builder_with_provider(key_schedule::provider())
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::clone(certified_key))));
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    config.alpn_protocols =
        if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(Arc::new(config))
}

/// Performs the TLS handshake with a client.
///
/// # Errors
/// [`io::Error`] if the client does not speak TLS, or both sides have no parameters in common.
pub(super) async fn handshake(
    config: &Arc<ServerConfig>,
    socket: TcpStream,
    io_status: &Rc<IoStatus>,
) -> io::Result<TlsStream<MonitoredIo<ReadAhead<TcpStream>>>> {
    // An HTTP method begins with a letter, a TLS record with 22 (RFC 8446, 5.1).
    let mut socket = ReadAhead::new(socket);
    if socket.first_byte().await?.is_some_and(|first| first.is_ascii_uppercase()) {
        socket.write_all(speak_https().as_bytes()).await?;
        socket.shutdown().await?;
        linger(socket, LINGER_TIME).await;
        return Err(io::Error::other("the client speaks plain HTTP"));
    }
    TlsAcceptor::from(config.clone()).accept(MonitoredIo::tcp(socket, io_status.clone())).await
}
