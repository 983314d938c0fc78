//! Tests for the messages that are refused and the errors that they yield.

use http::Request;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING,
};

use super::*;

/// Returns a request head with these fields, in this order.
fn head(target: &str, lines: &[(HeaderName, &str)]) -> Parts {
    let (mut head, ()) = Request::get(target).body(()).unwrap().into_parts();
    for (name, value) in lines {
        head.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    head
}

/// Checks a request with these fields and the `Host` that every request needs.
fn checked(name: HeaderName, values: &[&str]) -> Result<(), Framing> {
    let lines = values.iter().map(|value| (name.clone(), *value));
    check(&head("/v2/", &[(HOST, "a")].into_iter().chain(lines).collect::<Vec<_>>()))
}

fn types(values: &[&str]) -> HeaderMap {
    head("/", &values.iter().map(|value| (CONTENT_TYPE, *value)).collect::<Vec<_>>()).headers
}

#[test]
fn a_target_has_8_kib_at_most() {
    let target = |bytes: usize| head(&format!("/v2/{}", "a".repeat(bytes - 4)), &[(HOST, "a")]);
    assert_eq!(check(&target(8192)), Ok(()));
    assert_eq!(check(&target(8193)), Err(Framing::UriTooLong));
    let query = head(&format!("/v2/?{}", "a".repeat(8188)), &[(HOST, "a")]);
    assert_eq!(check(&query), Err(Framing::UriTooLong));
}

#[test]
fn a_head_has_100_fields_at_most() {
    let fields = |count: usize| head("/v2/", &vec![(EXPECT, "x"); count]).headers;
    assert!(!has_too_many_fields(&fields(100)));
    assert!(has_too_many_fields(&fields(101)));
}

#[test]
fn a_request_needs_one_host_that_matches_its_target() {
    let table: [(&str, &[&str], bool); 19] = [
        ("/v2/", &["registry.example.com"], true),
        ("/v2/", &["registry.example.com:x"], false),
        ("/v2/", &["[zz]"], false),
        ("http://registry.example.com:70000/v2/", &["registry.example.com:70000"], false),
        ("http://registry.example.com:/v2/", &["registry.example.com:"], false),
        ("/v2/", &["registry.example.com:8443"], true),
        ("/v2/", &["[::1]:8443"], true),
        // RFC 9112, 3.2: HTTP/1.1 requires `Host` even with a target in absolute form.
        ("https://registry.example.com/v2/", &[], false),
        ("https://registry.example.com/v2/", &["registry.example.com"], true),
        ("https://registry.example.com/v2/", &["REGISTRY.example.com"], true),
        ("/v2/", &[], false),
        ("/v2/", &[""], false),
        ("/v2/", &["a", "a"], false),
        ("/v2/", &["a b"], false),
        ("/v2/", &["user@registry.example.com"], false),
        ("/v2/", &[":8443"], false),
        ("https://registry.example.com/v2/", &["evil.example.com"], false),
        ("https://registry.example.com/v2/", &["registry.example.com:8443"], false),
        ("https://user@registry.example.com/v2/", &[], false),
    ];
    for (target, hosts, good) in table {
        let lines: Vec<_> = hosts.iter().map(|host| (HOST, *host)).collect();
        let expected = if good { Ok(()) } else { Err(Framing::Host) };
        assert_eq!(check(&head(target, &lines)), expected, "{target} {hosts:?}");
    }
}

/// RFC 9110, 7.2: `Host` became mandatory with HTTP/1.1.
#[test]
fn only_http_1_0_and_absolute_http_2_targets_work_without_a_host() {
    for (target, version, expected) in [
        ("/v2/", Version::HTTP_10, Ok(())),
        ("http://a/v2/", Version::HTTP_10, Ok(())),
        ("http://a:x/v2/", Version::HTTP_10, Err(Framing::Host)),
        ("/v2/", Version::HTTP_11, Err(Framing::Host)),
        ("/v2/", Version::HTTP_2, Err(Framing::Host)),
        ("https://a/v2/", Version::HTTP_2, Ok(())),
        ("http://a/v2/", Version::HTTP_2, Ok(())),
        ("ftp://a/v2/", Version::HTTP_2, Err(Framing::Scheme)),
        ("https://a:x/v2/", Version::HTTP_2, Err(Framing::Host)),
    ] {
        let Ok(uri) = target.parse() else { continue };
        let mut head = head("/", &[]);
        (head.uri, head.version) = (uri, version);
        assert_eq!(check(&head), expected, "{target} {version:?}");
    }
    let mut odd = head("/v2/", &[(HOST, "a b")]);
    odd.version = Version::HTTP_10;
    assert_eq!(check(&odd), Err(Framing::Host));
}

/// RFC 9113, 8.2.1: in HTTP/1.1, the parser has already removed the white space.
#[test]
fn padded_field_values_over_http2_are_refused() {
    for (value, good) in [
        ("x", true),
        ("", true),
        ("a b", true),
        (" x", false),
        ("x ", false),
        ("\tx", false),
        ("x\t", false),
    ] {
        let mut head = head("https://a/v2/", &[(EXPECT, "100-continue"), (CONTENT_TYPE, value)]);
        head.version = Version::HTTP_2;
        assert_eq!(check(&head), if good { Ok(()) } else { Err(Framing::FieldValue) }, "{value:?}");
    }
}

#[test]
fn a_length_is_one_decimal_number() {
    let good: [&[&str]; 3] = [&[], &["0"], &["17"]];
    for lengths in good {
        assert_eq!(checked(CONTENT_LENGTH, lengths), Ok(()), "{lengths:?}");
    }
    let bad: [&[&str]; 8] =
        [&[""], &["+1"], &["-1"], &["1,1"], &["0x1"], &["1 "], &["1a"], &["1", "1"]];
    for lengths in bad {
        assert_eq!(checked(CONTENT_LENGTH, lengths), Err(Framing::ContentLength), "{lengths:?}");
    }
}

#[test]
fn the_only_transfer_coding_is_chunked_and_it_comes_without_a_length() {
    assert_eq!(checked(TRANSFER_ENCODING, &["chunked"]), Ok(()));
    assert_eq!(checked(TRANSFER_ENCODING, &["Chunked"]), Ok(()));
    let bad: [&[&str]; 6] = [
        &[""],
        &["identity"],
        &["gzip, chunked"],
        &["chunked, chunked"],
        &["chunked", "chunked"],
        &["xchunked"],
    ];
    for codings in bad {
        assert_eq!(
            checked(TRANSFER_ENCODING, codings),
            Err(Framing::TransferCoding),
            "{codings:?}"
        );
    }
    let both = head("/v2/", &[(HOST, "a"), (TRANSFER_ENCODING, "chunked"), (CONTENT_LENGTH, "3")]);
    assert_eq!(check(&both), Err(Framing::TransferCoding));
}

#[test]
fn the_only_expectation_is_100_continue() {
    assert_eq!(checked(EXPECT, &["100-continue"]), Ok(()));
    assert_eq!(checked(EXPECT, &["100-Continue"]), Ok(()));
    let bad: [&[&str]; 4] =
        [&[""], &["200-ok"], &["100-continue, 100-continue"], &["100-continue", "100-continue"]];
    for expectations in bad {
        assert_eq!(checked(EXPECT, expectations), Err(Framing::Expectation), "{expectations:?}");
    }
}

#[test]
fn a_manifest_has_one_media_type_that_is_not_a_form() {
    let good: [&[&str]; 4] = [
        &[],
        &["application/octet-stream"],
        &["application/vnd.oci.image.manifest.v1+json; charset=utf-8"],
        &["!#$%&'*+-.^_`|~/x"],
    ];
    for values in good {
        assert_eq!(refuse_form(&types(values)), Ok(()), "{values:?}");
    }
    for form in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-Urlencoded; charset=utf-8",
        " \tapplication/x-www-form-urlencoded\t;",
        "multipart/form-data; boundary=x",
        "multipart/mixed",
    ] {
        assert_eq!(refuse_form(&types(&[form])), Err(Framing::FormBody), "{form}");
    }
    let bad: [&[&str]; 10] = [
        &[""],
        &["text"],
        &["/plain"],
        &["text/"],
        &["te xt/plain"],
        &["text/pl ain"],
        &["text/plain/x"],
        &["text/plain, application/x-www-form-urlencoded"],
        &["\u{a0}application/x-www-form-urlencoded"],
        &["text/plain", "text/plain"],
    ];
    for values in bad {
        assert_eq!(refuse_form(&types(values)), Err(Framing::MediaType), "{values:?}");
    }
}

#[test]
fn a_form_has_exactly_one_urlencoded_content_type() {
    for (values, expected) in [
        (&["application/x-www-form-urlencoded; charset=utf-8"][..], true),
        (&["APPLICATION/x-www-form-urlencoded"], true),
        (&["multipart/form-data"], false),
        (&["application/json"], false),
        (&[], false),
        (&["application/x-www-form-urlencoded", "application/x-www-form-urlencoded"], false),
    ] {
        assert_eq!(is_form(&types(values)), expected, "{values:?}");
    }
}
