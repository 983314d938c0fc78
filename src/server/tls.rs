//! TLS towards clients.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::client_stream::ClientStream;
use super::key_schedule;
use super::linger::{LINGER_TIME, linger};
use crate::net::held_writes::HeldWrites;
use crate::net::monitored_io::{IoStatus, MonitoredIo};
use crate::net::read_ahead::ReadAhead;
use crate::request_id::RequestId;

/// The largest number of encrypted bytes of a connection that wait for its socket.
const UNSENT_BYTES: usize = 128 * 1024;

/// The socket of a client below TLS.
pub(super) type ClientSocket = HeldWrites<MonitoredIo<ReadAhead<TcpStream>>>;

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
) -> io::Result<ClientStream> {
    // An HTTP method begins with a letter, a TLS record with 22 (RFC 8446, 5.1).
    let mut socket = ReadAhead::new(socket);
    if socket.first_byte().await?.is_some_and(|first| first.is_ascii_uppercase()) {
        socket.write_all(speak_https().as_bytes()).await?;
        socket.shutdown().await?;
        linger(socket, LINGER_TIME).await;
        return Err(io::Error::other("the client speaks plain HTTP"));
    }
    let socket = HeldWrites::during_handshake(MonitoredIo::tcp(socket, io_status.clone()));
    let accepting = TlsAcceptor::from(config.clone())
        .accept_with(socket, |session| session.set_buffer_limit(Some(UNSENT_BYTES)));
    let mut stream = match accepting.into_fallible().await {
        Ok(stream) => stream,
        Err((error, mut socket)) => {
            // An alert that tells the client the reason.
            socket.release();
            let _ = socket.flush().await;
            return Err(error);
        }
    };
    let (socket, session) = stream.get_mut();
    if session.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
        socket.hold_until_write();
    } else {
        // A client of TLS 1.2 waits for the last bytes of the handshake.
        socket.release();
        socket.flush().await?;
    }
    Ok(ClientStream::new(stream))
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::sign::any_supported_type;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;

    use super::*;

    /// On the loopback interface, all that the server has sent is at the client.
    #[tokio::test]
    async fn the_ticket_is_sent_with_the_first_response() {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let key = any_supported_type(&key).unwrap();
        let certified_key = Arc::new(CertifiedKey::new(vec![cert.der().clone()], key));
        let config = server_tls(&certified_key, true, false).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let connector = TlsConnector::from(Arc::new(client));
        let (io_status, name) = (Rc::default(), "localhost".try_into().unwrap());
        let (server, client) =
            tokio::join!(handshake(&config, accepted, &io_status), connector.connect(name, socket));
        let (mut server, client) = (server.unwrap(), client.unwrap());
        let (socket, mut session) = client.into_inner();
        let mut socket = socket.into_std().unwrap();
        let nothing = session.read_tls(&mut socket).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);

        server.write_all(b"response").await.unwrap();
        session.read_tls(&mut socket).unwrap();
        session.process_new_packets().unwrap();
        assert_eq!(session.tls13_tickets_received(), 1);
        let mut response = [0; 8];
        io::Read::read_exact(&mut session.reader(), &mut response).unwrap();
        assert_eq!(&response, b"response");
    }
}
