//! Connections to the gate, made as by a load balancer in front of it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The longest wait of a client. Reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The connection settings for the gate.
pub struct Door {
    address: SocketAddr,
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Door {
    /// Creates the settings for a gate with this certificate (PEM).
    pub fn new(address: SocketAddr, certificate: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(
            CertificateDer::from_pem_slice(certificate.as_bytes()).context("the certificate")?,
        )?;
        let connector = |protocol: &[u8]| -> anyhow::Result<TlsConnector> {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            Ok(Arc::new(config).into())
        };
        Ok(Self { address, http1: connector(b"http/1.1")?, http2: connector(b"h2")? })
    }

    /// Opens a connection from a proxy that the gate trusts. There are many proxies, because one
    /// address does not have enough ports.
    pub async fn tcp(&self) -> io::Result<TcpStream> {
        self.tcp_from(Ipv4Addr::new(127, 0, 0, fastrand::u8(1..=200))).await
    }

    /// Opens a connection from a loopback address.
    pub async fn tcp_from(&self, from: Ipv4Addr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Performs a TLS handshake for HTTP/1.1.
    pub async fn http1(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.http1.connect(name()?, stream).await
    }

    /// Performs a TLS handshake for HTTP/2.
    pub async fn http2(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.http2.connect(name()?, stream).await
    }
}

fn name() -> io::Result<rustls::pki_types::ServerName<'static>> {
    "localhost".try_into().map_err(io::Error::other)
}
