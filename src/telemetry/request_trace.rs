//! The trace of one request.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, StatusCode};

use super::Tracer;
use super::question_trace::QuestionTrace;
use super::span::{Span, SpanKind, TraceClock, Value};
use super::trace_context::{SpanId, TraceId, TraceParent};

/// The largest number of stages and of requests to the registry that a request has spans for. One
/// list of all repositories may take a hundred requests.
const MAX_CHILDREN: usize = 64;

/// The trace of one request. The registry is told of it even if the request is not sampled.
pub struct RequestTrace {
    trace: TraceId,
    span: SpanId,
    /// `true` if the trace is the client's.
    is_continued: bool,
    /// `None` if the request is not sampled.
    sampled: Option<Box<Sampled>>,
}

/// The part of a trace that only a sampled request has.
struct Sampled {
    tracer: Arc<Tracer>,
    parent: Option<SpanId>,
    protocol: &'static str,
    children: RefCell<Children>,
}

/// The children of the request's span, except for the questions to providers.
#[derive(Default)]
struct Children {
    ended: Vec<Child>,
    stage: Option<Child>,
    upstream: Option<Child>,
}

struct Child {
    name: &'static str,
    id: SpanId,
    kind: SpanKind,
    begun: Instant,
    ended: Instant,
    attributes: Vec<(&'static str, Value)>,
    is_error: bool,
}

/// The reason why a span is marked as failed: a word of the gate, or the status of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanError {
    Reason(&'static str),
    Status(StatusCode),
}

/// A request to the registry, as its span describes it. No text has a query.
#[derive(Debug)]
pub struct UpstreamRequest {
    pub method: Method,
    pub url: String,
    /// The host, IPv6 without brackets.
    pub host: String,
    pub port: u16,
}

impl RequestTrace {
    /// Creates the trace of a request. `tracer` takes its spans, if it is sampled.
    pub(super) fn new(
        trace: TraceId,
        span: SpanId,
        parent: Option<SpanId>,
        tracer: Option<Arc<Tracer>>,
        protocol: &'static str,
    ) -> Self {
        let sampled =
            tracer.map(|tracer| Sampled { tracer, parent, protocol, children: RefCell::default() });
        let is_continued = parent.is_some();
        Self { trace, span, is_continued, sampled: sampled.map(Box::new) }
    }

    /// Returns whether the trace is the client's.
    pub fn is_continued(&self) -> bool {
        self.is_continued
    }

    /// Returns whether the request is sampled.
    pub fn is_sampled(&self) -> bool {
        self.sampled.is_some()
    }

    /// Returns the `traceparent` of a request to the registry. It names the span of that request,
    /// or the gate's span of a request that is not sampled.
    pub fn header(&self) -> HeaderValue {
        let Some(sampled) = &self.sampled else {
            return TraceParent { trace: self.trace, span: self.span }.header(false);
        };
        let upstream = sampled.children.borrow().upstream.as_ref().map(|upstream| upstream.id);
        TraceParent { trace: self.trace, span: upstream.unwrap_or(self.span) }.header(true)
    }

    /// Returns the trace of questions to providers, if the request is sampled.
    pub fn of_questions(&self, clock: TraceClock) -> Option<Arc<QuestionTrace>> {
        let tracer = self.sampled.as_ref()?.tracer.clone();
        Some(Arc::new(QuestionTrace::new(tracer, self.trace, self.span, clock)))
    }

    /// Begins the span of a stage, and ends that of the stage before.
    pub fn stage_begins(&self, name: &'static str) {
        let Some(sampled) = &self.sampled else { return };
        let mut children = sampled.children.borrow_mut();
        children.stage_ends(None);
        children.stage = Some(Child::begin(name, SpanKind::Internal, Vec::new()));
    }

    /// Adds an attribute to the stage under way.
    pub fn note(&self, key: &'static str, value: impl Into<Value>) {
        let Some(sampled) = &self.sampled else { return };
        if let Some(stage) = &mut sampled.children.borrow_mut().stage {
            stage.attributes.push((key, value.into()));
        }
    }

    /// Ends the span of the stage under way, if there is one.
    pub fn stage_ends(&self, error: Option<SpanError>) {
        let Some(sampled) = &self.sampled else { return };
        sampled.children.borrow_mut().stage_ends(error);
    }

    /// Begins the span of a request to the registry. The one before has ended. `describe` is called
    /// only if the request is sampled.
    pub fn upstream_begins(&self, describe: impl FnOnce() -> UpstreamRequest) {
        let Some(sampled) = &self.sampled else { return };
        let UpstreamRequest { method, url, host, port } = describe();
        let attributes = vec![
            ("http.request.method", Value::from(method.as_str().to_owned())),
            ("url.full", url.into()),
            ("server.address", host.into()),
            ("server.port", port.into()),
        ];
        let child = Child::begin("upstream", SpanKind::Client, attributes);
        sampled.children.borrow_mut().upstream = Some(child);
    }

    /// Ends the span of the request to the registry with the status of its response.
    pub fn upstream_answered(&self, status: StatusCode, is_error: bool) {
        let Some(sampled) = &self.sampled else { return };
        let mut children = sampled.children.borrow_mut();
        if let Some(upstream) = &mut children.upstream {
            upstream.attributes.push(("http.response.status_code", status.as_u16().into()));
        }
        children.upstream_ends(is_error.then_some(SpanError::Status(status)));
    }

    /// Ends the span of the request to the registry that has no response.
    pub fn upstream_failed(&self, reason: &'static str) {
        let Some(sampled) = &self.sampled else { return };
        sampled.children.borrow_mut().upstream_ends(Some(SpanError::Reason(reason)));
    }

    /// Ends the trace, and hands its spans over. `describe` returns the attributes of the request's
    /// span, to which those that the trace knows are added.
    pub fn finish(
        self,
        clock: TraceClock,
        error: Option<SpanError>,
        describe: impl FnOnce(&Tracer) -> Vec<(&'static str, Value)>,
    ) {
        let Some(sampled) = self.sampled else { return };
        let Sampled { tracer, parent, protocol, children } = *sampled;
        let mut children = children.into_inner();
        children.stage_ends(error);
        children.upstream_ends(error);
        let mut attributes = describe(&tracer);
        attributes.push(("network.protocol.version", protocol.into()));
        attributes.extend(error.map(|error| ("error.type", error.into())));
        let span = |id, parent, has_remote_parent, child: Child| Span {
            trace: self.trace,
            id,
            parent,
            has_remote_parent,
            name: child.name,
            kind: child.kind,
            begun: clock.at(child.begun),
            ended: clock.at(child.ended),
            attributes: child.attributes,
            is_error: child.is_error,
        };
        let request = Child {
            name: "request",
            id: self.span,
            kind: SpanKind::Server,
            begun: clock.instant,
            ended: Instant::now(),
            attributes,
            is_error: error.is_some(),
        };
        let mut spans = Vec::with_capacity(1 + children.ended.len());
        spans.push(span(self.span, parent, parent.is_some(), request));
        let of_child = |child: Child| span(child.id, Some(self.span), false, child);
        spans.extend(children.ended.into_iter().map(of_child));
        tracer.take(spans);
    }
}

impl Children {
    fn stage_ends(&mut self, error: Option<SpanError>) {
        let stage = self.stage.take();
        self.add(stage, error);
    }

    fn upstream_ends(&mut self, error: Option<SpanError>) {
        let upstream = self.upstream.take();
        self.add(upstream, error);
    }

    fn add(&mut self, child: Option<Child>, error: Option<SpanError>) {
        let Some(mut child) = child.filter(|_| self.ended.len() < MAX_CHILDREN) else { return };
        child.ended = Instant::now();
        child.is_error = error.is_some();
        child.attributes.extend(error.map(|error| ("error.type", error.into())));
        self.ended.push(child);
    }
}

impl Child {
    fn begin(name: &'static str, kind: SpanKind, attributes: Vec<(&'static str, Value)>) -> Self {
        let (id, begun) = (SpanId::random(), Instant::now());
        Self { name, id, kind, begun, ended: begun, attributes, is_error: false }
    }
}

impl From<SpanError> for Value {
    fn from(error: SpanError) -> Self {
        match error {
            SpanError::Reason(reason) => reason.into(),
            SpanError::Status(status) => status.as_str().to_owned().into(),
        }
    }
}
