//! A connection that ends as soon as the server sends something other than an answer to a question.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::scanner::{Refusal, ReplyScanner};

/// A byte stream in both directions.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that checks what it carries.
pub(super) struct Guarded {
    inner: Box<dyn Stream>,
    questions: ReplyScanner,
    answers: ReplyScanner,
    /// The number of questions that have no answer yet.
    unanswered: u64,
    /// The reason for which this type has ended the connection.
    refusal: Arc<OnceLock<Refusal>>,
}

impl Guarded {
    pub(super) fn new(inner: Box<dyn Stream>) -> Self {
        Self {
            inner,
            questions: ReplyScanner::default(),
            answers: ReplyScanner::default(),
            unanswered: 0,
            refusal: Arc::default(),
        }
    }

    /// Returns the place for the reason for which this type ends the connection.
    pub(super) fn refusal(&self) -> Arc<OnceLock<Refusal>> {
        self.refusal.clone()
    }

    fn received(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let answers = self.answers.read(bytes)?;
        // With one answer too many, each later question would get the answer to another one.
        let left = self.unanswered.checked_sub(answers);
        self.unanswered = left.ok_or("the server sent an answer without a question")?;
        Ok(())
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let new = buffer.filled().get(before..).unwrap_or_default();
        if let Err(refusal) = self.received(new) {
            buffer.set_filled(before);
            let _ = self.refusal.set(refusal);
            // The library goes on after other kinds of error.
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, refusal)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        let questions = self.questions.read(bytes.get(..written).unwrap_or_default());
        self.unanswered += questions.map_err(io::Error::other)?;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
