//! The format of `/metrics`, by the `Accept` of the request (RFC 9110, 12.5.1): OpenMetrics for a
//! client that prefers it, and the text format of Prometheus for every other.

use http::HeaderMap;
use http::header::{ACCEPT, HeaderValue};

use crate::metrics::MetricsFormat;

/// A media range of `Accept` that matches a format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Match {
    specificity: u8,
    /// The weight in thousandths. Of ranges with the same specificity, the best one counts.
    weight: u16,
}

/// Returns the format that the client prefers. Without a preference it is the text of Prometheus.
pub(super) fn preferred(headers: &HeaderMap) -> MetricsFormat {
    let (mut text, mut open_metrics) = (Match::default(), Match::default());
    let lists = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    for range in lists.flat_map(|list| split(list, ',')) {
        let Some((range, weight)) = MediaRange::parse(range) else { continue };
        let matched = |format| {
            let specificity = range.specificity(format)?;
            Some(Match { specificity, weight })
        };
        text = text.max(matched(MetricsFormat::Text).unwrap_or_default());
        open_metrics = open_metrics.max(matched(MetricsFormat::OpenMetrics).unwrap_or_default());
    }
    // With equal weights, a format that is named comes before one that a wildcard allows.
    let order = |it: Match| (it.weight, it.specificity.min(NAMED));
    if open_metrics.weight > 0 && order(open_metrics) > order(text) {
        MetricsFormat::OpenMetrics
    } else {
        MetricsFormat::Text
    }
}

pub(super) fn content_type(format: MetricsFormat) -> HeaderValue {
    HeaderValue::from_static(match format {
        MetricsFormat::Text => "text/plain; version=0.0.4; charset=utf-8",
        MetricsFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
    })
}

/// Returns type, subtype and version of a format.
fn names(format: MetricsFormat) -> (&'static str, &'static str, &'static str) {
    match format {
        MetricsFormat::Text => ("text", "plain", "0.0.4"),
        MetricsFormat::OpenMetrics => ("application", "openmetrics-text", "1.0.0"),
    }
}

/// The specificity of a range that names a type and a subtype.
const NAMED: u8 = 3;

/// A media range. The names are compared without case.
struct MediaRange<'a> {
    main: &'a str,
    sub: &'a str,
    /// The parameter `version`. Other parameters do not tell the formats apart.
    version: Option<String>,
}

impl<'a> MediaRange<'a> {
    /// Parses a range and its weight, in thousandths. `None` if it is not valid.
    fn parse(text: &'a str) -> Option<(Self, u16)> {
        let mut parts = split(text, ';');
        let (main, sub) = parts.next()?.trim().split_once('/')?;
        if ![main, sub].iter().all(|name| is_token(name)) || (main == "*" && sub != "*") {
            return None;
        }
        let (mut version, mut weight) = (None, 1000);
        for parameter in parts.map(str::trim).filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=')?;
            if name.eq_ignore_ascii_case("q") {
                weight = weight_of(value)?;
            } else if name.eq_ignore_ascii_case("version") {
                version = Some(unquoted(value));
            }
        }
        Some((Self { main, sub, version }, weight))
    }

    /// Returns how specific the range is if it matches the format.
    fn specificity(&self, format: MetricsFormat) -> Option<u8> {
        let (main, sub, version) = names(format);
        let named = |own: &str, other: &str| own.eq_ignore_ascii_case(other);
        match (self.main, self.sub) {
            ("*", "*") => Some(1),
            (own, "*") => named(own, main).then_some(2),
            (own, own_sub) if named(own, main) && named(own_sub, sub) => match &self.version {
                None => Some(NAMED),
                Some(own) => (own == version).then_some(NAMED + 1),
            },
            _ => None,
        }
    }
}

/// Splits at a separator, but not within quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator => return !quoted,
            _ => {}
        }
        false
    })
}

/// Returns the content of a parameter, with or without quotes.
fn unquoted(value: &str) -> String {
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(quoted) = quoted else { return value.to_owned() };
    let mut escaped = false;
    quoted
        .chars()
        .filter(|c| {
            escaped = *c == '\\' && !escaped;
            !escaped
        })
        .collect()
}

/// Parses a weight: 0 to 1, with at most three digits after the point.
fn weight_of(text: &str) -> Option<u16> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    if digits.len() > 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{digits:0<3}").parse().ok()?;
    match (whole, thousandths) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

/// Returns whether the text is a token (RFC 9110, 5.6.2).
fn is_token(text: &str) -> bool {
    let is_sign = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_sign(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferred(values: &[&str]) -> MetricsFormat {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        super::preferred(&headers)
    }

    #[test]
    fn open_metrics_is_sent_to_a_client_that_prefers_it() {
        for values in [
            &["application/openmetrics-text"][..],
            &["Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8"],
            // Prometheus 2 and 3.
            &["application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5,\
                   */*;q=0.1"],
            &["application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
               application/openmetrics-text;version=0.0.1;q=0.4,\
               text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
               text/plain;version=0.0.4;q=0.2,/;q=0.1"],
            &["text/plain;q=0.5", "application/openmetrics-text;q=0.6"],
            &["application/openmetrics-text, */*"],
            &["application/openmetrics-text;version=\"1.0.0\", text/plain;q=0.9"],
            &["application/openmetrics-text;q=0.001, text/*;q=0"],
            &["application/*"],
            &["application/*, */*;q=0.9"],
            &["text/html;level=\"1,;\\\"\" , application/openmetrics-text;q=1.000"],
            &["application/openmetrics-text;q=0.3, text/plain;q=0.2, */*"],
        ] {
            assert_eq!(preferred(values), MetricsFormat::OpenMetrics, "{values:?}");
        }
    }

    #[test]
    fn the_text_of_prometheus_is_sent_to_every_other_client() {
        for values in [
            &[][..],
            &[""],
            &["*/*"],
            &["text/plain"],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
            &["application/json"],
            // No preference between the two.
            &["application/openmetrics-text, text/plain"],
            &["text/plain;version=0.0.4, application/openmetrics-text"],
            &["application/openmetrics-text;q=0.5, text/plain;version=0.0.4;q=0.5"],
            &["application/openmetrics-text;q=0.4, text/plain;q=0.5"],
            &["application/openmetrics-text;q=0.2, */*;q=0.3"],
            &["text/plain;version=0.0.4;q=1,*/*;q=0.1"],
            // What the client does not want, or does not say validly.
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;q=0, */*;q=0.5"],
            &["application/*;q=0.9, application/openmetrics-text;q=0, text/plain;q=0.1"],
            &["application/openmetrics-text;q=1.5"],
            &["application/openmetrics-text;q=abc"],
            &["application/openmetrics-text;q=0.1234"],
            &["application/openmetrics-text;q="],
            &["application/openmetrics-text;version=0.0.1"],
            &["application/openmetrics-text;version=2.0.0, text/plain;q=0.1"],
            &["application/openmetrics-textual"],
            &["x/application/openmetrics-text"],
            &["*/openmetrics-text"],
            &["text/html;say=\"application/openmetrics-text, application/openmetrics-text\""],
        ] {
            assert_eq!(preferred(values), MetricsFormat::Text, "{values:?}");
        }
    }
}
