//! A stream that gathers small writes, so that all that a connection has to send in one turn goes
//! out in one write: one TLS record and one system call where HTTP/2 flushes after each frame.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The number of bytes that may wait for the end of the turn, or for a socket that is full.
pub(super) const BUFFER_BYTES: usize = 32 * 1024;
/// The length from which a write is not copied. It goes out at once, behind the bytes that wait.
const UNCOPIED_BYTES: usize = 8 * 1024;
/// The number of bytes that are gathered in the stream before they go out.
const GATHERED_BYTES: usize = 64 * 1024;
/// The largest number of slices that one write passes on. HTTP/2 writes two.
const MAX_SLICES: usize = 8;

/// A stream that can take bytes without sending them.
pub(super) trait Gather: AsyncWrite {
    /// Takes bytes like [`AsyncWrite::poll_write_vectored`]. It may keep them until the stream is
    /// flushed. If it keeps too many already, it returns `Pending`, and does not wake the task.
    fn poll_gather(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;
}

/// A stream that keeps small writes until [`poll_send`](Self::poll_send), which its owner calls at
/// the end of each turn. Until then a flush does nothing.
pub(super) struct TurnBuffer<S> {
    stream: S,
    /// The bytes that wait. Without any, it takes no memory.
    waiting: Vec<u8>,
    /// `true` if the stream was written to after its last flush.
    unflushed: bool,
    /// The number of bytes that the stream has gathered since its last flush.
    gathered: usize,
}

impl<S> TurnBuffer<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, waiting: Vec::new(), unflushed: false, gathered: 0 }
    }

    /// Keeps the bytes of a write if it is small and there is room. Returns whether it did.
    fn keep(&mut self, slices: &[IoSlice<'_>], length: usize) -> bool {
        let keeps = length < UNCOPIED_BYTES && self.waiting.len() + length <= BUFFER_BYTES;
        if keeps {
            if self.waiting.capacity() == 0 {
                self.waiting.reserve_exact(BUFFER_BYTES);
            }
            slices.iter().for_each(|slice| self.waiting.extend_from_slice(slice));
        }
        keeps
    }

    /// Removes the bytes that were sent.
    fn sent(&mut self, count: usize) {
        if count >= self.waiting.len() {
            self.waiting = Vec::new();
        } else {
            self.waiting.drain(..count);
        }
    }
}

impl<S: Gather + Unpin> TurnBuffer<S> {
    /// Sends all bytes that wait, and flushes the stream.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            self.unflushed = true;
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent(count),
            }
        }
        if self.unflushed {
            ready!(self.poll_flush_stream(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        (self.unflushed, self.gathered) = (false, 0);
        Poll::Ready(Ok(()))
    }

    /// Writes slices that are not kept here. The stream sends them together with others.
    fn poll_gather(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.gathered >= GATHERED_BYTES {
            ready!(self.poll_flush_stream(cx))?;
        }
        self.unflushed = true;
        let gathered = match Pin::new(&mut self.stream).poll_gather(cx, slices) {
            Poll::Ready(gathered) => gathered?,
            Poll::Pending => {
                ready!(self.poll_flush_stream(cx))?;
                self.unflushed = true;
                ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?
            }
        };
        self.gathered += gathered;
        Poll::Ready(Ok(gathered))
    }

    /// Writes the bytes that wait, of which there are some, and the slices behind them. Returns the
    /// number of bytes of the slices that were written.
    fn poll_write_behind(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut all = [IoSlice::new(&[]); MAX_SLICES];
        let every = std::iter::once(IoSlice::new(&waiting)).chain(slices.iter().copied());
        all.iter_mut().zip(every).for_each(|(place, slice)| *place = slice);
        let gathered = self.poll_gather(cx, all.get(..=slices.len()).unwrap_or(&all));
        self.waiting = waiting;
        let before = self.waiting.len();
        match ready!(gathered)? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => {
                self.sent(count);
                Poll::Ready(Ok(count.saturating_sub(before)))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TurnBuffer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: Gather + Unpin> AsyncWrite for TurnBuffer<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        loop {
            if length == 0 || self.keep(slices, length) {
                return Poll::Ready(Ok(length));
            }
            if self.waiting.is_empty() {
                return self.poll_gather(cx, slices);
            }
            match ready!(self.poll_write_behind(cx, slices))? {
                // There may be room for these bytes now. A count of 0 would look like an end.
                0 => {}
                count => return Poll::Ready(Ok(count)),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Does nothing: the owner sends at the end of the turn.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
