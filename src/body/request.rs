//! A client's body on its way to the registry.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{BodyFailure, Progress};

/// A request's body. It ends only where the client ended it: on HTTP/2 by END_STREAM, on HTTP/1.1 by its length or its
/// last chunk. Anything else is an error, upon which the connection to the registry is broken, so that what came so
/// far never looks like the whole.
pub struct RequestBody {
    incoming: Option<Incoming>,
    http2: bool,
    progress: Rc<Progress>,
}

/// The body did not come to its end.
#[derive(Debug, thiserror::Error)]
#[error("the client's body broke off")]
pub struct BrokenOff;

impl RequestBody {
    /// A body that came with a request. `http2` tells how its end is known.
    pub fn new(incoming: Incoming, http2: bool, progress: Rc<Progress>) -> Self {
        if incoming.is_end_stream() {
            progress.end_request();
        }
        Self { incoming: Some(incoming), http2, progress }
    }

    /// No body.
    pub fn empty(progress: Rc<Progress>) -> Self {
        progress.end_request();
        Self { incoming: None, http2: false, progress }
    }

    fn fail(&mut self, failure: BodyFailure) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.progress.fail(failure);
        self.progress.request_no_longer_read();
        Poll::Ready(Some(Err(BrokenOff)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        match Pin::new(&mut *incoming).poll_frame(cx) {
            Poll::Pending => {
                this.progress.await_request();
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    this.progress.request_moved(data.len() as u64);
                    if incoming.is_end_stream() {
                        this.progress.end_request();
                    }
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Err(_) => this.fail(BodyFailure::Trailers),
            },
            Poll::Ready(Some(Err(_))) => this.fail(BodyFailure::Aborted),
            Poll::Ready(None) if this.progress.is_cut() || (this.http2 && !incoming.is_end_stream()) => {
                this.fail(BodyFailure::Aborted)
            }
            Poll::Ready(None) => {
                this.progress.request_no_longer_read();
                this.progress.end_request();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.progress.request_no_longer_read();
    }
}
