use std::task::Waker;

use tokio::io::AsyncWriteExt as _;

use super::*;

/// A stream from which nothing comes, and whose writes are kept apart.
#[derive(Default)]
struct Socket {
    writes: Vec<Vec<u8>>,
    /// The largest number of bytes that one write takes.
    takes: usize,
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let taken = &all[..all.len().min(self.takes)];
        self.writes.push(taken.to_vec());
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn stream() -> HeldWrites<Socket> {
    HeldWrites::during_handshake(Socket { takes: usize::MAX, ..Socket::default() })
}

fn wait_for_bytes(stream: &mut HeldWrites<Socket>) {
    let mut buffer = [0];
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(Pin::new(stream).poll_read(cx, &mut ReadBuf::new(&mut buffer)).is_pending());
}

#[tokio::test]
async fn a_flight_is_sent_once_the_other_side_is_waited_for() {
    let mut stream = stream();
    stream.write_all(b"server").await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.flush().await.unwrap();
    assert!(stream.stream.writes.is_empty());
    wait_for_bytes(&mut stream);
    wait_for_bytes(&mut stream);
    assert_eq!(stream.stream.writes, [b"serverhello"]);
}

#[tokio::test]
async fn a_ticket_is_sent_with_the_next_write() {
    let mut stream = stream();
    stream.write_all(b"ticket ").await.unwrap();
    stream.hold_until_write();
    stream.flush().await.unwrap();
    wait_for_bytes(&mut stream);
    assert!(stream.stream.writes.is_empty());
    stream.write_all(b"response").await.unwrap();
    stream.write_all(b"more").await.unwrap();
    assert_eq!(stream.stream.writes, [&b"ticket response"[..], b"more"]);
}

#[tokio::test]
async fn a_ticket_without_a_response_is_sent_at_the_end() {
    let mut stream = stream();
    stream.write_all(b"ticket").await.unwrap();
    stream.hold_until_write();
    stream.shutdown().await.unwrap();
    assert_eq!(stream.stream.writes, [b"ticket"]);
}

#[tokio::test]
async fn released_bytes_are_sent_with_the_next_flush() {
    let mut stream = stream();
    stream.write_all(b"alert").await.unwrap();
    stream.release();
    stream.flush().await.unwrap();
    assert_eq!(stream.stream.writes, [b"alert"]);
}

#[tokio::test]
async fn no_byte_is_lost_or_doubled_by_short_writes() {
    for takes in 1..12 {
        let mut stream = stream();
        stream.stream.takes = takes;
        stream.write_all(b"ticket").await.unwrap();
        stream.hold_until_write();
        stream.write_all(b"abc").await.unwrap();
        stream.write_all(b"defg").await.unwrap();
        assert_eq!(stream.stream.writes.concat(), b"ticketabcdefg", "{takes} bytes a write");
    }
}
