//! TLS connections to a gate.

use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Performs a TLS handshake with a gate that serves this certificate, and offers these protocols.
pub async fn connect_tls(
    socket: TcpStream,
    certificate: &str,
    alpn: &[&[u8]],
) -> TlsStream<TcpStream> {
    try_tls(socket, certificate, alpn).await.unwrap()
}

/// Performs a TLS handshake that the gate may refuse.
pub async fn try_tls(
    socket: TcpStream,
    certificate: &str,
    alpn: &[&[u8]],
) -> io::Result<TlsStream<TcpStream>> {
    let mut config = trusting(certificate);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect("localhost".try_into().unwrap(), socket).await
}

/// Returns the settings of a TLS client that trusts this certificate.
pub fn trusting(certificate: &str) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap())
        .unwrap();
    rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth()
}
