//! The checks of a message before it is interpreted: everything that two programs could read in two
//! ways is refused here. Pure.

mod authority;

use http::Version;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;

use crate::denial::Framing;

/// The longest request target, in bytes. The longest target of the protocol carries two digests, a
/// name and the state of the registry.
const MAX_TARGET_BYTES: usize = 8 * 1024;

/// The room for the digest that a client appends to the address of an upload, in bytes: a sha512
/// digest with its escapes, and `digest-algorithm`. Every address that the gate hands on has at
/// most [`MAX_TARGET_BYTES`], and so is taken back.
const DIGEST_ROOM: usize = 256;

/// The largest number of header fields of a request, which is also the limit of hyper for HTTP/1.1.
/// For HTTP/2, only bytes are limited, and a repeated field that takes one byte on the wire takes a
/// hundred in memory.
const MAX_FIELDS: usize = 100;

/// Returns whether a request has more header fields than any client sends.
pub fn has_too_many_fields(headers: &HeaderMap) -> bool {
    headers.len() > MAX_FIELDS
}

/// Checks the head of a request.
///
/// # Errors
/// The first violation that is found.
pub fn check(head: &Parts) -> Result<(), Framing> {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let of_an_upload = head.uri.path().contains("/blobs/upload");
    if target > MAX_TARGET_BYTES + if of_an_upload { DIGEST_ROOM } else { 0 } {
        return Err(Framing::UriTooLong);
    }
    check_token_request(head)
}

/// Checks the head of a request to the token service. The target of such a request names many
/// repositories, so only the limit on the whole head applies to its length.
///
/// # Errors
/// The first violation that is found.
pub fn check_token_request(head: &Parts) -> Result<(), Framing> {
    let fields = FramingFields::of(&head.headers);
    check_host(head, &fields.host)?;
    if head.version == Version::HTTP_2 {
        check_values(&head.headers)?;
    }
    check_length(&fields)?;
    check_expectation(&fields.expectation)
}

/// The fields on which the reading of a message depends, found in one pass over all fields.
#[derive(Default)]
struct FramingFields<'a> {
    host: FieldLines<'a>,
    coding: FieldLines<'a>,
    length: FieldLines<'a>,
    expectation: FieldLines<'a>,
}

/// The lines of one field.
#[derive(Default)]
enum FieldLines<'a> {
    #[default]
    None,
    One(&'a HeaderValue),
    Several,
}

impl<'a> FramingFields<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            let lines = match name.as_str() {
                "host" => &mut fields.host,
                "transfer-encoding" => &mut fields.coding,
                "content-length" => &mut fields.length,
                "expect" => &mut fields.expectation,
                _ => continue,
            };
            *lines = match lines {
                FieldLines::None => FieldLines::One(value),
                FieldLines::One(_) | FieldLines::Several => FieldLines::Several,
            };
        }
        fields
    }
}

/// Checks that there is one host, and that `Host` and the target name the same one (RFC 9112, 3.2;
/// RFC 9113, 8.3.1).
fn check_host(head: &Parts, lines: &FieldLines<'_>) -> Result<(), Framing> {
    let target = head.uri.authority().map(|authority| authority.as_str());
    if target.is_some() && !matches!(head.uri.scheme_str(), Some("http" | "https")) {
        return Err(Framing::Scheme);
    }
    let host = match lines {
        FieldLines::None => None,
        FieldLines::One(host) => Some(host.to_str().map_err(|_| Framing::Host)?),
        FieldLines::Several => return Err(Framing::Host),
    };
    match (host, target) {
        (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => Err(Framing::Host),
        // HTTP/1.1 requires `Host` even with a target in absolute form.
        (None, _) if head.version == Version::HTTP_11 => Err(Framing::Host),
        (None, None) if head.version != Version::HTTP_10 => Err(Framing::Host),
        (None, None) => Ok(()),
        (Some(named), _) | (None, Some(named)) if authority::is_plain(named) => Ok(()),
        _ => Err(Framing::Host),
    }
}

/// Refuses values with surrounding white space (RFC 9113, 8.2.1). In HTTP/1.1, white space around a
/// value does not belong to it.
fn check_values(headers: &HeaderMap) -> Result<(), Framing> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = |value: &[u8]| is_blank(value.first()) || is_blank(value.last());
    if headers.values().any(|value| padded(value.as_bytes())) {
        Err(Framing::FieldValue)
    } else {
        Ok(())
    }
}

fn check_length(fields: &FramingFields<'_>) -> Result<(), Framing> {
    let chunked = match fields.coding {
        FieldLines::None => false,
        FieldLines::One(coding) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err(Framing::TransferCoding),
    };
    match fields.length {
        FieldLines::None => Ok(()),
        FieldLines::One(_) if chunked => Err(Framing::TransferCoding),
        FieldLines::One(length)
            if !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit) =>
        {
            Ok(())
        }
        _ => Err(Framing::ContentLength),
    }
}

fn check_expectation(lines: &FieldLines<'_>) -> Result<(), Framing> {
    match lines {
        FieldLines::None => Ok(()),
        FieldLines::One(expectation)
            if expectation.as_bytes().eq_ignore_ascii_case(b"100-continue") =>
        {
            Ok(())
        }
        _ => Err(Framing::Expectation),
    }
}

/// Checks the media type of a manifest: a single one in plain ASCII that is not a form. This is the
/// only media type of a client that is forwarded unchanged. Go also trims and lower-cases non-ASCII
/// characters, so it reads `\u{a0}application/x-www-form-urlencoded` as a form.
///
/// # Errors
/// - [`Framing::FormBody`] if the type is a form or `multipart`.
/// - [`Framing::MediaType`] if there are several types, or if the type is not valid.
pub fn refuse_form(headers: &HeaderMap) -> Result<(), Framing> {
    match media_type(headers)?.as_deref().map(|essence| essence.split_once('/')) {
        None => Ok(()),
        Some(Some(("multipart", _) | ("application", "x-www-form-urlencoded"))) => {
            Err(Framing::FormBody)
        }
        Some(Some((kind, subtype))) if is_token(kind) && is_token(subtype) => Ok(()),
        _ => Err(Framing::MediaType),
    }
}

/// Returns whether the body is a URL-encoded form.
pub fn is_form(headers: &HeaderMap) -> bool {
    media_type(headers)
        .is_ok_and(|essence| essence.as_deref() == Some("application/x-www-form-urlencoded"))
}

/// Returns the single media type, without parameters and in lower case.
fn media_type(headers: &HeaderMap) -> Result<Option<String>, Framing> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let media_type = match (types.next(), types.next()) {
        (None, _) => return Ok(None),
        (Some(media_type), None) => media_type.to_str().map_err(|_| Framing::MediaType)?,
        (Some(_), Some(_)) => return Err(Framing::MediaType),
    };
    let essence = media_type.split(';').next().unwrap_or_default().trim_matches([' ', '\t']);
    Ok(Some(essence.to_ascii_lowercase()))
}

/// Returns whether the text is a token (RFC 9110, 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests;
