//! A stream that records when it last made progress.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The record of a socket's traffic.
#[derive(Debug, Default)]
pub struct IoStatus {
    write_blocked: Cell<Option<Instant>>,
    unblocked: Cell<Option<Instant>>,
    first_read: Cell<Option<Instant>>,
    last_read: Cell<Option<Instant>>,
    budget: Cell<Option<usize>>,
    reading_decides: Cell<bool>,
    reset_on_close: Cell<bool>,
}

impl IoStatus {
    /// Returns the time since which the other side has taken nothing of what is to be written.
    pub fn write_blocked(&self) -> Option<Instant> {
        self.write_blocked.get()
    }

    /// Returns the time at which the other side last took bytes after a blocked write.
    pub fn unblocked(&self) -> Option<Instant> {
        self.unblocked.get()
    }

    /// Returns the time at which the first byte since [`mark`](Self::mark) came.
    pub fn first_read(&self) -> Option<Instant> {
        self.first_read.get()
    }

    /// Returns the time at which the last byte came.
    pub fn last_read(&self) -> Option<Instant> {
        self.last_read.get()
    }

    /// Forgets the first byte that was read so far.
    pub fn mark(&self) {
        self.first_read.set(None);
    }

    /// Sets the time of the first byte since [`mark`](Self::mark) to now. The byte was read
    /// earlier, when it did not count.
    pub fn begin_reading(&self) {
        self.first_read.set(Some(Instant::now()));
    }

    /// Sets whether a close looks like a broken connection to the other side. The setting applies
    /// from the next write on, or at the end if nothing more is written. A TCP connection is reset
    /// then, even if the process ends.
    pub fn reset_on_close(&self, reset: bool) {
        self.reset_on_close.set(reset);
    }

    /// Sets the number of bytes that may still come before the socket fails. `None` removes the
    /// limit.
    pub fn limit_reading(&self, bytes: Option<usize>) {
        self.budget.set(bytes);
    }

    /// Makes each write that fails from now on wait instead. The bytes that the other side sent
    /// before it left can still be read, and the end of the stream after them reports the failure.
    pub fn let_reading_decide(&self) {
        self.reading_decides.set(true);
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let result = match result {
            Poll::Ready(Err(_)) if self.reading_decides.get() => Poll::Pending,
            result => result,
        };
        match result {
            Poll::Ready(_) => {
                if self.write_blocked.take().is_some() {
                    self.unblocked.set(Some(Instant::now()));
                }
            }
            Poll::Pending if self.write_blocked.get().is_none() => {
                self.write_blocked.set(Some(Instant::now()))
            }
            Poll::Pending => {}
        }
        result
    }

    fn read(&self, bytes: usize) {
        if bytes > 0 {
            let now = Instant::now();
            self.last_read.set(Some(now));
            if self.first_read.get().is_none() {
                self.first_read.set(Some(now));
            }
        }
        self.budget.set(self.budget.get().map(|budget| budget.saturating_sub(bytes)));
    }
}

/// A socket whose traffic is recorded.
pub struct MonitoredIo<S> {
    socket: S,
    traffic: Rc<IoStatus>,
    set_reset: fn(&S, bool),
    resets: bool,
}

impl<S> MonitoredIo<S> {
    /// Creates the wrapper of a socket or of another stream.
    pub fn new(socket: S, traffic: Rc<IoStatus>) -> Self {
        Self { socket, traffic, set_reset: |_, _| {}, resets: false }
    }

    fn apply_reset(&mut self) {
        let reset = self.traffic.reset_on_close.get();
        if self.resets != reset {
            self.resets = reset;
            (self.set_reset)(&self.socket, reset);
        }
    }
}

/// Applies the setting even if the connection broke off before anything was written.
impl<S> Drop for MonitoredIo<S> {
    fn drop(&mut self) {
        self.apply_reset();
    }
}

impl<S: AsFd> MonitoredIo<S> {
    /// Creates the wrapper of a TCP connection. The connection is reset instead of closed if
    /// [`reset_on_close`](IoStatus::reset_on_close) asks for it.
    pub fn tcp(socket: S, traffic: Rc<IoStatus>) -> Self {
        let set_reset = |socket: &S, reset: bool| {
            // The call fails only if the connection does not exist any more.
            let _ = SockRef::from(socket).set_linger(reset.then_some(Duration::ZERO));
        };
        Self { socket, traffic, set_reset, resets: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MonitoredIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = match self.traffic.budget.get() {
            Some(0) => {
                let error = io::Error::new(
                    io::ErrorKind::InvalidData,
                    "too many bytes before the end of a head",
                );
                return Poll::Ready(Err(error));
            }
            // The last read must not exceed the budget: it could bring the end of a head that is
            // too long.
            Some(budget) if budget < buffer.remaining() => {
                let mut limited = ReadBuf::new(buffer.initialize_unfilled_to(budget));
                let result = Pin::new(&mut self.socket).poll_read(cx, &mut limited);
                let read = limited.filled().len();
                buffer.advance(read);
                result
            }
            _ => Pin::new(&mut self.socket).poll_read(cx, buffer),
        };
        self.traffic.read(buffer.filled().len() - before);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MonitoredIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.apply_reset();
        let result = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.traffic.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.apply_reset();
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.traffic.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.apply_reset();
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn data_sent_before_the_peer_closed_is_read_after_a_failed_write() {
        let traffic = Rc::new(IoStatus::default());
        let (socket, mut other) = tokio::io::duplex(64);
        let mut socket = MonitoredIo::new(socket, traffic.clone());
        other.write_all(b"last words").await.unwrap();
        drop(other);
        assert!(socket.write_all(b"x").await.is_err());
        traffic.let_reading_decide();
        assert!(
            timeout(Duration::from_millis(20), socket.write_all(b"x")).await.is_err(),
            "writing failed"
        );
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "last words");
    }

    #[tokio::test]
    async fn no_read_goes_beyond_the_limit() {
        let traffic = Rc::new(IoStatus::default());
        let (socket, mut other) = tokio::io::duplex(64);
        let mut socket = MonitoredIo::new(socket, traffic.clone());
        other.write_all(b"0123456789").await.unwrap();
        traffic.limit_reading(Some(4));
        let mut buffer = [0; 64];
        assert_eq!(socket.read(&mut buffer).await.unwrap(), 4);
        assert_eq!(&buffer[..4], b"0123");
        assert_eq!(socket.read(&mut buffer).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        traffic.limit_reading(None);
        assert_eq!(socket.read(&mut buffer).await.unwrap(), 6);
    }
}
