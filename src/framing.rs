//! What must hold of a message before its meaning is looked at: everything that two programs could read in two ways
//! is refused here. Pure.

use http::Version;
use http::header::{self, HeaderMap};
use http::request::Parts;
use http::uri::Authority;

use crate::denial::Framing;

/// The longest target, in bytes: the longest of the protocol carries two digests, a name and the registry's state.
const MAX_TARGET_BYTES: usize = 8 * 1024;

/// The most header fields of a request: as many as hyper takes on HTTP/1.1. HTTP/2 counts bytes alone, and a field that
/// is one byte there, for it was sent before, takes a hundred in memory.
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

/// Checks the head of a request to the token service. Its target names many repositories, and is as long as a head may be.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_token_request(head: &Parts) -> Result<(), Framing> {
    check_host(head)?;
    check_length(&head.headers)?;
    check_expectation(&head.headers)
}

/// One host, and the same in `Host` and in the target (RFC 9112, 3.2; RFC 9113, 8.3.1).
fn check_host(head: &Parts) -> Result<(), Framing> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        // Without it the authority of the target counts over HTTP/2 alone: HTTP/1.1 wants it beside an absolute form, too.
        (None, _) if head.version != Version::HTTP_2 => return Err(Framing::Host),
        (None, _) => None,
        (Some(host), None) => {
            Some(host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()).ok_or(Framing::Host)?)
        }
        (Some(_), Some(_)) => return Err(Framing::Host),
    };
    let named = match (&host, head.uri.authority()) {
        (Some(host), Some(target)) if host != target => return Err(Framing::Host),
        (Some(named), _) | (None, Some(named)) => named,
        (None, None) => return Err(Framing::Host),
    };
    let plain = !named.host().is_empty() && !named.as_str().contains('@');
    if plain { Ok(()) } else { Err(Framing::Host) }
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
        (Some(length), None) if !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit) => Ok(()),
        _ => Err(Framing::ContentLength),
    }
}

fn check_expectation(headers: &HeaderMap) -> Result<(), Framing> {
    let mut expectations = headers.get_all(header::EXPECT).iter();
    match (expectations.next(), expectations.next()) {
        (None, _) => Ok(()),
        (Some(expectation), None) if expectation.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        _ => Err(Framing::Expectation),
    }
}

/// What a request to the registry may carry: one media type in plain ASCII, and no form. Distribution reads `from` and
/// `mount` of a form body before those of the query, and Go trims and lowers what is not ASCII too, so
/// `\u{a0}application/x-www-form-urlencoded` is one as well.
///
/// # Errors
/// Anything else.
pub fn refuse_form(headers: &HeaderMap) -> Result<(), Framing> {
    match media_type(headers)?.as_deref().map(|essence| essence.split_once('/')) {
        None => Ok(()),
        Some(Some(("multipart", _) | ("application", "x-www-form-urlencoded"))) => Err(Framing::FormBody),
        Some(Some((kind, subtype))) if is_token(kind) && is_token(subtype) => Ok(()),
        _ => Err(Framing::MediaType),
    }
}

/// Whether the body is a form of the kind that has no parts.
pub fn is_form(headers: &HeaderMap) -> bool {
    media_type(headers).is_ok_and(|essence| essence.as_deref() == Some("application/x-www-form-urlencoded"))
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
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests;
