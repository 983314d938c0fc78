//! The stage that parses a request: an unambiguous message, one operation, and no unexpected body.

use http::Method;
use http::request::Parts;

use crate::body::{BodyFailure, NotEmpty, RequestBody};
use crate::denial::{Denial, Framing};
use crate::framing;
use crate::registry::RegistryRequest;

/// Parses a request. The message must be unambiguous, and the target must be an operation in its
/// only valid spelling.
pub(super) fn parse(head: &Parts) -> Result<RegistryRequest, Denial> {
    framing::check(head).map_err(Denial::Framing)?;
    let wanted = RegistryRequest::parse(&head.method, head.uri.path(), head.uri.query())
        .map_err(Denial::Request)?;
    if let RegistryRequest::ManifestPut { .. } = wanted {
        framing::refuse_form(&head.headers).map_err(Denial::Framing)?;
    }
    Ok(wanted)
}

/// Waits for the end of a body if the operation takes none. A body may be announced and turn out to
/// be empty. A body with content is refused, because a program that expects no body could read it
/// as another request.
pub(super) async fn expect_no_body(method: &Method, body: &mut RequestBody) -> Result<(), Denial> {
    if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
        return Ok(());
    }
    body.expect_empty().await.map_err(|why| match why {
        NotEmpty::Bytes => Denial::Framing(Framing::UnexpectedBody),
        NotEmpty::Failed(BodyFailure::Trailers) => Denial::Framing(Framing::Trailers),
        NotEmpty::Failed(BodyFailure::Aborted) => Denial::ClientAborted,
    })
}
