//! Spans as OTLP has them (OpenTelemetry Protocol, protobuf encoding).

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind as OtlpKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as OtlpSpan, SpanFlags, Status,
};
use prost::Message as _;

use super::span::{Span, SpanKind, Value};

/// The media type of a request.
pub(super) const MEDIA_TYPE: &str = "application/x-protobuf";

const NAME: &str = "moorgate";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The bit of the flags that says that the gate has sampled the span (W3C Trace Context).
const SAMPLED: u32 = 1;

/// Returns the body of a request with these spans.
pub(super) fn encode(spans: Vec<Span>) -> Vec<u8> {
    let scope = InstrumentationScope {
        name: NAME.to_owned(),
        version: VERSION.to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = spans.into_iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let resource = Some(resource());
    let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// Returns how many spans a collector has rejected, and why, according to its response. A response
/// that cannot be read rejects none.
pub(super) fn rejected(response: &[u8]) -> Option<(u64, String)> {
    let response = ExportTraceServiceResponse::decode(response).ok()?;
    let partial = response.partial_success?;
    let spans = u64::try_from(partial.rejected_spans).ok().filter(|spans| *spans > 0)?;
    Some((spans, partial.error_message))
}

fn resource() -> Resource {
    let attributes = vec![
        attribute("service.name", NAME.into()),
        attribute("service.version", VERSION.into()),
        attribute("service.instance.id", instance_id().into()),
    ];
    Resource { attributes, ..Resource::default() }
}

/// Returns the id of this process, a random UUID (RFC 9562, 5.4).
fn instance_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let random = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62);
        let digits = format!("{:032x}", random | (0x4 << 76) | (0x2 << 62));
        let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
        [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
    })
}

fn span(span: Span) -> OtlpSpan {
    // Whether the parent is in another process is known for each span.
    let remote = if span.has_remote_parent { SpanFlags::ContextIsRemoteMask as u32 } else { 0 };
    OtlpSpan {
        trace_id: span.trace.bytes(),
        span_id: span.id.bytes(),
        parent_span_id: span.parent.map(|parent| parent.bytes()).unwrap_or_default(),
        flags: SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32 | remote,
        name: span.name.to_owned(),
        kind: match span.kind {
            SpanKind::Server => OtlpKind::Server,
            SpanKind::Client => OtlpKind::Client,
            SpanKind::Internal => OtlpKind::Internal,
        }
        .into(),
        start_time_unix_nano: nanoseconds(span.begun),
        end_time_unix_nano: nanoseconds(span.ended),
        attributes: span.attributes.into_iter().map(|(key, value)| attribute(key, value)).collect(),
        status: span
            .is_error
            .then(|| Status { code: StatusCode::Error.into(), ..Status::default() }),
        ..OtlpSpan::default()
    }
}

fn attribute(key: &'static str, value: Value) -> KeyValue {
    let value = match value {
        Value::Word(word) => OtlpValue::StringValue(word.to_owned()),
        Value::Text(text) => OtlpValue::StringValue(text.into()),
        Value::Shared(text) => OtlpValue::StringValue(String::from(&*text)),
        Value::Number(number) => OtlpValue::IntValue(number),
    };
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn the_id_of_the_process_is_a_random_uuid() {
        let id = instance_id();
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(id.as_bytes()[14], b'4', "{id}");
        assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        assert_eq!(id, instance_id());
    }

    #[test]
    fn a_response_says_how_many_spans_were_rejected() {
        let response = |rejected_spans| {
            let error_message = "too old".to_owned();
            let partial = ExportTracePartialSuccess { rejected_spans, error_message };
            ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        };
        assert_eq!(rejected(&response(3)), Some((3, "too old".to_owned())));
        for response in [&response(0)[..], &response(-1), b"", b"{}", b"\xff\xff\xff"] {
            assert_eq!(rejected(response), None);
        }
    }
}
