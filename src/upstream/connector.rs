//! Reaching a server: TCP, and TLS over it where its address says https.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::watched::Watched;

/// How a server is reached.
#[derive(Clone)]
pub struct Connector {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
}

/// Why a server was not reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no connection to {0} within {1:?}")]
    Timeout(String, Duration),
    #[error("no connection to {0}: {1}")]
    Io(String, io::Error),
}

impl ConnectError {
    /// Whether it took too long, rather than failed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(..))
    }
}

/// A connection, with TLS or without.
pub enum Stream {
    Plain(Watched<TcpStream>),
    Tls(Box<TlsStream<Watched<TcpStream>>>),
}

impl Connector {
    /// Plain TCP.
    pub fn plain(host: String, port: u16, timeout: Duration) -> Self {
        Self { host, port, tls: None, timeout }
    }

    /// TLS over TCP.
    ///
    /// # Errors
    /// Where `host` is neither a DNS name nor an address.
    pub fn tls(
        host: String,
        port: u16,
        config: Arc<ClientConfig>,
        timeout: Duration,
    ) -> Result<Self, rustls::pki_types::InvalidDnsNameError> {
        let name = ServerName::try_from(host.clone())?;
        Ok(Self { host, port, tls: Some((TlsConnector::from(config), name)), timeout })
    }

    /// Connects, TLS handshake included, within the time-out.
    ///
    /// # Errors
    /// Names, sockets, certificates, time.
    pub async fn connect(&self, traffic: std::rc::Rc<crate::watched::Traffic>) -> Result<Stream, ConnectError> {
        let name = || format!("{}:{}", self.host, self.port);
        let connecting = async {
            let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
            socket.set_nodelay(true)?;
            let socket = Watched::new(socket, traffic);
            Ok(match &self.tls {
                None => Stream::Plain(socket),
                Some((tls, name)) => Stream::Tls(Box::new(tls.connect(name.clone(), socket).await?)),
            })
        };
        match timeout(self.timeout, connecting).await {
            Ok(result) => result.map_err(|error| ConnectError::Io(name(), error)),
            Err(_) => Err(ConnectError::Timeout(name(), self.timeout)),
        }
    }
}

/// TLS towards servers: HTTP/1.1, TLS 1.2 or newer, trusting `roots`.
///
/// # Errors
/// None that the compiled-in cryptography gives.
pub fn client_tls(roots: Arc<RootCertStore>) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    Ok(Arc::new(builder.with_no_client_auth()))
}

/// What the system trusts. Reading it takes longer than all else at start, so it is done once, and only where asked.
///
/// # Errors
/// Where the system has no usable roots.
pub fn system_roots() -> io::Result<Arc<RootCertStore>> {
    static READ: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = READ.get() {
        return Ok(roots.clone());
    }
    let read = Arc::new(read_system_roots()?);
    Ok(READ.get_or_init(|| read).clone())
}

fn read_system_roots() -> io::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(io::Error::other(format!("no root certificates of the system can be used: {why}")));
    }
    Ok(roots)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
