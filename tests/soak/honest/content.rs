//! The body of a request of an honest client.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// The number of bytes that a slow client sends at a time.
const PIECE: usize = 600;

/// A body from memory. A slow one comes in pieces with a pause before each.
#[derive(Default)]
pub struct Content {
    rest: Bytes,
    pause: Duration,
    pausing: Option<Pin<Box<Sleep>>>,
}

impl Content {
    /// Creates a body with this pause before each piece. A zero pause sends the body in one piece.
    pub fn paced(rest: Bytes, pause: Duration) -> Self {
        Self { rest, pause, pausing: None }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if self.pause.is_zero() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest)))));
        }
        let pause = self.pause;
        let pausing = self.pausing.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        ready!(pausing.as_mut().poll(cx));
        self.pausing = None;
        let piece = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
