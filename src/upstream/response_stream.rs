//! The body of the registry's response while it is passed on.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::UpstreamSettings;
use super::exchange::Exchange;
use super::fault::RegistryFault;
use super::health::Work;
use crate::body::Progress;
use crate::denial::Reason;

/// The body of the registry's response, with the connection that it comes on. Its error is the
/// reason for the access log.
pub(super) struct ResponseStream {
    incoming: Incoming,
    exchange: Exchange,
    progress: Rc<Progress>,
    watched: Watched,
    /// The timer that runs while the gate waits for the registry.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

/// The part of a response in the health of the registry.
pub(super) struct Watched {
    pub(super) settings: Arc<UpstreamSettings>,
    pub(super) work: Work,
    pub(super) status: StatusCode,
}

impl ResponseStream {
    /// Creates a stream of the body of a response. It fails if the registry sends nothing for
    /// `stall_timeout`. The end of the body is recorded in the registry's health.
    /// `progress` is that of the request which the response answers.
    pub(super) fn new(
        incoming: Incoming,
        exchange: Exchange,
        watched: Watched,
        progress: Rc<Progress>,
    ) -> Self {
        let mut stream =
            Self { incoming, exchange, progress, watched, timer: None, waiting: false };
        if stream.incoming.is_end_stream() {
            stream.finish();
        }
        stream
    }

    fn finish(&mut self) {
        self.exchange.finish(self.progress.request_body_ended().is_some());
        let Watched { settings, work, status } = &self.watched;
        settings.health.completed(*work, *status);
    }

    /// Records that the registry did not send the whole response, and returns the error.
    fn broke(&self, fault: RegistryFault, reason: Reason) -> Option<Result<Frame<Bytes>, Reason>> {
        self.watched.settings.health.failed(self.watched.work, fault, SystemTime::now());
        Some(Err(reason))
    }

    /// Fails if the registry has sent nothing for too long. The time in which the client reads
    /// nothing does not count.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reason>>> {
        let deadline = Instant::now() + self.watched.settings.stall_timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(deadline);
        }
        let stalled = timer.as_mut().poll(cx);
        stalled.map(|()| self.broke(RegistryFault::Stalled, Reason::UpstreamStalled))
    }
}

impl Body for ResponseStream {
    type Data = Bytes;
    type Error = Reason;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Reason>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.waiting = false;
                if frame.is_data() && self.incoming.is_end_stream() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => {
                Poll::Ready(self.broke(RegistryFault::Aborted, Reason::UpstreamAborted))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_stalled(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
