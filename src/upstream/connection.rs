//! One connection to the registry.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connector::{ConnectError, Connector};
use crate::body::RequestBody;
use crate::net::monitored_io::IoStatus;

/// The largest head of a response, in bytes, including 1xx responses before it. It bounds a
/// registry that never sends a final response.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The largest part of a body that is read at once, in bytes. With 64 KiB, a pull takes a tenth
/// more CPU time.
const MAX_READ_BYTES: usize = 128 * 1024;

/// A connection. Dropping it closes it at once, even in the middle of an exchange.
pub(super) struct Connection {
    sender: SendRequest<RequestBody>,
    driver: JoinHandle<()>,
    io_status: Rc<IoStatus>,
    /// The timer of the connection's requests. It goes on from one request to the next, because
    /// starting a timer for each request costs more than looking at the deadlines too early.
    pub(super) timer: Pin<Box<Sleep>>,
}

/// The reason why a request has no response.
pub(super) enum SendError {
    /// No byte of the request was written.
    NeverWritten(Box<Request<RequestBody>>),
    NoAnswer(hyper::Error),
}

impl Connection {
    pub(super) async fn open(connector: &Connector) -> Result<Self, ConnectError> {
        let io_status = Rc::new(IoStatus::default());
        let stream = TokioIo::new(connector.connect(io_status.clone()).await?);
        // hyper gives up when a write fails, and would lose the response to an upload that the
        // registry broke off.
        io_status.let_reading_decide();
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_READ_BYTES);
        let (sender, connection) = builder
            .handshake(stream)
            .await
            .map_err(|error| ConnectError::Io(String::new(), std::io::Error::other(error)))?;
        let driver = tokio::task::spawn_local(async move {
            // Errors show at the request or the body that they affect.
            let _ = connection.await;
        });
        let timer = Box::pin(sleep_until(Instant::now()));
        Ok(Self { sender, driver, io_status, timer })
    }

    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError>> + use<> {
        self.io_status.limit_reading(Some(MAX_HEAD_BYTES));
        let io_status = self.io_status.clone();
        let answer = self.sender.try_send_request(request);
        async move {
            let answer = answer.await;
            io_status.limit_reading(None);
            answer.map_err(|mut error| match error.take_message() {
                Some(request) => SendError::NeverWritten(Box::new(request)),
                None => SendError::NoAnswer(error.into_error()),
            })
        }
    }

    pub(super) fn io(&self) -> &Rc<IoStatus> {
        &self.io_status
    }

    /// Returns whether a request can be sent now.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Returns whether the connection can never send a request again.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
