//! The body of the registry's response while it is passed on.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::exchange::Exchange;
use crate::body::Progress;
use crate::denial::Reason;

/// The body of the registry's response, with the connection that it comes on. Its error is the
/// reason for the access log.
pub(super) struct ResponseStream {
    incoming: Incoming,
    exchange: Exchange,
    progress: Rc<Progress>,
    stall_timeout: Duration,
    /// The timer that runs while the gate waits for the registry.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl ResponseStream {
    /// Creates a stream of the body of a response. It fails if the registry sends nothing for
    /// `stall_timeout`. `progress` is that of the request which the response answers.
    pub(super) fn new(
        incoming: Incoming,
        exchange: Exchange,
        stall_timeout: Duration,
        progress: Rc<Progress>,
    ) -> Self {
        let mut stream =
            Self { incoming, exchange, progress, stall_timeout, timer: None, waiting: false };
        if stream.incoming.is_end_stream() {
            stream.finish();
        }
        stream
    }

    fn finish(&mut self) {
        self.exchange.finish(self.progress.request_body_ended().is_some());
    }

    /// Fails if the registry has sent nothing for too long. The time in which the client reads
    /// nothing does not count.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reason>>> {
        let deadline = Instant::now() + self.stall_timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx).map(|()| Some(Err(Reason::UpstreamStalled)))
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
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(Reason::UpstreamAborted))),
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
