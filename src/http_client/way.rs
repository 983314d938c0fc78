//! The way to a server: directly, or through an HTTP proxy.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Uri, uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::net::dial;
use crate::net::endpoint::authority;

/// An HTTP proxy.
#[derive(Clone)]
pub struct Proxy {
    host: String,
    port: u16,
    uri: Uri,
    authorization: Option<HeaderValue>,
}

/// The way to servers. Clones share the proxy.
#[derive(Clone, Debug, Default)]
pub struct Way(Option<Arc<Proxy>>);

impl Proxy {
    /// Creates a proxy from its address and its credentials, the value of `Proxy-Authorization`.
    /// The host is a name or an address, IPv6 without brackets.
    ///
    /// # Errors
    /// [`http::Error`] if the host cannot be in a URI.
    pub fn new(
        host: String,
        port: u16,
        authorization: Option<HeaderValue>,
    ) -> Result<Self, http::Error> {
        let uri = uri_of(uri::Scheme::HTTP, &host, port)?;
        let authorization = authorization.map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Ok(Self { host, port, uri, authorization })
    }
}

/// Prints the address alone.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(false, &self.host, self.port))
    }
}

impl Way {
    /// Creates the way through a proxy.
    pub fn through(proxy: Proxy) -> Self {
        Self(Some(Arc::new(proxy)))
    }

    /// Returns whether a proxy is on the way.
    pub fn has_proxy(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the value of `Proxy-Authorization` for requests that a proxy forwards, if there is
    /// one.
    pub fn proxy_authorization(&self) -> Option<&HeaderValue> {
        self.0.as_ref()?.authorization.as_ref()
    }

    /// Opens a connection to a server. A proxy passes on its bytes, and does not read them.
    ///
    /// # Errors
    /// [`io::Error`] if neither the server nor the proxy is reached, or the proxy refuses.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let Some(proxy) = &self.0 else { return dial::connect(host, port).await };
        let tunnel = Tunnel::new(proxy.uri.clone(), Direct);
        let mut tunnel = match &proxy.authorization {
            Some(authorization) => tunnel.with_auth(authorization.clone()),
            None => tunnel,
        };
        let target = uri_of(uri::Scheme::HTTPS, host, port).map_err(io::Error::other)?;
        let stream = tunnel.call(target).await.map_err(|error| {
            io::Error::other(format!("the proxy {proxy} gives no tunnel: {error}"))
        })?;
        Ok(stream.into_inner())
    }

    /// Opens a connection for requests to a server without TLS, which a proxy reads and forwards.
    ///
    /// # Errors
    /// [`io::Error`] if neither the server nor the proxy is reached.
    pub async fn connect_for_plain_http(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        match &self.0 {
            Some(proxy) => dial::connect(&proxy.host, proxy.port).await,
            None => dial::connect(host, port).await,
        }
    }
}

/// Returns the URI of a server, with its port even if it is the default of the scheme.
fn uri_of(scheme: uri::Scheme, host: &str, port: u16) -> Result<Uri, http::Error> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let authority = format!("{host}:{port}");
    Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build()
}

/// A connector for the host and port of a URI, without a proxy.
#[derive(Clone)]
struct Direct;

type Dialing<S> = Pin<Box<dyn Future<Output = io::Result<S>> + Send>>;

impl Service<Uri> for Direct {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Dialing<TokioIo<TcpStream>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        Box::pin(async move {
            let (host, port) = host_and_port(&server)?;
            Ok(TokioIo::new(dial::connect(host, port).await?))
        })
    }
}

/// The connector of the [client](super::HttpClient).
impl Service<Uri> for Way {
    type Response = Dialed;
    type Error = io::Error;
    type Future = Dialing<Dialed>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let way = self.clone();
        Box::pin(async move {
            let (host, port) = host_and_port(&server)?;
            let forwarded = way.has_proxy() && server.scheme() == Some(&uri::Scheme::HTTP);
            let stream = if forwarded {
                way.connect_for_plain_http(host, port).await?
            } else {
                way.connect(host, port).await?
            };
            Ok(Dialed { stream: TokioIo::new(stream), forwarded })
        })
    }
}

/// Returns the host of a URI, IPv6 without brackets, and its port.
fn host_and_port(server: &Uri) -> io::Result<(&str, u16)> {
    let host = server.host().ok_or(io::ErrorKind::InvalidInput)?;
    let default = if server.scheme() == Some(&uri::Scheme::HTTPS) { 443 } else { 80 };
    let port = server.port_u16().unwrap_or(default);
    Ok((host.trim_start_matches('[').trim_end_matches(']'), port))
}

/// A connection of the [client](super::HttpClient).
pub struct Dialed {
    stream: TokioIo<TcpStream>,
    /// `true` if a proxy reads the requests. They then name the server (RFC 9112, 3.2.2).
    forwarded: bool,
}

impl Connection for Dialed {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.forwarded)
    }
}

impl Read for Dialed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for Dialed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
