//! A client that sends fixed bytes, on the thread of the gate. It does almost no work for a
//! request, so that nearly all counted instructions belong to the gate.

mod http1;
mod http2;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use http2::Frames;

/// The protocol between the client and the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// The client's end of a connection.
pub struct Client {
    protocol: Protocol,
    /// The bytes that the gate has not read yet.
    sent: RefCell<Vec<u8>>,
    /// The waker of the gate, if it waits for bytes.
    gate: Cell<Option<Waker>>,
    /// The waker of the task that waits for an answer.
    waiting: Cell<Option<Waker>>,
    answered: Cell<u64>,
    frames: RefCell<Frames>,
}

/// The gate's end of a connection.
pub struct Stream(Rc<Client>);

impl Client {
    /// Opens a connection.
    pub fn connect(protocol: Protocol) -> (Rc<Self>, Stream) {
        let sent = if protocol == Protocol::Http2 { http2::preface() } else { Vec::new() };
        let client = Rc::new(Self {
            protocol,
            sent: RefCell::new(sent),
            gate: Cell::default(),
            waiting: Cell::default(),
            answered: Cell::new(0),
            frames: RefCell::new(Frames::new()),
        });
        (client.clone(), Stream(client))
    }

    /// Sends `requests` requests, each after the answer to the one before.
    pub async fn ask(&self, requests: u64) {
        for _ in 0..requests {
            let answered = self.answered.get();
            self.send_request();
            poll_fn(|cx| {
                if self.answered.get() > answered {
                    return Poll::Ready(());
                }
                self.waiting.set(Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
        }
    }

    fn send_request(&self) {
        match self.protocol {
            Protocol::Http1 => self.sent.borrow_mut().extend_from_slice(http1::REQUEST.as_bytes()),
            Protocol::Http2 => self.frames.borrow_mut().request(&mut self.sent.borrow_mut()),
        }
        wake(&self.gate);
    }

    /// Receives the bytes that the gate writes.
    fn receive(&self, bytes: &[u8]) {
        let answer_ends = match self.protocol {
            Protocol::Http1 => http1::answer_ends(bytes),
            Protocol::Http2 => self.frames.borrow_mut().receive(bytes, &mut self.sent.borrow_mut()),
        };
        if answer_ends {
            self.answered.set(self.answered.get() + 1);
            wake(&self.waiting);
        }
    }
}

fn wake(waker: &Cell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut sent = self.0.sent.borrow_mut();
        if sent.is_empty() {
            self.0.gate.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        let count = sent.len().min(buffer.remaining());
        buffer.put_slice(&sent[..count]);
        sent.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.receive(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        slices.iter().for_each(|slice| self.0.receive(slice));
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
