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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Connects through a proxy that gives this answer. Returns the request to the proxy, and what
    /// came through the tunnel.
    async fn through(answer: &'static str, host: &str) -> (String, io::Result<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            // A TLS client speaks first.
            if stream.read_u8().await.is_ok() {
                stream.write_all(b"tunnel").await.unwrap();
            }
            String::from_utf8(head).unwrap()
        });
        let credentials = HeaderValue::from_static("Basic secret");
        let proxy = Proxy::new("127.0.0.1".into(), port, Some(credentials)).unwrap();
        let connected = Way::through(proxy).connect(host, 443).await;
        let read = match connected {
            Ok(mut stream) => {
                stream.write_all(b"x").await.unwrap();
                let mut text = [0; 6];
                stream.read_exact(&mut text).await.unwrap();
                Ok(String::from_utf8(text.into()).unwrap())
            }
            Err(error) => Err(error),
        };
        (serving.await.unwrap(), read)
    }

    #[tokio::test]
    async fn a_proxy_gives_a_tunnel_to_the_server() {
        for answer in
            ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 Connection established\r\nX: y\r\n\r\n"]
        {
            for (host, authority) in [("registry.test", "registry.test:443"), ("::1", "[::1]:443")]
            {
                let (request, read) = through(answer, host).await;
                assert!(request.starts_with(&format!("CONNECT {authority} HTTP/1.1\r\n")));
                assert!(request.contains("Proxy-Authorization: Basic secret\r\n"), "{request}");
                assert!(read.is_ok_and(|read| read == "tunnel"), "{answer}");
            }
        }
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_an_error_without_the_credentials() {
        for answer in ["HTTP/1.1 407 No\r\n\r\n", "HTTP/1.1 403 No\r\n\r\n", "nonsense\r\n\r\n"] {
            let (_, read) = through(answer, "registry.test").await;
            let error = read.unwrap_err().to_string();
            assert!(error.starts_with("the proxy 127.0.0.1:"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
