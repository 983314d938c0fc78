//! A stream that reads more than it is asked for while a large body comes.
//!
//! rustls asks for one TLS record at most. While a body comes, one system call takes several
//! records from the socket, and the next reads take them from memory. The memory is given back as
//! soon as nothing more comes, so an idle connection has none.

use std::future::Future;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The largest number of bytes that are read at once while a body comes.
const AHEAD_BYTES: usize = 128 * 1024;

/// The number of bytes that are read at once before anything is known about the other side. A
/// `ClientHello` fits.
const FIRST_BYTES: usize = 4 * 1024;

/// The number of full reads in a row, each of at least [`FIRST_BYTES`], after which a body is
/// assumed to come.
const FULL_READS: u8 = 2;

/// A read of fewer bytes ends this assumption.
const FEW_BYTES: usize = 8 * 1024;

/// A stream, and the bytes that were read from it too early.
pub struct ReadAhead<S> {
    stream: S,
    ahead: BytesMut,
    /// The number of full reads in a row, up to [`FULL_READS`].
    full_reads: u8,
}

impl<S> ReadAhead<S> {
    /// Creates the wrapper of a stream from which nothing was read ahead.
    pub fn new(stream: S) -> Self {
        Self { stream, ahead: BytesMut::new(), full_reads: 0 }
    }

    fn body_comes(&self) -> bool {
        self.full_reads >= FULL_READS
    }
}

impl<S: AsyncRead + Unpin> ReadAhead<S> {
    /// Waits for the first bytes. Returns the first one, which the next read returns too, or `None`
    /// at the end of the stream.
    ///
    /// # Errors
    /// [`io::Error`] if the stream cannot be read.
    pub async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        if self.ahead.is_empty() {
            self.ahead.reserve(FIRST_BYTES);
            self.stream.read_buf(&mut self.ahead).await?;
        }
        Ok(self.ahead.first().copied())
    }

    /// Reads ahead, and ends the assumption that a body comes if little came.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ahead.reserve(AHEAD_BYTES);
        let read = pin!(self.stream.read_buf(&mut self.ahead)).poll(cx);
        match &read {
            Poll::Ready(Ok(FEW_BYTES..)) => {}
            Poll::Ready(_) => self.full_reads = 0,
            Poll::Pending => self.ahead = BytesMut::new(),
        }
        read.map_ok(|_| ())
    }

    /// Reads no more than what was asked for.
    fn poll_directly(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wanted = buffer.remaining();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let full = buffer.remaining() == 0 && wanted >= FIRST_BYTES;
        self.full_reads = if full { self.full_reads + 1 } else { 0 };
        read
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.is_empty() {
            if !this.body_comes() {
                return this.poll_directly(cx, buffer);
            }
            std::task::ready!(this.poll_ahead(cx))?;
        }
        let taken = this.ahead.len().min(buffer.remaining());
        buffer.put_slice(this.ahead.get(..taken).unwrap_or_default());
        this.ahead.advance(taken);
        if this.ahead.is_empty() && !this.body_comes() {
            this.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
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

impl<S: AsFd> AsFd for ReadAhead<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that has bytes for now, counts how often it is read and waits when it has no more.
    #[derive(Default)]
    struct Source {
        bytes: Vec<u8>,
        at: usize,
        reads: usize,
        ends: bool,
    }

    impl AsyncRead for Source {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let this = &mut *self;
            let rest = &this.bytes[this.at..];
            if rest.is_empty() && !this.ends {
                return Poll::Pending;
            }
            let taken = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..taken]);
            this.at += taken;
            this.reads += 1;
            Poll::Ready(Ok(()))
        }
    }

    /// Returns bytes of which no two stretches are equal.
    fn body(bytes: u32) -> Vec<u8> {
        (0..bytes / 4).flat_map(u32::to_be_bytes).collect()
    }

    fn reader(bytes: &[u8]) -> ReadAhead<Source> {
        ReadAhead::new(Source { bytes: bytes.to_vec(), ..Source::default() })
    }

    /// Reads at most `wanted` bytes; `None` if the stream has none for now.
    fn read(reader: &mut ReadAhead<Source>, wanted: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![0; wanted];
        let mut buffer = ReadBuf::new(&mut buffer);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        match Pin::new(reader).poll_read(cx, &mut buffer) {
            Poll::Ready(result) => result.map(|()| Some(buffer.filled().to_vec())).unwrap(),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_body_is_read_in_large_pieces() {
        let body = body(2 * 1024 * 1024);
        let mut reader = reader(&body);
        let mut got = Vec::new();
        while let Some(bytes) = read(&mut reader, 16 * 1024) {
            got.extend(bytes);
        }
        assert!(got == body, "the bytes changed");
        assert!(reader.stream.reads < 20, "{} reads of 2 MiB", reader.stream.reads);
    }

    #[test]
    fn a_stream_from_which_nothing_comes_keeps_no_memory() {
        let mut reader = reader(&body(1024 * 1024));
        while read(&mut reader, 16 * 1024).is_some() {}
        assert_eq!(reader.ahead.capacity(), 0);
    }

    #[test]
    fn nothing_is_read_ahead_of_small_messages() {
        let mut reader = reader(&body(1000));
        for _ in 0..5 {
            assert_eq!(read(&mut reader, 4096).map(|bytes| bytes.len()), Some(1000));
            reader.stream.bytes.extend(body(1000));
        }
        assert_eq!(reader.stream.at, 5000);
        assert_eq!(reader.ahead.capacity(), 0);
    }

    /// After a body, the next message is read into memory once more, and then the memory goes.
    #[test]
    fn a_small_message_after_a_body_ends_the_reading_ahead() {
        let mut reader = reader(&body(1024 * 1024));
        while read(&mut reader, 16 * 1024).is_some() {}
        reader.stream.bytes.extend(body(1000));
        assert_eq!(read(&mut reader, 600).map(|bytes| bytes.len()), Some(600));
        assert_eq!(read(&mut reader, 600).map(|bytes| bytes.len()), Some(400));
        assert_eq!(reader.ahead.capacity(), 0);
        assert!(!reader.body_comes());
    }

    #[test]
    fn the_end_comes_after_all_bytes() {
        let body = body(300 * 1024);
        let mut reader = reader(&body);
        reader.stream.ends = true;
        let mut got = Vec::new();
        while let Some(bytes @ [_, ..]) = read(&mut reader, 16 * 1024).as_deref() {
            got.extend_from_slice(bytes);
        }
        assert!(got == body);
        assert_eq!(read(&mut reader, 1), Some(Vec::new()));
    }

    #[tokio::test]
    async fn the_first_byte_is_read_again() {
        let mut reader = reader(b"hello");
        assert_eq!(reader.first_byte().await.unwrap(), Some(b'h'));
        assert_eq!(reader.first_byte().await.unwrap(), Some(b'h'));
        assert_eq!(read(&mut reader, 2).unwrap(), b"he");
        assert_eq!(read(&mut reader, 9).unwrap(), b"llo");
        assert_eq!((reader.stream.reads, reader.ahead.capacity()), (1, 0));
    }
}
