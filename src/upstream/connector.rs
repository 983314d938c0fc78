//! Connections to a server: TCP, with TLS over it if its address says https.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http_client::Way;
use crate::net::dial;
use crate::net::host_list::HostList;
use crate::net::monitored_io::MonitoredIo;
use crate::net::tls_fault::in_plain_words;

/// The address of a server and the way to connect to it.
#[derive(Clone)]
pub struct Connector {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
    way: Way,
    /// The hosts of the config, if only some addresses of this host may be connected to.
    allowed: Option<Arc<HostList>>,
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
    /// Creates a connector for plain TCP, or for TLS over TCP.
    ///
    /// # Errors
    /// [`rustls::pki_types::InvalidDnsNameError`] if `host` is neither a DNS name nor an address.
    pub fn new(
        host: String,
        port: u16,
        tls: Option<Arc<ClientConfig>>,
        timeout: Duration,
    ) -> Result<Self, rustls::pki_types::InvalidDnsNameError> {
        let tls = match tls {
            Some(config) => Some((TlsConnector::from(config), ServerName::try_from(host.clone())?)),
            None => None,
        };
        Ok(Self { host, port, tls, timeout, way: Way::default(), allowed: None })
    }

    /// Returns whether the server is reached over TLS, its host and its port.
    pub(super) fn server(&self) -> (bool, &str, u16) {
        (self.tls.is_some(), &self.host, self.port)
    }

    /// Sets the way to the server.
    #[must_use]
    pub fn on_the_way(self, way: Way) -> Self {
        Self { way, ..self }
    }

    /// Limits the connections to those addresses of the host that the list allows. The addresses
    /// are looked up once a connection, and what was checked is what is connected to.
    #[must_use]
    pub(super) fn only_to(self, allowed: Arc<HostList>) -> Self {
        Self { allowed: Some(allowed), ..self }
    }

    /// Returns the value of `Proxy-Authorization` for requests that a proxy forwards; `None` if no
    /// proxy reads the requests, and the inner `None` if the proxy needs no credentials.
    pub(super) fn forwarding_proxy(&self) -> Option<Option<&HeaderValue>> {
        (self.way.has_proxy() && self.tls.is_none() && self.allowed.is_none())
            .then(|| self.way.proxy_authorization())
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
            let socket = self.socket().await?;
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

impl Connector {
    async fn socket(&self) -> io::Result<TcpStream> {
        let Some(allowed) = &self.allowed else {
            return if self.tls.is_some() {
                self.way.connect(&self.host, self.port).await
            } else {
                self.way.connect_for_plain_http(&self.host, self.port).await
            };
        };
        let found = lookup_host((self.host.as_str(), self.port)).await?;
        let addresses: Vec<_> = found.filter(|it| allowed.allows_address(*it)).collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, NotAllowed));
        }
        if !self.way.has_proxy() {
            return dial::connect_to_any(addresses).await;
        }
        // A proxy may reach one family of addresses alone.
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match self.way.connect(&address.ip().to_string(), self.port).await {
                Ok(socket) => return Ok(socket),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// The reason why a connection to a listed host is not opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "none of its addresses is reachable over the internet; if the gate may connect to one of them, \
     add that address or its network to upstream.redirect_hosts or upstream.upload_hosts, beside \
     the name"
)]
struct NotAllowed;

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
