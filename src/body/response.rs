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
    /// The rest of a piece that was cut.
    rest: Bytes,
    max_piece_bytes: usize,
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
        Self::new(content, progress)
    }

    /// Creates a body that passes on another one as it comes.
    pub fn stream(
        body: impl Body<Data = Bytes, Error = Reason> + 'static,
        progress: Rc<Progress>,
    ) -> Self {
        let content =
            if body.is_end_stream() { Content::Ended } else { Content::Stream(Box::pin(body)) };
        Self::new(content, progress)
    }

    fn new(content: Content, progress: Rc<Progress>) -> Self {
        Self { content, rest: Bytes::new(), max_piece_bytes: usize::MAX, progress, observer: None }
    }

    /// Sets the largest length of the pieces in which the body is sent.
    pub fn cut_pieces(&mut self, max_piece_bytes: usize) {
        self.max_piece_bytes = max_piece_bytes;
    }

    /// Sets the observer of the body.
    pub fn observe(&mut self, observer: Box<dyn ResponseObserver>) {
        self.observer = Some(observer);
    }

    /// Returns a frame of these bytes, or of as many of them as a piece may have.
    fn piece(&mut self, mut data: Bytes) -> Frame<Piece> {
        if data.len() > self.max_piece_bytes {
            self.rest = data.split_off(self.max_piece_bytes);
        }
        Frame::data(Piece::new(data, self.progress.clone()))
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
        if !this.rest.is_empty() {
            let rest = std::mem::take(&mut this.rest);
            return Poll::Ready(Some(Ok(this.piece(rest))));
        }
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
        Poll::Ready(data.map(|data| Ok(this.piece(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && matches!(self.content, Content::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        match &self.content {
            Content::Ended => SizeHint::with_exact(rest),
            Content::Fixed(bytes) => {
                SizeHint::with_exact(rest + bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Stream(stream) => {
                let behind = stream.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(rest + behind.lower());
                if let Some(upper) = behind.upper() {
                    hint.set_upper(rest + upper);
                }
                hint
            }
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let Some(mut observer) = self.observer.take() else { return };
        match self.content {
            Content::Fixed(_) | Content::Stream(_) => observer.broke_off(Reason::ClientAborted),
            Content::Ended if !self.rest.is_empty() => observer.broke_off(Reason::ClientAborted),
            Content::Ended => self.progress.keep(observer),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_is_cut_into_pieces_and_ends_after_the_last_one() {
        let progress = Rc::new(Progress::default());
        let mut body = ResponseBody::fixed(Bytes::from_static(b"0123456789"), progress.clone());
        body.cut_pieces(4);
        let (mut pieces, mut sizes) = (Vec::new(), vec![body.size_hint().exact()]);
        while let Some(frame) = body.frame().await {
            let piece = frame.unwrap().into_data().unwrap_or_else(|_| panic!("trailers"));
            pieces.push(piece.chunk().to_vec());
            sizes.push(body.size_hint().exact());
            assert_eq!(body.is_end_stream(), pieces.len() == 3);
        }
        assert_eq!(pieces, [&b"0123"[..], b"4567", b"89"]);
        assert_eq!(sizes, [Some(10), Some(6), Some(2), Some(0)]);
        assert_eq!(progress.bytes_out(), 10);
    }

    /// An observer that counts the ends without a break, and the breaks.
    struct Ends(Rc<std::cell::Cell<(u32, u32)>>, bool);

    impl ResponseObserver for Ends {
        fn broke_off(&mut self, _: Reason) {
            self.1 = true;
        }
    }

    impl Drop for Ends {
        fn drop(&mut self) {
            let (whole, broken) = self.0.get();
            self.0.set(if self.1 { (whole, broken + 1) } else { (whole + 1, broken) });
        }
    }

    #[tokio::test]
    async fn a_body_that_is_dropped_between_its_pieces_broke_off() {
        for taken in 0..=3 {
            let progress = Rc::new(Progress::default());
            let ends = Rc::default();
            let mut body = ResponseBody::fixed(Bytes::from_static(b"0123456789"), progress);
            body.cut_pieces(4);
            body.observe(Box::new(Ends(Rc::clone(&ends), false)));
            for _ in 0..taken {
                drop(body.frame().await);
            }
            drop(body);
            assert_eq!(ends.get(), if taken == 3 { (1, 0) } else { (0, 1) }, "{taken}");
        }
    }
}
