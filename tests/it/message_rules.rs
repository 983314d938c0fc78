//! The properties of every head that `framing` lets through, for any headers of a client.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Request, Uri};
use moorgate::framing;
use proptest::prelude::*;

/// Returns headers that decide the framing of a message, its target and the meaning of its body:
/// valid, invalid and repeated.
fn line() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
    let name = prop::sample::select(vec![
        "host",
        "content-length",
        "transfer-encoding",
        "expect",
        "content-type",
        "accept",
    ]);
    let known = prop::sample::select(vec![
        "registry.test",
        "registry.test:443",
        "user@registry.test",
        "a, b",
        "0",
        "5",
        "+5",
        "5, 5",
        "0x5",
        "chunked",
        "Chunked",
        "gzip, chunked",
        "identity",
        "100-continue",
        "100-Continue",
        "application/json; charset=utf-8",
        "Application/X-WWW-Form-Urlencoded ; a=b",
        "\u{a0}application/x-www-form-urlencoded",
        "multipart/form-data; boundary=a",
        "\tmultipart/mixed",
        "text/plain, multipart/mixed",
        "",
    ]);
    let bytes = prop_oneof![
        9 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(0x20_u8..=0xff, 0..6),
    ];
    (name, bytes.prop_filter_map("no value", |bytes| HeaderValue::from_bytes(&bytes).ok()))
        .prop_map(|(name, value)| (HeaderName::from_static(name), value))
}

fn head() -> impl Strategy<Value = Parts> {
    let targets =
        prop::sample::select(vec!["/v2/", "http://registry.test/v2/", "http://other.test/v2/"]);
    (targets, prop::collection::vec(line(), 0..6)).prop_map(|(target, lines)| {
        let (mut head, ()) = Request::new(()).into_parts();
        head.uri = Uri::from_static(target);
        head.headers = HeaderMap::new();
        for (name, value) in lines {
            head.headers.append(name, value);
        }
        head
    })
}

/// Returns the only value of a header as text, or `None` if the header is absent.
fn only<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    let values: Vec<_> = head.headers.get_all(name).iter().collect();
    assert!(values.len() < 2, "two of {name}");
    values.first().map(|value| value.to_str().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4096,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_head_that_passes_has_unambiguous_framing(head in head()) {
        if framing::check(&head).is_err() {
            return Ok(());
        }
        let (length, coding) = (only(&head, "content-length"), only(&head, "transfer-encoding"));
        prop_assert!(length.is_none() || coding.is_none());
        let is_number = |it: &str| !it.is_empty() && it.chars().all(|c| c.is_ascii_digit());
        prop_assert!(length.is_none_or(is_number));
        prop_assert!(coding.is_none_or(|coding| coding.to_lowercase() == "chunked"));
        prop_assert!(only(&head, "expect").is_none_or(|it| it.to_lowercase() == "100-continue"));
        let (host, named) = (only(&head, "host"), head.uri.host());
        let is_one_host = |it: &str| !it.is_empty() && !it.contains(['@', '/', ' ', ',']);
        prop_assert!(host.is_some_and(is_one_host));
        prop_assert!(named.is_none() || host.is_none_or(|host| Some(host) == named));
    }

    /// A head that passes is not a form, even for a registry that trims and lowers the media type
    /// first.
    #[test]
    fn a_media_type_that_passes_is_not_a_form(head in head()) {
        if framing::refuse_form(&head.headers).is_err() {
            return Ok(());
        }
        if let Some(media_type) = only(&head, "content-type") {
            let essence = media_type.split([';', ',']).next().unwrap_or_default();
            let essence = essence.trim().to_lowercase();
            prop_assert!(
                essence != "application/x-www-form-urlencoded"
                    && !essence.starts_with("multipart/"),
                "{media_type}"
            );
        }
    }
}
