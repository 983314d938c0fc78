//! HTTP/2 streams, each with its own deadline. At a zero window hyper polls neither the response
//! body nor any other code of the gate, so only a wrapper around the whole stream can end it.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::deadlines::{Deadlines, TICK};
use crate::body::Progress;

/// An executor that runs HTTP/2 streams on the worker's own thread.
#[derive(Clone)]
pub(super) struct StreamExecutor(pub(super) Rc<Deadlines>);

impl<F: Future + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        // Tokio copies the task several times when it spawns it.
        #[cfg(test)]
        const {
            assert!(size_of::<GuardedStream<F>>() <= 384, "the task of a stream has grown");
        }
        let progress = self.0.open_stream();
        let tick = self.0.settings().stall_timeout.min(TICK);
        let open = OpenStream { deadlines: self.0.clone(), progress };
        tokio::task::spawn_local(GuardedStream {
            stream: Some(stream),
            timer: tokio::time::sleep(tick),
            open,
        });
    }
}

/// A guard that counts a stream as open until its task ends. It marks the request as cut off if the
/// request has not ended by then.
struct OpenStream {
    deadlines: Rc<Deadlines>,
    progress: Option<Rc<Progress>>,
}

impl OpenStream {
    fn cut(&self) {
        if let Some(progress) = &self.progress {
            progress.cut();
        }
    }

    /// Returns two times: the one at which the client has stalled for too long, and the one at
    /// which the gate stops waiting for a client that sent GOAWAY. Each is `None` if the gate is
    /// not waiting.
    fn deadlines(&self) -> [Option<Instant>; 2] {
        let Some(progress) = &self.progress else { return [None; 2] };
        let stalls = progress.stalls_at(self.deadlines.settings().stall_timeout);
        [stalls, self.deadlines.leaves_at(progress.window_awaited_since())]
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.cut();
        if let Some(progress) = &self.progress {
            progress.end();
        }
        self.deadlines.close_stream();
    }
}

pin_project! {
    struct GuardedStream<F> {
        // Dropped first, so that its request is marked before the bodies in `stream` are dropped.
        open: OpenStream,
        #[pin]
        timer: Sleep,
        // `None` when the stream is done: the last piece of the response is queued, where the
        // client's window may hold it up for ever, or the client has reset the stream. The stream
        // must be dropped then, because hyper leaves a piece of the body in it, and with the body
        // the connection to the registry.
        #[pin]
        stream: Option<F>,
    }
}

impl<F: Future> Future for GuardedStream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if let Some(stream) = this.stream.as_mut().as_pin_mut()
            && stream.poll(cx).is_ready()
        {
            this.open.cut();
            this.stream.set(None);
        }
        let progress = this.open.progress.as_ref();
        if this.stream.is_none()
            && progress.is_none_or(|progress| progress.poll_sent(cx).is_ready())
        {
            return Poll::Ready(());
        }
        while this.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let [stalls, leaves] = this.open.deadlines();
            let deadline = stalls.into_iter().chain(leaves).min();
            if deadline.is_some_and(|deadline| deadline <= now) {
                if let Some(progress) =
                    progress.filter(|_| stalls.is_some_and(|stalls| stalls <= now))
                {
                    progress.set_stalled();
                }
                // A stream that has ended on the gate's side cannot be reset any more, but its
                // connection can be closed.
                if this.stream.is_none() {
                    this.open.deadlines.stall_tail();
                }
                return Poll::Ready(());
            }
            let tick = now + this.open.deadlines.settings().stall_timeout.min(TICK);
            this.timer.as_mut().reset(deadline.unwrap_or(tick).min(tick).into());
        }
        Poll::Pending
    }
}
