//! A socket that tells since when it is stuck.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What is known of a socket's traffic.
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
    /// Since when the other side has taken nothing of what is to be written.
    pub fn write_blocked(&self) -> Option<Instant> {
        self.write_blocked.get()
    }

    /// When the other side last took something after it had taken nothing for a while.
    pub fn unblocked(&self) -> Option<Instant> {
        self.unblocked.get()
    }

    /// When the first byte came since [`mark`](Self::mark).
    pub fn first_read(&self) -> Option<Instant> {
        self.first_read.get()
    }

    /// When a byte last came.
    pub fn last_read(&self) -> Option<Instant> {
        self.last_read.get()
    }

    /// Forgets what was read so far.
    pub fn mark(&self) {
        self.first_read.set(None);
    }

    /// Has the first byte since [`mark`](Self::mark) come now: it was read earlier, when it did not
    /// count.
    pub fn begin_reading(&self) {
        self.first_read.set(Some(Instant::now()));
    }

    /// From the next write on, or where there is none at the end, has a close look like a break to
    /// the other side, or not any more. A TCP connection is reset then, also where the process
    /// ends.
    pub fn reset_on_close(&self, reset: bool) {
        self.reset_on_close.set(reset);
    }

    /// From here on at most so many bytes may come, or the socket fails; `None`: any number.
    pub fn limit_reading(&self, bytes: Option<usize>) {
        self.budget.set(bytes);
    }

    /// From here on a write that fails waits instead: what the other side said before it went is
    /// still to be read, and the end that is read behind it tells of the failure.
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

/// A socket whose traffic is watched.
pub struct MonitoredIo<S> {
    socket: S,
    traffic: Rc<IoStatus>,
    set_reset: fn(&S, bool),
    resets: bool,
}

impl<S> MonitoredIo<S> {
    /// Watches a socket, or what stands for one.
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

/// What broke off before anything was written is a break, too.
impl<S> Drop for MonitoredIo<S> {
    fn drop(&mut self) {
        self.apply_reset();
    }
}

impl MonitoredIo<TcpStream> {
    /// Watches a TCP connection, which is reset instead of closed where that is
    /// [wanted](IoStatus::reset_on_close).
    pub fn tcp(socket: TcpStream, traffic: Rc<IoStatus>) -> Self {
        let set_reset = |socket: &TcpStream, reset: bool| {
            // Where it fails there is no connection any more.
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
            // The last read must not overshoot: it could bring the end of a head that is too long.
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
    async fn what_was_said_before_the_end_is_read_although_writing_failed() {
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
