//! A span that has ended.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::trace_context::{SpanId, TraceId};

/// A span that has ended.
#[derive(Debug)]
pub struct Span {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    /// `true` if the parent is a span of the client.
    pub(super) has_remote_parent: bool,
    pub(super) name: &'static str,
    pub(super) kind: SpanKind,
    pub(super) begun: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) attributes: Vec<(&'static str, Value)>,
    /// `true` if the span is marked as failed.
    pub(super) is_error: bool,
}

/// The beginning of a request on both clocks. All times of its spans are computed from it, so that
/// their order is right.
#[derive(Clone, Copy, Debug)]
pub struct TraceClock {
    pub time: SystemTime,
    pub instant: Instant,
}

impl TraceClock {
    /// Returns the time of the day at an instant.
    pub(super) fn at(self, instant: Instant) -> SystemTime {
        self.time + instant.saturating_duration_since(self.instant)
    }
}

/// The role of a span in an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A request that the gate received.
    Server,
    /// A request that the gate sent.
    Client,
    /// A stage of the gate.
    Internal,
}

/// The value of an attribute.
#[derive(Clone, Debug)]
pub enum Value {
    Word(&'static str),
    Text(Box<str>),
    Shared(Arc<str>),
    Number(i64),
}

impl From<&'static str> for Value {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Arc<str>> for Value {
    fn from(text: Arc<str>) -> Self {
        Self::Shared(text)
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}
