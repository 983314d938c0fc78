//! The span of a request, and those of its stages.

use std::sync::Arc;

use http::Method;

use super::line_fields::RequestFields;
use super::{Outcome, Record};
use crate::denial::Denial;
use crate::telemetry::{QuestionTrace, RequestTrace, SpanError, TraceClock, Tracer, Value};

type Attributes = Vec<(&'static str, Value)>;

impl Record {
    /// Sets the trace of the request.
    pub fn set_trace(&mut self, trace: RequestTrace) {
        self.trace = Some(trace);
    }

    /// Returns the trace of the request; `None` without telemetry.
    pub fn trace(&self) -> Option<&RequestTrace> {
        self.trace.as_ref()
    }

    /// Begins the span of a stage.
    pub fn stage_begins(&self, name: &'static str) {
        if let Some(trace) = &self.trace {
            trace.stage_begins(name);
        }
    }

    /// Ends the span of the stage under way. A refusal is what the stage is for; every other denial
    /// marks the span as failed.
    pub fn stage_ends<T>(&self, result: &Result<T, Denial>) {
        let Some(trace) = self.trace.as_ref().filter(|trace| trace.is_sampled()) else { return };
        let error = result.as_ref().err().and_then(|denial| {
            let reason = denial.answer().reason.as_str();
            trace.note("moorgate.reason", reason);
            (!denial.is_refusal()).then_some(SpanError::Reason(reason))
        });
        trace.stage_ends(error);
    }

    /// Returns the trace of questions to providers, if the request is sampled.
    pub fn question_trace(&self) -> Option<Arc<QuestionTrace>> {
        self.trace.as_ref()?.of_questions(self.clock())
    }

    fn clock(&self) -> TraceClock {
        TraceClock { time: self.time, instant: self.begun }
    }

    /// Hands over the spans of the request, if it is sampled.
    pub(super) fn trace_ends(&mut self) {
        let Some(trace) = self.trace.take().filter(RequestTrace::is_sampled) else { return };
        let is_failed = matches!(self.outcome, Outcome::Undecided | Outcome::Failed(_))
            || self.status.is_some_and(|status| status.is_server_error());
        let error = is_failed.then(|| SpanError::Reason(self.outcome.reason().as_str()));
        trace.finish(self.clock(), error, |tracer| self.attributes(tracer));
    }

    /// Returns the attributes of the request's span: those of the semantic conventions of HTTP, and
    /// the gate's own. No query and no header is among them.
    fn attributes(&self, tracer: &Tracer) -> Attributes {
        let fields = RequestFields::new(self, self.time);
        let address = tracer.address();
        let mut attributes: Attributes = Vec::with_capacity(24);
        if is_known(&self.method) {
            attributes.push(("http.request.method", fields.method.into_owned().into()));
        } else {
            attributes.push(("http.request.method", "_OTHER".into()));
            attributes.push(("http.request.method_original", fields.method.into_owned().into()));
        }
        attributes.push(("url.scheme", address.scheme.into()));
        attributes.push(("url.path", fields.path.into_owned().into()));
        attributes.extend(self.operation.route().map(|route| ("http.route", route.into())));
        attributes.push(("server.address", address.host.clone().into()));
        attributes.push(("server.port", address.port.into()));
        attributes.push(("client.address", self.client.to_string().into()));
        attributes.extend(
            self.status.map(|status| ("http.response.status_code", status.as_u16().into())),
        );
        attributes.push(("moorgate.request_id", self.request_id.to_string().into()));
        attributes.push(("moorgate.operation", self.operation.as_str().into()));
        let repository = self.repository.as_ref().map(|name| name.as_str().to_owned());
        attributes.extend(repository.map(|name| ("moorgate.repository", name.into())));
        attributes.push(("moorgate.decision", self.outcome.decision().into()));
        attributes.push(("moorgate.reason", self.outcome.reason().as_str().into()));
        let provider = self.provider().map(Arc::clone);
        attributes.extend(provider.map(|name| ("moorgate.provider", name.into())));
        attributes.push(("moorgate.cache", self.cache.as_str().into()));
        attributes
    }
}

/// Returns whether the semantic conventions of HTTP know a method.
fn is_known(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET
            | Method::HEAD
            | Method::POST
            | Method::PUT
            | Method::DELETE
            | Method::CONNECT
            | Method::OPTIONS
            | Method::TRACE
            | Method::PATCH
    )
}
