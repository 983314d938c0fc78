//! A stream whose bytes a scanner reads along with hyper.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A scanner that reads along with hyper.
pub(super) trait Scan {
    /// Takes the next bytes that came.
    fn read(&self, bytes: &[u8]);
}

/// A stream that a scanner reads along with hyper.
pub(super) struct Scanned<S, T> {
    stream: S,
    scan: Rc<T>,
    /// Bytes that the scanner has read and hyper reads next.
    ahead: Bytes,
}

impl<S, T> Scanned<S, T> {
    pub(super) fn new(stream: S, scan: Rc<T>) -> Self {
        Self { stream, scan, ahead: Bytes::new() }
    }

    /// Takes back bytes that were read from this stream and not used. They are copied, so that the
    /// buffer that they are in can be freed.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        self.ahead = Bytes::copy_from_slice(bytes);
    }
}

impl<S: AsyncRead + Unpin, T: Scan> Scanned<S, T> {
    /// Waits for the next byte, and keeps it for hyper. Returns `false` at the end of the stream.
    pub(super) fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.ahead.is_empty() {
            let mut byte = [0];
            let mut buffer = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut *self).poll_read(cx, &mut buffer))?;
            self.ahead = Bytes::copy_from_slice(buffer.filled());
        }
        Poll::Ready(Ok(!self.ahead.is_empty()))
    }
}

impl<S: AsyncRead + Unpin, T: Scan> AsyncRead for Scanned<S, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.scan.read(buffer.filled().get(before..).unwrap_or_default());
        result
    }
}

impl<S: AsyncWrite + Unpin, T> AsyncWrite for Scanned<S, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
