//! A body that is read here, whole: the form that asks for a token.

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::RequestBody;

/// Why a form was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormError {
    /// It has more bytes than a form may have.
    TooLarge,
    /// The client left, or sent trailers.
    BrokenOff,
}

/// Reads a body of at most `max` bytes. That it makes progress is watched with the connection, as
/// of any body.
///
/// # Errors
/// See [`FormError`].
pub async fn read_form(body: RequestBody, max: usize) -> Result<Bytes, FormError> {
    // What says so itself is refused unread, and nobody is told to go on (RFC 9110, 10.1.1).
    if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
        return Err(FormError::TooLarge);
    }
    match Limited::new(body, max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(FormError::TooLarge),
        Err(_) => Err(FormError::BrokenOff),
    }
}
