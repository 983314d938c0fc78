//! What goes out of a [`TurnBuffer`], in which writes and at which time.

use std::task::Waker;

use super::*;

/// A socket that takes as many bytes as it has room for.
#[derive(Default)]
struct Socket {
    room: usize,
    taken: Vec<u8>,
    /// Each write: its slices, by address and length.
    writes: Vec<Vec<(*const u8, usize)>>,
    flushes: usize,
    shut: bool,
    broken: bool,
    /// `true` if the last write or flush had to wait.
    blocked: bool,
    /// The number of bytes that it gathers at most before a flush.
    gathers: usize,
    gathered: Vec<u8>,
    most_gathered: usize,
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
        _cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.send_gathered());
        self.blocked = self.room == 0;
        if self.blocked {
            return Poll::Pending;
        }
        self.writes.push(slices.iter().map(|slice| (slice.as_ptr(), slice.len())).collect());
        let before = self.taken.len();
        for slice in slices {
            let count = slice.len().min(self.room);
            self.taken.extend_from_slice(&slice[..count]);
            self.room -= count;
        }
        Poll::Ready(Ok(self.taken.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_gathered());
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut = true;
        Poll::Ready(Ok(()))
    }
}

impl Gather for Socket {
    fn poll_gather(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.gathers == 0 || self.broken {
            return self.poll_write_vectored(cx, slices);
        }
        let mut gathered = 0;
        for slice in slices {
            let count = slice.len().min(self.gathers - self.gathered.len());
            self.gathered.extend_from_slice(&slice[..count]);
            gathered += count;
        }
        self.most_gathered = self.most_gathered.max(self.gathered.len());
        if gathered == 0 {
            // Nothing wakes the writer.
            self.blocked = false;
            return Poll::Pending;
        }
        Poll::Ready(Ok(gathered))
    }
}

impl Socket {
    fn send_gathered(&mut self) -> Poll<()> {
        let count = self.gathered.len().min(self.room);
        self.room -= count;
        self.taken.extend(self.gathered.drain(..count));
        self.blocked = !self.gathered.is_empty();
        if self.blocked { Poll::Pending } else { Poll::Ready(()) }
    }
}

fn with_room(room: usize) -> TurnBuffer<Socket> {
    TurnBuffer::new(Socket { room, ..Socket::default() })
}

fn write(stream: &mut TurnBuffer<Socket>, slices: &[&[u8]]) -> Poll<io::Result<usize>> {
    let slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
    Pin::new(stream).poll_write_vectored(&mut Context::from_waker(Waker::noop()), &slices)
}

/// Writes like HTTP/2, which flushes after each write.
fn write_whole(stream: &mut TurnBuffer<Socket>, slices: &[&[u8]]) {
    let length: usize = slices.iter().map(|slice| slice.len()).sum();
    assert!(matches!(write(stream, slices), Poll::Ready(Ok(count)) if count == length));
    let flushed = Pin::new(stream).poll_flush(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(flushed, Poll::Ready(Ok(()))));
}

fn send(stream: &mut TurnBuffer<Socket>) -> Poll<io::Result<()>> {
    stream.poll_send(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn small_writes_go_out_in_one_write_at_the_end_of_the_turn() {
    let mut stream = with_room(usize::MAX);
    for _ in 0..8 {
        write_whole(&mut stream, &[b"head", &[b'x'; 3000]]);
    }
    assert_eq!((stream.stream.writes.len(), stream.stream.flushes), (0, 0));
    assert!(send(&mut stream).is_ready());
    assert_eq!(stream.stream.taken, [b"head", &[b'x'; 3000][..]].concat().repeat(8));
    assert_eq!((stream.stream.writes.len(), stream.stream.flushes), (1, 1));
}

#[test]
fn a_stream_without_bytes_to_send_has_no_buffer_and_is_not_flushed() {
    let mut stream = with_room(usize::MAX);
    assert!(send(&mut stream).is_ready());
    assert_eq!((stream.waiting.capacity(), stream.stream.flushes), (0, 0));
    write_whole(&mut stream, &[b"head"]);
    assert_eq!(stream.waiting.capacity(), BUFFER_BYTES);
    assert!(send(&mut stream).is_ready() && send(&mut stream).is_ready());
    assert_eq!((stream.waiting.capacity(), stream.stream.flushes), (0, 1));
}

#[test]
fn a_large_write_goes_out_at_once_behind_what_waits_and_is_not_copied() {
    let body = vec![b'x'; UNCOPIED_BYTES];
    let mut stream = with_room(usize::MAX);
    write_whole(&mut stream, &[b"first"]);
    write_whole(&mut stream, &[b"head", &body]);
    assert_eq!(stream.stream.taken, [b"first", &b"head"[..], &body].concat());
    let [slices] = &stream.stream.writes[..] else { panic!("{:?}", stream.stream.writes) };
    assert_eq!(slices.last(), Some(&(body.as_ptr(), body.len())));
    assert_eq!(stream.waiting.capacity(), 0);

    write_whole(&mut stream, &[&body]);
    assert_eq!(stream.stream.writes[1], [(body.as_ptr(), body.len())]);
    // What was written past the buffer is flushed too.
    assert_eq!(stream.stream.flushes, 0);
    assert!(send(&mut stream).is_ready());
    assert_eq!(stream.stream.flushes, 1);
}

#[test]
fn large_writes_of_a_turn_go_out_together() {
    let body = vec![b'x'; GATHERED_BYTES / 4];
    let mut stream = with_room(usize::MAX);
    stream.stream.gathers = 2 * GATHERED_BYTES;
    for _ in 0..4 {
        write_whole(&mut stream, &[&body]);
    }
    assert_eq!((stream.stream.taken.len(), stream.stream.flushes), (0, 0));
    write_whole(&mut stream, &[&body]);
    assert_eq!((stream.stream.taken.len(), stream.stream.flushes), (GATHERED_BYTES, 1));
    assert!(send(&mut stream).is_ready());
    assert_eq!((stream.stream.taken.len(), stream.stream.flushes), (5 * body.len(), 2));
}

#[test]
fn a_socket_without_room_holds_up_writes_only_when_the_buffer_is_full() {
    let piece = [b'x'; 1024];
    let mut stream = with_room(0);
    for _ in 0..BUFFER_BYTES / piece.len() {
        write_whole(&mut stream, &[&piece]);
        assert!(send(&mut stream).is_pending());
    }
    stream.stream.blocked = false;
    assert!(write(&mut stream, &[b"x"]).is_pending());
    assert!(stream.stream.blocked, "nothing wakes the writer");
    stream.stream.room = 10;
    write_whole(&mut stream, &[b"x"]);
    assert!(send(&mut stream).is_pending());
    stream.stream.room = usize::MAX;
    assert!(send(&mut stream).is_ready());
    assert_eq!(stream.stream.taken, [b'x'; BUFFER_BYTES + 1]);
}

#[test]
fn a_shutdown_first_sends_what_waits() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut stream = with_room(2);
    write_whole(&mut stream, &[b"last"]);
    assert!(Pin::new(&mut stream).poll_shutdown(&mut cx).is_pending());
    assert!(!stream.stream.shut);
    stream.stream.room = 2;
    assert!(Pin::new(&mut stream).poll_shutdown(&mut cx).is_ready());
    assert_eq!((&stream.stream.taken[..], stream.stream.shut), (&b"last"[..], true));
}

#[test]
fn a_write_that_fails_is_reported() {
    let broken = || TurnBuffer::new(Socket { broken: true, ..Socket::default() });
    let mut stream = broken();
    assert!(matches!(write(&mut stream, &[&[0; UNCOPIED_BYTES]]), Poll::Ready(Err(_))));
    let mut stream = broken();
    write_whole(&mut stream, &[b"head"]);
    assert!(matches!(write(&mut stream, &[&[0; UNCOPIED_BYTES]]), Poll::Ready(Err(_))));
    assert!(matches!(send(&mut stream), Poll::Ready(Err(_))));
    let shut = Pin::new(&mut stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(shut, Poll::Ready(Err(_))));
}

/// Writes of all sizes to a socket that takes any number of bytes at any time.
#[test]
fn no_byte_is_lost_doubled_or_reordered() {
    let sizes = [0, 1, 9, 255, 3000, UNCOPIED_BYTES - 1, UNCOPIED_BYTES, 16_393, 70_000];
    for seed in 0..30 {
        let mut random = fastrand::Rng::with_seed(seed as u64);
        let mut stream = with_room(0);
        stream.stream.gathers = [0, 3 * GATHERED_BYTES, 20_000][seed % 3];
        let mut expected = Vec::new();
        for _ in 0..100 {
            let (head, body) = (random.usize(..sizes.len()), random.usize(..sizes.len()));
            let mut bytes = vec![0; sizes[head] + sizes[body]];
            random.fill(&mut bytes);
            stream.stream.room = random.usize(..40_000);
            match write(&mut stream, &[&bytes[..sizes[head]], &bytes[sizes[head]..]]) {
                Poll::Ready(count) => {
                    let count = count.unwrap();
                    assert!(count > 0 || bytes.is_empty());
                    expected.extend_from_slice(&bytes[..count]);
                }
                Poll::Pending => assert!(stream.stream.blocked, "nothing wakes the writer"),
            }
            if random.bool() {
                match send(&mut stream) {
                    Poll::Ready(sent) => sent.unwrap(),
                    Poll::Pending => assert!(stream.stream.blocked, "nothing wakes the writer"),
                }
            }
            assert!(stream.waiting.capacity() <= BUFFER_BYTES);
            assert!(stream.stream.most_gathered <= GATHERED_BYTES + BUFFER_BYTES + 100_000);
        }
        stream.stream.room = usize::MAX;
        assert!(send(&mut stream).is_ready());
        assert!(stream.stream.taken == expected, "seed {seed}");
    }
}
