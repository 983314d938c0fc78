//! A body that the gate reads as a whole: the form of a token request.

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::RequestBody;

/// The reason why a form was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormError {
    /// The body has more bytes than a form may have.
    TooLarge,
    /// The client left, or sent trailers.
    BrokenOff,
}

/// Reads a body of at most `max` bytes. The progress of the body is watched with the connection, as
/// for any body.
///
/// # Errors
/// - [`FormError::TooLarge`] if the body has more than `max` bytes.
/// - [`FormError::BrokenOff`] if the client left, or sent trailers.
pub async fn read_form(body: RequestBody, max: usize) -> Result<Bytes, FormError> {
    // A body that announces too many bytes is refused unread, without a 100 (Continue) response
    // (RFC 9110, 10.1.1).
    if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
        return Err(FormError::TooLarge);
    }
    match Limited::new(body, max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(FormError::TooLarge),
        Err(_) => Err(FormError::BrokenOff),
    }
}
