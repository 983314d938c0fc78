//! The task that sends spans to the collector. The queue in front of it is bounded: a collector
//! that is slow or away costs spans, and never a request.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::otlp;
use super::span::Span;
use crate::http_client::{HttpClient, HttpServer};
use crate::log_throttle::LogThrottle;
use crate::terminal::printable;

/// The largest number of requests and questions whose spans wait.
const MAX_WAITING: usize = 1024;

/// The number of spans after which a batch is sent without waiting for more.
const BATCH_SPANS: usize = 512;

/// The time for which spans are collected before they are sent together.
const GATHER: Duration = Duration::from_secs(1);

/// The time between a batch that the collector did not take and the next one, unless the collector
/// names a longer time.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The largest part of a collector's message in a log line, in characters.
const MOST_SHOWN: usize = 200;

/// The way to the task that sends spans.
pub(super) struct Exporter {
    queue: mpsc::Sender<Queued>,
    overflowed: Arc<AtomicU64>,
    seen: Arc<Mutex<CollectorSeen>>,
}

/// The state of the collector as operators see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectorSeen {
    /// The time since which the collector takes no spans; `None` if it took the last batch.
    pub failing_since: Option<SystemTime>,
    /// The last time at which it did not take a batch, and why.
    pub failed: Option<(SystemTime, String)>,
    /// The number of spans that were lost.
    pub lost: u64,
}

enum Queued {
    Spans(Vec<Span>),
    /// Everything before is sent, and then this is told.
    Flush(oneshot::Sender<()>),
}

/// The task's own state.
struct Sending {
    client: HttpClient,
    url: String,
    /// The spans that found no room in the queue.
    overflowed: Arc<AtomicU64>,
    /// The spans that were lost and that the log does not tell of yet.
    untold: u64,
    throttle: LogThrottle,
    seen: Arc<Mutex<CollectorSeen>>,
}

/// The reason why the collector did not take a batch.
struct NotTaken {
    why: String,
    pause: Duration,
}

impl Exporter {
    /// Starts the task.
    ///
    /// # Errors
    /// If the system's certificate authorities are needed and cannot be read.
    pub(super) fn start(collector: &HttpServer, runtime: &Handle) -> io::Result<Self> {
        let (queue, messages) = mpsc::channel(MAX_WAITING);
        let overflowed = Arc::<AtomicU64>::default();
        let seen = Arc::<Mutex<CollectorSeen>>::default();
        let sending = Sending {
            client: HttpClient::for_server(collector)?,
            url: collector.endpoint.url(),
            overflowed: overflowed.clone(),
            untold: 0,
            throttle: LogThrottle::default(),
            seen: seen.clone(),
        };
        runtime.spawn(sending.run(messages));
        Ok(Self { queue, overflowed, seen })
    }

    /// Returns the state of the collector.
    pub(super) fn seen(&self) -> CollectorSeen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes spans to send. If too many wait, they are lost and counted. This never waits.
    pub(super) fn take(&self, spans: Vec<Span>) {
        let lost = match self.queue.try_send(Queued::Spans(spans)) {
            Ok(()) => return,
            Err(error) => error.into_inner(),
        };
        if let Queued::Spans(spans) = lost {
            self.overflowed.fetch_add(count(&spans), Ordering::Relaxed);
        }
    }

    /// Waits until the spans that were taken before are sent, or for `limit`.
    pub(super) async fn flush(&self, limit: Duration) {
        let (done, sent) = oneshot::channel();
        let flushed = async {
            // Both fail only if the task has ended.
            let _ = self.queue.send(Queued::Flush(done)).await;
            let _ = sent.await;
        };
        if timeout(limit, flushed).await.is_err() {
            tracing::warn!("the collector did not take the last spans within {limit:?}");
        }
    }
}

impl Sending {
    async fn run(mut self, mut messages: mpsc::Receiver<Queued>) {
        while let Some(first) = messages.recv().await {
            let deadline = Instant::now() + GATHER;
            let (mut batch, mut done) = (Vec::new(), None);
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Queued::Spans(spans) => batch.extend(spans),
                    Queued::Flush(flushed) => done = Some(flushed),
                }
                next = if done.is_some() || batch.len() >= BATCH_SPANS {
                    None
                } else {
                    timeout_at(deadline, messages.recv()).await.ok().flatten()
                };
            }
            let pause = self.send(batch).await;
            if let Some(done) = done {
                let _ = done.send(());
            }
            if let Some(pause) = pause {
                sleep(pause).await;
            }
        }
        self.tell_lost("the queue was full");
    }

    /// Sends a batch. Returns how long to wait with the next one, if the collector did not take it.
    async fn send(&mut self, batch: Vec<Span>) -> Option<Duration> {
        let overflowed = self.overflowed.swap(0, Ordering::Relaxed);
        if overflowed > 0 {
            self.lost(overflowed, &"spans come faster than the collector takes them");
        }
        if batch.is_empty() {
            return None;
        }
        let spans = count(&batch);
        match self.post(otlp::encode(batch)).await {
            Ok(response) => {
                if let Some((rejected, message)) = otlp::rejected(&response) {
                    let message: String = message.chars().take(MOST_SHOWN).collect();
                    let why = format!("it rejected some: {}", printable(&message));
                    self.lost(rejected.min(spans), &why);
                }
                if self.see(|seen| seen.failing_since.take()).is_some() {
                    self.tell_lost("it did not answer before");
                    tracing::info!(collector = self.url, "the collector takes spans again");
                }
                None
            }
            Err(NotTaken { why, pause }) => {
                let now = SystemTime::now();
                self.see(|seen| {
                    seen.failing_since.get_or_insert(now);
                    seen.failed = Some((now, printable(&why).into_owned()));
                });
                self.lost(spans, &why);
                Some(pause)
            }
        }
    }

    /// Sends the body of a request, and returns that of the response.
    async fn post(&self, body: Vec<u8>) -> Result<Bytes, NotTaken> {
        let not_taken = |why: String| NotTaken { why, pause: PAUSE };
        let request = Request::post(&self.url)
            .header(header::CONTENT_TYPE, HeaderValue::from_static(otlp::MEDIA_TYPE))
            .body(Full::from(body))
            .map_err(|error| not_taken(error.to_string()))?;
        let reply = self.client.ask(request).await;
        let reply = reply.map_err(|error| not_taken(error.to_string()))?;
        match reply.status {
            status if status.is_success() => Ok(reply.body),
            // The statuses after which OTLP lets a client send again.
            status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                let pause = reply.retry_after().clamp(PAUSE, LONGEST_PAUSE);
                Err(NotTaken { why: answered(status), pause })
            }
            status => Err(not_taken(answered(status))),
        }
    }

    /// Counts lost spans, and reports them, with one line in ten seconds.
    fn lost(&mut self, spans: u64, why: &dyn fmt::Display) {
        self.untold = self.untold.saturating_add(spans);
        self.see(|seen| seen.lost = seen.lost.saturating_add(spans));
        if self.throttle.line(&"lost", Instant::now().into_std()).is_some() {
            self.tell_lost(why);
        }
    }

    fn see<T>(&self, change: impl FnOnce(&mut CollectorSeen) -> T) -> T {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell_lost(&mut self, why: impl fmt::Display) {
        let spans_lost = std::mem::take(&mut self.untold);
        if spans_lost > 0 {
            tracing::warn!(
                spans_lost,
                collector = self.url,
                "the collector does not take spans: {why}"
            );
        }
    }
}

fn answered(status: StatusCode) -> String {
    format!("it answered {}", status.as_u16())
}

fn count(spans: &[Span]) -> u64 {
    u64::try_from(spans.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::endpoint::Endpoint;
    use crate::telemetry::request_trace::RequestTrace;
    use crate::telemetry::trace_context::{SpanId, TraceId};
    use crate::telemetry::{ServerAddress, Tracer};

    /// The task does not run before the test waits, so the queue has to hold everything.
    #[tokio::test]
    async fn what_the_queue_cannot_hold_is_counted_and_lost() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint {
            https: false,
            host: "127.0.0.1".into(),
            port: silent.local_addr().unwrap().port(),
            path: String::new(),
            roots: None,
        };
        let collector = HttpServer { endpoint, timeout: Duration::from_secs(60) };
        let exporter = Exporter::start(&collector, &Handle::current()).unwrap();
        let overflowed = exporter.overflowed.clone();
        let address = ServerAddress { scheme: "http", host: "gate".into(), port: 80 };
        let tracer = Arc::new(Tracer { sample: 1.0, address, exporter });
        let requests = MAX_WAITING as u64 + 100;
        for _ in 0..requests {
            let (trace, span, tracer) = (TraceId::random(), SpanId::random(), tracer.clone());
            let trace = RequestTrace::new(trace, span, None, Some(tracer), "1.1");
            let clock = crate::telemetry::TraceClock {
                time: std::time::SystemTime::now(),
                instant: std::time::Instant::now(),
            };
            trace.finish(clock, None, |_| Vec::new());
        }
        assert_eq!(overflowed.load(Ordering::Relaxed), 100);
    }
}
