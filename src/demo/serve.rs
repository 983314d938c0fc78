//! The HTTP/1.1 server of all stand-ins.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::web::Body;

/// The pause after a connection could not be accepted, for example because file descriptors ran
/// out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server that runs on the current runtime, with all its connections, until it is dropped or shut
/// down.
pub(super) struct Server {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Serves every connection of the listener. If the service returns an error, its connection is
    /// closed without an answer.
    pub(super) fn start<S>(listener: std::net::TcpListener, service: S) -> io::Result<Self>
    where
        S: Service<Request<Incoming>, Response = Response<Body>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self { address, accepting: tokio::spawn(accept(listener, service)) })
    }

    /// Returns the address that the server listens on.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and every connection, and returns when all of them are closed.
    pub(super) async fn shutdown(mut self) {
        self.accepting.abort();
        // The task was aborted, so the only expected result is a cancellation.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Accepts and serves connections. The connection tasks are in a `JoinSet` of this task, so that
/// they end with it.
async fn accept<S>(listener: TcpListener, service: S)
where
    S: Service<Request<Incoming>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Without it, small answers wait for an acknowledgement. A failure only costs time.
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        connections.spawn(async move {
            // A disconnected client is not an error here: the ledger records how its request ended.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
