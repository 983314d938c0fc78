//! The rules that a response of the registry must keep before its head is passed on.

use http::response::Parts;
use http::{Method, StatusCode, header};

use crate::denial::UpstreamFault;
use crate::registry::RegistryRequest;

/// Returns whether a status redirects the request to the `Location` of the response.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Checks that a response is one that a registry gives. Its framing must be unambiguous, and must
/// show when the body is cut off.
pub(super) fn check_response(
    wanted: &RegistryRequest,
    sent_token: bool,
    parts: &Parts,
) -> Result<(), UpstreamFault> {
    if parts.status == StatusCode::UNAUTHORIZED {
        return Err(if sent_token {
            UpstreamFault::RefusedUpstreamToken
        } else {
            UpstreamFault::RefusedTheGate
        });
    }
    let invalid = Err(UpstreamFault::Invalid);
    let mut lengths = parts.headers.get_all(header::CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        // hyper reads a list of equal lengths as one length; the client behind the gate may not.
        (Some(length), None)
            if !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit) =>
        {
            Some(length)
        }
        _ => return invalid,
    };
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        _ => return invalid,
    };
    let well_framed = match parts.status {
        status if status.is_informational() => false,
        StatusCode::NO_CONTENT => !chunked && length.is_none_or(|length| length == "0"),
        _ if wanted.method() == Method::HEAD || parts.status == StatusCode::NOT_MODIFIED => true,
        // Exactly one of the two must be present: a response that ends with the connection cannot
        // be told from one that broke off.
        _ => length.is_some() != chunked,
    };
    if well_framed { Ok(()) } else { invalid }
}
