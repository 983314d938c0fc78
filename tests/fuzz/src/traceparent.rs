//! The oracle for the header `traceparent`: a regular expression of W3C Trace Context.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue};
use moorgate::telemetry::trace_context::{TRACEPARENT, TraceParent};
use regex::Regex;

static VALID: LazyLock<Regex> = LazyLock::new(|| {
    let expression = "^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$";
    Regex::new(expression).expect("an expression")
});

/// Checks that the lines of the input are read as the expression reads them, and that what is
/// written is read again.
pub fn check(input: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(TRACEPARENT, value);
    }
    let read = TraceParent::from_headers(&headers).map(|parent| parent.header(true));
    let expected = std::str::from_utf8(input).ok().and_then(expected);
    assert_eq!(read.as_ref().and_then(|it| it.to_str().ok()), expected.as_deref(), "{headers:?}");
    if let Some(written) = read {
        let again = HeaderMap::from_iter([(TRACEPARENT, written.clone())]);
        let again = TraceParent::from_headers(&again).map(|parent| parent.header(true));
        assert_eq!(again, Some(written));
    }
}

/// Returns the header that the gate writes for a valid one.
fn expected(text: &str) -> Option<String> {
    let found = VALID.captures(text).filter(|_| text.is_ascii() && !text.contains('\n'))?;
    let (version, trace, span) = (&found[1], &found[2], &found[3]);
    let is_valid = version != "ff" && (version != "00" || found.get(4).is_none());
    let is_zero = |id: &str| id.bytes().all(|digit| digit == b'0');
    (is_valid && !is_zero(trace) && !is_zero(span)).then(|| format!("00-{trace}-{span}-01"))
}
