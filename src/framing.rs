//! What must hold of a message before its meaning is looked at: everything that two programs could
//! read in two ways is refused here. Pure.

mod authority;

use http::Version;
use http::header::{self, HeaderMap};
use http::request::Parts;

use crate::denial::Framing;

/// The longest target, in bytes: the longest of the protocol carries two digests, a name and the
/// registry's state.
const MAX_TARGET_BYTES: usize = 8 * 1024;

/// The most header fields of a request: as many as hyper takes on HTTP/1.1. HTTP/2 counts bytes
/// alone, and a field that is one byte there, for it was sent before, takes a hundred in memory.
const MAX_FIELDS: usize = 100;

/// Whether there are more header fields than any client sends.
pub fn has_too_many_fields(headers: &HeaderMap) -> bool {
    headers.len() > MAX_FIELDS
}

/// Checks a request's head.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(head: &Parts) -> Result<(), Framing> {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > MAX_TARGET_BYTES {
        return Err(Framing::UriTooLong);
    }
    check_token_request(head)
}

/// Checks the head of a request to the token service. Its target names many repositories, and is as
/// long as a head may be.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_token_request(head: &Parts) -> Result<(), Framing> {
    check_host(head)?;
    if head.version == Version::HTTP_2 {
        check_values(&head.headers)?;
    }
    check_length(&head.headers)?;
    check_expectation(&head.headers)
}

/// One host, and the same in `Host` and in the target (RFC 9112, 3.2; RFC 9113, 8.3.1).
fn check_host(head: &Parts) -> Result<(), Framing> {
    let target = head.uri.authority().map(|authority| authority.as_str());
    if target.is_some() && !matches!(head.uri.scheme_str(), Some("http" | "https")) {
        return Err(Framing::Scheme);
    }
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(host.to_str().map_err(|_| Framing::Host)?),
        (Some(_), Some(_)) => return Err(Framing::Host),
    };
    match (host, target) {
        (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => Err(Framing::Host),
        // HTTP/1.1 wants it beside an absolute form, too.
        (None, _) if head.version == Version::HTTP_11 => Err(Framing::Host),
        (None, None) if head.version != Version::HTTP_10 => Err(Framing::Host),
        (None, None) => Ok(()),
        (Some(named), _) | (None, Some(named)) if authority::is_plain(named) => Ok(()),
        _ => Err(Framing::Host),
    }
}

/// RFC 9113, 8.2.1. HTTP/1.1 has no such values, for the white space around one is no part of it.
fn check_values(headers: &HeaderMap) -> Result<(), Framing> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = |value: &[u8]| is_blank(value.first()) || is_blank(value.last());
    if headers.values().any(|value| padded(value.as_bytes())) {
        Err(Framing::FieldValue)
    } else {
        Ok(())
    }
}

fn check_length(headers: &HeaderMap) -> Result<(), Framing> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err(Framing::TransferCoding),
    };
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(()),
        (Some(_), None) if chunked => Err(Framing::TransferCoding),
        (Some(length), None)
            if !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit) =>
        {
            Ok(())
        }
        _ => Err(Framing::ContentLength),
    }
}

fn check_expectation(headers: &HeaderMap) -> Result<(), Framing> {
    let mut expectations = headers.get_all(header::EXPECT).iter();
    match (expectations.next(), expectations.next()) {
        (None, _) => Ok(()),
        (Some(expectation), None)
            if expectation.as_bytes().eq_ignore_ascii_case(b"100-continue") =>
        {
            Ok(())
        }
        _ => Err(Framing::Expectation),
    }
}

/// What a manifest may be: one media type in plain ASCII, and no form. It is the one type that goes
/// on as the client says it. Go trims and lowers what is not ASCII too, so
/// `\u{a0}application/x-www-form-urlencoded` is a form as well.
///
/// # Errors
/// Anything else.
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

/// Whether the body is a form of the kind that has no parts.
pub fn is_form(headers: &HeaderMap) -> bool {
    media_type(headers)
        .is_ok_and(|essence| essence.as_deref() == Some("application/x-www-form-urlencoded"))
}

/// The one media type, without its parameters, in lower case.
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

/// RFC 9110, 5.6.2
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests;
