//! The body of a client's request on its way to the registry.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{BodyFailure, Progress};

/// The largest number of bytes of a body that are read and dropped after the request was refused.
const DISCARDED_BYTES: usize = 1024 * 1024;

/// The longest time that such a body is read.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// The body of a request. It ends only where the client ended it: on HTTP/2 by END_STREAM, on
/// HTTP/1.1 by its length or its last chunk. Any other end is an error, and the connection to the
/// registry is broken, so that a partial body never looks complete.
pub struct RequestBody {
    incoming: Option<Incoming>,
    http2: bool,
    /// The last bytes of the announced length, on HTTP/2. The stream can go on or break off after
    /// them. The body would look complete to the registry with them, so they wait here for the end
    /// of the stream.
    held: Option<Bytes>,
    progress: Rc<Progress>,
}

/// The reason why a body that should be empty is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEmpty {
    /// The body has bytes, or announces some.
    Bytes,
    /// The body did not come to its end.
    Failed(BodyFailure),
}

/// The error of a body that did not come to its end.
#[derive(Debug, thiserror::Error)]
#[error("the client's body broke off")]
pub struct RequestBrokenOff;

impl RequestBody {
    /// Creates the body that came with a request. `http2` decides by which rule its end is
    /// recognized.
    pub fn new(incoming: Incoming, http2: bool, progress: Rc<Progress>) -> Self {
        if incoming.is_end_stream() {
            progress.end_request();
        }
        Self { incoming: Some(incoming), http2, held: None, progress }
    }

    /// Creates an empty body.
    pub fn empty(progress: Rc<Progress>) -> Self {
        progress.end_request();
        Self { incoming: None, http2: false, held: None, progress }
    }

    /// Waits for the end of a body that should be empty. The client's progress is watched with the
    /// connection.
    ///
    /// # Errors
    /// - [`NotEmpty::Bytes`] if the body has bytes, or announces some.
    /// - [`NotEmpty::Failed`] if the body did not come to its end.
    pub async fn expect_empty(&mut self) -> Result<(), NotEmpty> {
        if self.incoming.as_ref().is_some_and(|incoming| incoming.size_hint().lower() > 0) {
            return Err(NotEmpty::Bytes);
        }
        while !self.is_end_stream() {
            match poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await {
                Some(Ok(frame)) if frame.data_ref().is_none_or(Bytes::is_empty) => {}
                Some(Ok(_)) => return Err(NotEmpty::Bytes),
                Some(Err(RequestBrokenOff)) => {
                    return Err(NotEmpty::Failed(
                        self.progress.failure().unwrap_or(BodyFailure::Aborted),
                    ));
                }
                None => break,
            }
        }
        // Otherwise hyper would announce to the registry a body that has ended here.
        self.incoming = None;
        Ok(())
    }

    fn fail(
        &mut self,
        failure: BodyFailure,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBrokenOff>>> {
        self.progress.fail(failure);
        self.progress.request_no_longer_read();
        Poll::Ready(Some(Err(RequestBrokenOff)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBrokenOff>>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        loop {
            match Pin::new(&mut *incoming).poll_frame(cx) {
                Poll::Pending => {
                    this.progress.await_request();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        // A client can send any number of empty pieces, so they do not count as
                        // progress.
                        if !data.is_empty() {
                            this.progress.request_moved(data.len() as u64);
                        }
                        let data = match this.held.take() {
                            None => data,
                            Some(held) if data.is_empty() => held,
                            Some(_) => return this.fail(BodyFailure::Aborted),
                        };
                        if incoming.is_end_stream() {
                            this.progress.end_request();
                        } else if this.http2 && is_all_there(incoming) {
                            this.held = Some(data);
                            continue;
                        }
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Err(_) => return this.fail(BodyFailure::Trailers),
                },
                Poll::Ready(Some(Err(_))) => return this.fail(BodyFailure::Aborted),
                Poll::Ready(None)
                    if this.progress.is_cut() || (this.http2 && !incoming.is_end_stream()) =>
                {
                    return this.fail(BodyFailure::Aborted);
                }
                Poll::Ready(None) => {
                    this.progress.request_no_longer_read();
                    this.progress.end_request();
                    return Poll::Ready(this.held.take().map(|held| Ok(Frame::data(held))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.incoming, &self.held) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(held)) => SizeHint::with_exact(held.len() as u64),
            // No more bytes are announced, but the stream goes on. With an exact length of 0 the
            // registry would take the body for complete before it is.
            (Some(incoming), None)
                if self.http2 && is_all_there(incoming) && !incoming.is_end_stream() =>
            {
                SizeHint::default()
            }
            (Some(incoming), None) => incoming.size_hint(),
        }
    }
}

/// Returns whether all bytes of the announced length have come.
fn is_all_there(incoming: &Incoming) -> bool {
    incoming.size_hint().exact() == Some(0)
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.progress.request_no_longer_read();
        // On HTTP/1.1 the server reads on after the response, before it closes the connection.
        if let Some(incoming) = self.incoming.take().filter(|_| self.http2)
            && !incoming.is_end_stream()
            && !self.progress.stalled()
        {
            tokio::task::spawn_local(discard(incoming));
        }
    }
}

/// Reads and drops what a client still sends of a body that is not needed. Without a reader, HTTP/2
/// would reset the stream after the response. RFC 9113, section 8.1, allows that, but curl before
/// version 8 then loses the response.
async fn discard(mut incoming: Incoming) {
    let reading = async {
        let mut left = DISCARDED_BYTES;
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIME, reading).await;
}
