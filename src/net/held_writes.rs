//! A stream that holds back the last bytes of a TLS handshake.
//!
//! A TLS 1.3 server sends its session tickets once the handshake is over, and no client waits for
//! them. They go out in one packet with the first response, instead of in a packet of their own.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream during and after a handshake.
pub struct HeldWrites<S> {
    stream: S,
    held: Vec<u8>,
    hold: Hold,
    refuses: bool,
}

/// The time until which written bytes are held back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// Until a read has to wait: the other side may be waiting for them.
    UntilRead,
    /// Until more is written.
    UntilWrite,
    /// They are not held back.
    No,
}

impl<S> HeldWrites<S> {
    /// Creates the wrapper of a stream on which a handshake begins.
    pub fn during_handshake(stream: S) -> Self {
        Self { stream, held: Vec::new(), hold: Hold::UntilRead, refuses: false }
    }

    /// Ends the handshake. What was written of it and not sent goes out with the next write.
    pub fn hold_until_write(&mut self) {
        self.hold = Hold::UntilWrite;
    }

    /// Ends the handshake. What was written of it and not sent goes out with the next flush.
    pub fn release(&mut self) {
        self.hold = Hold::No;
    }

    /// Sets whether every write has to wait, without being woken later. TLS then keeps its records,
    /// up to a limit, and sends them together with later ones.
    pub fn refuse_writes(&mut self, refuses: bool) {
        self.refuses = refuses;
    }
}

impl<S: AsyncWrite + Unpin> HeldWrites<S> {
    /// Writes the bytes that are held back, and with the last of them as much of `slices` as the
    /// stream takes. Returns how much of `slices` was written.
    fn poll_write_held(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        while !self.held.is_empty() {
            let mut all = Vec::with_capacity(1 + slices.len());
            all.push(IoSlice::new(&self.held));
            all.extend_from_slice(slices);
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &all))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if let Some(of_slices @ 1..) = written.checked_sub(self.held.len()) {
                self.held = Vec::new();
                return Poll::Ready(Ok(of_slices));
            }
            self.held.drain(..written);
        }
        self.held = Vec::new();
        Poll::Ready(Ok(0))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for HeldWrites<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_pending() && self.hold == Hold::UntilRead {
            ready!(self.poll_write_held(cx, &[]))?;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeldWrites<S> {
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
        if self.hold == Hold::UntilRead {
            let before = self.held.len();
            slices.iter().for_each(|slice| self.held.extend_from_slice(slice));
            return Poll::Ready(Ok(self.held.len() - before));
        }
        if self.refuses {
            return Poll::Pending;
        }
        match ready!(self.poll_write_held(cx, slices))? {
            0 => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
            written => Poll::Ready(Ok(written)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hold == Hold::No {
            ready!(self.poll_write_held(cx, &[]))?;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_held(cx, &[]))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
