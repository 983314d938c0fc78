//! One connection to the registry.

use std::future::Future;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use super::connector::{ConnectError, Connector};
use crate::body::RequestBody;
use crate::net::monitored_io::IoStatus;

/// The most that an answer's head may take, 1xx answers before it included: it bounds a registry
/// that never comes to the point. It also bounds how much of a body is read at once.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// A connection. Dropping it closes it at once, whatever it was in the middle of.
pub(super) struct Connection {
    sender: SendRequest<RequestBody>,
    driver: JoinHandle<()>,
    io_status: Rc<IoStatus>,
}

/// Why a request got no answer.
pub(super) enum SendError {
    /// No byte of it was written.
    NeverWritten(Box<Request<RequestBody>>),
    NoAnswer(hyper::Error),
}

impl Connection {
    pub(super) async fn open(connector: &Connector) -> Result<Self, ConnectError> {
        let io_status = Rc::new(IoStatus::default());
        let stream = TokioIo::new(connector.connect(io_status.clone()).await?);
        // hyper gives up at a write that fails, and would lose the answer to an upload that the
        // registry broke off.
        io_status.let_reading_decide();
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD_BYTES);
        let (sender, connection) = builder
            .handshake(stream)
            .await
            .map_err(|error| ConnectError::Io(String::new(), std::io::Error::other(error)))?;
        let driver = tokio::task::spawn_local(async move {
            // What goes wrong shows at the request or the body that it happens to.
            let _ = connection.await;
        });
        Ok(Self { sender, driver, io_status })
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

    /// Whether a request can be sent now.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether no request can ever be sent.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
