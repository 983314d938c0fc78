//! The body of a response on its way to the client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{Piece, Progress};
use crate::denial::Reason;

/// The body of a response. It tells its [`ResponseObserver`] if it breaks off. It drops the
/// observer when all of the body has left the gate or never will.
pub struct ResponseBody {
    content: Content,
    progress: Rc<Progress>,
    observer: Option<Box<dyn ResponseObserver>>,
}

/// An observer of the end of a response's body. The response is over when the observer is dropped.
pub trait ResponseObserver {
    /// Receives the reason for the access log if the body did not come to its end.
    fn broke_off(&mut self, reason: Reason);
}

/// A body that is produced elsewhere while it is sent. Its error is the reason for the access log.
type Stream = Pin<Box<dyn Body<Data = Bytes, Error = Reason>>>;

enum Content {
    Fixed(Option<Bytes>),
    Stream(Stream),
    Ended,
}

/// The error of a response that broke off. The client must be able to tell that it did.
#[derive(Debug, thiserror::Error)]
#[error("the registry's answer broke off: {0}")]
pub struct ResponseBrokenOff(Reason);

impl ResponseBody {
    /// Creates a body of these bytes.
    pub fn fixed(bytes: Bytes, progress: Rc<Progress>) -> Self {
        let content = if bytes.is_empty() { Content::Ended } else { Content::Fixed(Some(bytes)) };
        Self { content, progress, observer: None }
    }

    /// Creates a body that passes on another one as it comes.
    pub fn stream(
        body: impl Body<Data = Bytes, Error = Reason> + 'static,
        progress: Rc<Progress>,
    ) -> Self {
        let content =
            if body.is_end_stream() { Content::Ended } else { Content::Stream(Box::pin(body)) };
        Self { content, progress, observer: None }
    }

    /// Sets the observer of the body.
    pub fn observe(&mut self, observer: Box<dyn ResponseObserver>) {
        self.observer = Some(observer);
    }

    fn break_off(
        &mut self,
        reason: Reason,
    ) -> Poll<Option<Result<Frame<Piece>, ResponseBrokenOff>>> {
        self.content = Content::Ended;
        if let Some(observer) = &mut self.observer {
            observer.broke_off(reason);
        }
        Poll::Ready(Some(Err(ResponseBrokenOff(reason))))
    }
}

impl Body for ResponseBody {
    type Data = Piece;
    type Error = ResponseBrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, ResponseBrokenOff>>> {
        let this = &mut *self;
        let data = match &mut this.content {
            Content::Ended => return Poll::Ready(None),
            Content::Fixed(bytes) => {
                let bytes = bytes.take();
                this.content = Content::Ended;
                bytes
            }
            Content::Stream(stream) => loop {
                match stream.as_mut().poll_frame(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Err(reason))) => return this.break_off(reason),
                    Poll::Ready(Some(Ok(frame))) => {
                        // Trailers are dropped, because no client of a registry reads them.
                        let Ok(data) = frame.into_data() else { continue };
                        if stream.is_end_stream() {
                            this.content = Content::Ended;
                        }
                        break Some(data);
                    }
                    Poll::Ready(None) => {
                        this.content = Content::Ended;
                        break None;
                    }
                }
            },
        };
        let frame = data.map(|data| Ok(Frame::data(Piece::new(data, this.progress.clone()))));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Ended => SizeHint::with_exact(0),
            Content::Fixed(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Stream(stream) => stream.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let Some(mut observer) = self.observer.take() else { return };
        match self.content {
            Content::Fixed(_) | Content::Stream(_) => observer.broke_off(Reason::ClientAborted),
            Content::Ended => self.progress.keep(observer),
        }
    }
}
