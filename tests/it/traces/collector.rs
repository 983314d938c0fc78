//! A stand-in for a collector: it answers OTLP over HTTP with the bytes of a test, and decodes what
//! it receives.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::canary;
use crate::harness::listener;
use crate::scripted_upstream::{Head, soon};

/// An answer of a collector that takes everything.
pub const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// A collector.
pub struct Collector {
    address: SocketAddr,
    batches: mpsc::UnboundedReceiver<Batch>,
    answer: Arc<Mutex<Vec<u8>>>,
    received: Vec<Span>,
}

/// A request of the gate.
pub struct Batch {
    pub head: Head,
    pub request: ExportTraceServiceRequest,
}

impl Collector {
    /// Starts a collector that takes everything.
    pub fn start() -> Self {
        let listener = listener();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let (sender, batches) = mpsc::unbounded_channel();
        let answer = Arc::new(Mutex::new(TAKEN.to_vec()));
        let answers = answer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, sender.clone(), answers.clone()));
            }
        });
        Self { address, batches, answer, received: Vec::new() }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the answer to later requests. An empty one: the collector keeps the gate waiting.
    pub fn answers(&self, answer: impl Into<Vec<u8>>) {
        *self.answer.lock().unwrap() = answer.into();
    }

    /// Waits for a request.
    pub async fn batch(&mut self) -> Batch {
        soon(self.batches.recv()).await.unwrap()
    }

    /// Waits for the spans of a request of a client: the one with this id and its children. Returns
    /// the request's span first, and its children in the order in which they began.
    pub async fn trace(&mut self, request_id: &str) -> Vec<Span> {
        let is_request = |span: &Span| {
            span.name == "request" && text(span, "moorgate.request_id") == Some(request_id)
        };
        loop {
            if let Some(request) = self.received.iter().find(|span| is_request(span)) {
                let is_child = |span: &&Span| {
                    span.trace_id == request.trace_id && span.parent_span_id == request.span_id
                };
                let mut spans: Vec<_> = self.received.iter().filter(is_child).cloned().collect();
                spans.sort_by_key(|span| span.start_time_unix_nano);
                spans.insert(0, request.clone());
                return spans;
            }
            let batch = self.batch().await;
            self.received.extend(batch.spans());
        }
    }

    /// Returns the requests that have arrived, without waiting.
    pub fn arrived(&mut self) -> Vec<Batch> {
        std::iter::from_fn(|| self.batches.try_recv().ok()).collect()
    }
}

impl Batch {
    pub fn spans(&self) -> Vec<Span> {
        let scopes = self.request.resource_spans.iter().flat_map(|of| &of.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

/// Answers requests, on a connection that stays open.
async fn serve(
    mut stream: TcpStream,
    sender: mpsc::UnboundedSender<Batch>,
    answer: Arc<Mutex<Vec<u8>>>,
) {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = Head(String::from_utf8(bytes.drain(..end).collect()).unwrap());
        let length: usize = head.header("content-length").unwrap().parse().unwrap();
        while bytes.len() < length {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body: Vec<u8> = bytes.drain(..length).collect();
        canary::search("a span", &body);
        let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
        let answer = answer.lock().unwrap().clone();
        let _ = sender.send(Batch { head, request });
        // The gate may leave before it has read a long answer.
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Returns the words of all attributes: text as it is, and numbers in decimal.
pub fn attributes(pairs: &[KeyValue]) -> Vec<(String, String)> {
    let word = |value: &Option<AnyValue>| match value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    pairs.iter().map(|pair| (pair.key.clone(), word(&pair.value))).collect()
}

/// Returns an attribute that is a text.
pub fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let pair = span.attributes.iter().find(|pair| pair.key == key)?;
    match pair.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Returns the names of spans.
pub fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

/// Returns an id in hexadecimal digits.
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
