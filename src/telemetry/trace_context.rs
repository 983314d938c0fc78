//! The header `traceparent` (W3C Trace Context, level 1). Pure functions.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use crate::hex;

/// The header with the trace of a request and the span that sent it.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with what vendors add to `traceparent`.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The id of a trace: 16 bytes, not all of them zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId {
    high: u64,
    low: u64,
}

/// The id of a span: 8 bytes, not all of them zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(u64);

/// The trace and the span that a request names as its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
}

impl TraceId {
    pub(super) fn random() -> Self {
        Self { high: fastrand::u64(..), low: fastrand::u64(1..) }
    }

    /// Returns the bytes, in the order in which the header writes them.
    pub(super) fn bytes(self) -> Vec<u8> {
        [self.high.to_be_bytes(), self.low.to_be_bytes()].concat()
    }
}

impl SpanId {
    pub(super) fn random() -> Self {
        Self(fastrand::u64(1..))
    }

    /// Returns the bytes, in the order in which the header writes them.
    pub(super) fn bytes(self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }
}

impl TraceParent {
    /// Returns the parent that a client names. `None` without a valid header, or with two: programs
    /// behind the gate could choose different ones.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(TRACEPARENT).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => Self::parse(line.to_str().ok()?),
            _ => None,
        }
    }

    /// Parses a header of version 00, or the part of a later version that every version has. The
    /// flags are checked, and have no effect.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, '-');
        let [version, trace, span, flags] = std::array::from_fn(|_| parts.next());
        let version = number(version?, 2)?;
        let (high, low) = trace?.split_at_checked(16)?;
        let trace = TraceId { high: number(high, 16)?, low: number(low, 16)? };
        let span = number(span?, 16)?;
        number(flags?, 2)?;
        let is_version = version != 0xff && (version != 0 || parts.next().is_none());
        let is_zero = (trace.high == 0 && trace.low == 0) || span == 0;
        (is_version && !is_zero).then_some(Self { trace, span: SpanId(span) })
    }

    /// Returns the header. The flag says whether the gate has sampled the request.
    pub fn header(self, is_sampled: bool) -> HeaderValue {
        let (trace, flags) = (self.trace, if is_sampled { b"-01" } else { b"-00" });
        let (high, low) = (hex::digits(trace.high), hex::digits(trace.low));
        let text = [b"00-", &high[..], &low, b"-", &hex::digits(self.span.0), flags].concat();
        // Digits and hyphens are valid in a header.
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Returns a number of exactly so many lower-case hexadecimal digits.
fn number(text: &str, digits: usize) -> Option<u64> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_number = text.len() == digits && text.bytes().all(is_digit);
    is_number.then(|| u64::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn read(lines: &[&str]) -> Option<TraceParent> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(TRACEPARENT, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        TraceParent::from_headers(&headers)
    }

    #[test]
    fn a_valid_header_is_read_and_written() {
        for flags in ["00", "01", "02", "ff"] {
            let parent = read(&[&format!("00-{TRACE}-{SPAN}-{flags}")]).unwrap();
            assert_eq!(parent.header(true), format!("00-{TRACE}-{SPAN}-01"), "{flags}");
            assert_eq!(parent.header(false), format!("00-{TRACE}-{SPAN}-00"), "{flags}");
        }
        assert_eq!(parent_bytes(), ("4bf92f3577b34da6".to_owned(), "00f067aa0ba902b7".to_owned()));
    }

    fn parent_bytes() -> (String, String) {
        let TraceParent { trace, span } = read(&[&format!("00-{TRACE}-{SPAN}-01")]).unwrap();
        let text =
            |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(text(&trace.bytes()), TRACE);
        (text(&trace.bytes()[..8]), text(&span.bytes()))
    }

    #[test]
    fn a_later_version_may_have_more_parts() {
        for end in ["-01", "-01-", "-01-what-it-may-be"] {
            assert!(read(&[&format!("cc-{TRACE}-{SPAN}{end}")]).is_some(), "{end}");
        }
        assert!(read(&[&format!("cc-{TRACE}-{SPAN}-01.what")]).is_none());
    }

    #[test]
    fn every_other_header_is_not_valid() {
        let upper = TRACE.to_uppercase();
        for text in [
            String::new(),
            "-".repeat(55),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-001"),
            format!("00-{TRACE}-{SPAN}-0x"),
            format!("00-{TRACE}-{SPAN}-+1"),
            format!("00-{TRACE}-{SPAN}"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("000-{TRACE}-{SPAN}-01"),
            format!("00-{upper}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}0-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{TRACE}-{}-01", &SPAN[1..]),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01 x"),
            format!("00-{}é-{SPAN}-01", &TRACE[2..]),
            format!("00-+{}-{SPAN}-01", &TRACE[1..]),
        ] {
            assert_eq!(read(&[&text]), None, "{text}");
        }
    }

    #[test]
    fn two_headers_are_not_valid() {
        let valid = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[&valid, &valid]), None);
        assert_eq!(read(&[&valid, ""]), None);
    }

    #[test]
    fn random_ids_differ() {
        let random = || TraceParent { trace: TraceId::random(), span: SpanId::random() };
        let (one, other) = (random(), random());
        assert!(one.trace != other.trace && one.span != other.span);
        let text = one.header(false);
        assert_eq!(read(&[text.to_str().unwrap()]), Some(one));
    }
}
