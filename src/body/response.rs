//! Answers on their way to the client.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::{Piece, Progress};
use crate::record::Record;
use crate::upstream::Exchange;

/// A response's body, with the request's record, which is written when this is dropped.
pub struct ResponseBody {
    content: Content,
    progress: Rc<Progress>,
    record: Option<Box<Record>>,
}

enum Content {
    /// Of the gate's own.
    Fixed(Option<Bytes>),
    Upstream(Box<UpstreamBody>),
    Ended,
}

struct UpstreamBody {
    incoming: Incoming,
    exchange: Exchange,
    stall_timeout: Duration,
    /// Runs while the registry is waited for.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

/// The registry's answer did not come to its end; the client is made to see that.
#[derive(Debug, thiserror::Error)]
#[error("the registry's answer broke off: {0}")]
pub struct BrokenOff(&'static str);

impl ResponseBody {
    /// A body of the gate's own.
    pub fn fixed(bytes: Bytes, progress: Rc<Progress>) -> Self {
        let content = if bytes.is_empty() { Content::Ended } else { Content::Fixed(Some(bytes)) };
        Self { content, progress, record: None }
    }

    /// The body of the registry's answer. A registry that sends nothing for `stall_timeout` is given up.
    pub fn upstream(
        incoming: Incoming,
        mut exchange: Exchange,
        stall_timeout: Duration,
        progress: Rc<Progress>,
    ) -> Self {
        let content = if incoming.is_end_stream() {
            exchange.finish(progress.request_ended().is_some());
            Content::Ended
        } else {
            Content::Upstream(Box::new(UpstreamBody { incoming, exchange, stall_timeout, timer: None, waiting: false }))
        };
        Self { content, progress, record: None }
    }

    /// Hands over the record, to be written when the body has ended.
    pub fn record(&mut self, record: Box<Record>) {
        self.record = Some(record);
    }

    fn break_off(&mut self, reason: &'static str) -> Poll<Option<Result<Frame<Piece>, BrokenOff>>> {
        self.content = Content::Ended;
        if let Some(record) = &mut self.record {
            record.broke_off(reason);
        }
        Poll::Ready(Some(Err(BrokenOff(reason))))
    }
}

impl Body for ResponseBody {
    type Data = Piece;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, BrokenOff>>> {
        let this = &mut *self;
        let data = match &mut this.content {
            Content::Ended => return Poll::Ready(None),
            Content::Fixed(bytes) => bytes.take(),
            Content::Upstream(upstream) => match upstream.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(data))) if upstream.incoming.is_end_stream() => {
                    upstream.exchange.finish(this.progress.request_ended().is_some());
                    this.content = Content::Ended;
                    Some(data)
                }
                Poll::Ready(Some(Ok(data))) => Some(data),
                Poll::Ready(Some(Err(reason))) => return this.break_off(reason),
                Poll::Ready(None) => {
                    upstream.exchange.finish(this.progress.request_ended().is_some());
                    None
                }
            },
        };
        let Some(data) = data else {
            this.content = Content::Ended;
            return Poll::Ready(None);
        };
        if matches!(this.content, Content::Fixed(_)) {
            this.content = Content::Ended;
        }
        Poll::Ready(Some(Ok(Frame::data(Piece::new(data, this.progress.clone())))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Ended => SizeHint::with_exact(0),
            Content::Fixed(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Upstream(upstream) => upstream.incoming.size_hint(),
        }
    }
}

impl UpstreamBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, &'static str>>> {
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.waiting = false;
                    // No registry sends trailers that a client would read, so they end here.
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err("upstream_aborted"))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return self.poll_patience(cx),
            }
        }
    }

    /// While the registry is waited for. Time in which it is the client that is slow does not count.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, &'static str>>> {
        let deadline = Instant::now() + self.stall_timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx).map(|()| Some(Err("upstream_stalled")))
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        match self.content {
            Content::Fixed(_) | Content::Upstream(_) => record.broke_off("client_aborted"),
            Content::Ended => self.progress.keep(record),
        }
    }
}
