//! Connections to a server: TCP, with TLS over it if its address says https.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::net::monitored_io::MonitoredIo;
use crate::net::tls_fault::in_plain_words;

/// The address of a server and the way to connect to it.
#[derive(Clone)]
pub struct Connector {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
}

/// The reason why a server was not reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no connection to {0} within {1:?}")]
    Timeout(String, Duration),
    #[error("no connection to {0}: {error}", error = in_plain_words(.1))]
    Io(String, io::Error),
}

impl ConnectError {
    /// Returns whether the connection took too long, rather than failed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(..))
    }
}

/// A connection, with or without TLS.
pub enum ServerStream {
    Plain(MonitoredIo<TcpStream>),
    Tls(Box<TlsStream<MonitoredIo<TcpStream>>>),
}

impl Connector {
    /// Creates a connector for plain TCP.
    pub fn plain(host: String, port: u16, timeout: Duration) -> Self {
        Self { host, port, tls: None, timeout }
    }

    /// Creates a connector for TLS over TCP.
    ///
    /// # Errors
    /// [`rustls::pki_types::InvalidDnsNameError`] if `host` is neither a DNS name nor an address.
    pub fn tls(
        host: String,
        port: u16,
        config: Arc<ClientConfig>,
        timeout: Duration,
    ) -> Result<Self, rustls::pki_types::InvalidDnsNameError> {
        let name = ServerName::try_from(host.clone())?;
        Ok(Self { host, port, tls: Some((TlsConnector::from(config), name)), timeout })
    }

    /// Connects within the time-out, which includes the TLS handshake.
    ///
    /// # Errors
    /// - `ConnectError::Timeout` if the connection takes too long.
    /// - `ConnectError::Io` if the name, the socket or the certificate fails.
    pub async fn connect(
        &self,
        io_status: std::rc::Rc<crate::net::monitored_io::IoStatus>,
    ) -> Result<ServerStream, ConnectError> {
        let name = || format!("{}:{}", self.host, self.port);
        let connecting = async {
            let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
            socket.set_nodelay(true)?;
            let socket = MonitoredIo::new(socket, io_status);
            Ok(match &self.tls {
                None => ServerStream::Plain(socket),
                Some((tls, name)) => {
                    ServerStream::Tls(Box::new(tls.connect(name.clone(), socket).await?))
                }
            })
        };
        match timeout(self.timeout, connecting).await {
            Ok(result) => result.map_err(|error| ConnectError::Io(name(), error)),
            Err(_) => Err(ConnectError::Timeout(name(), self.timeout)),
        }
    }
}

impl AsyncRead for ServerStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
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
