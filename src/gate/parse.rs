//! The stage that parses a request: an unambiguous message, one operation, and no unexpected body.

use http::Method;
use http::request::Parts;

use crate::body::{BodyFailure, NotEmpty, RequestBody};
use crate::denial::{Denial, Framing};
use crate::framing;
use crate::registry::{RegistryRequest, RequestError, right_spelling};
use crate::token_service;

/// Parses a request. The message must be unambiguous, and the target must be an operation in its
/// only valid spelling. A request with another spelling of an operation is redirected to the right
/// one.
pub(super) fn parse(head: &Parts) -> Result<RegistryRequest, Denial> {
    framing::check(head).map_err(Denial::Framing)?;
    let (path, query) = (head.uri.path(), head.uri.query());
    let wanted = RegistryRequest::parse(&head.method, path, query)
        .map_err(|error| other_spelling(head).unwrap_or(Denial::Request(error)))?;
    if let RegistryRequest::ManifestPut { .. } = wanted {
        framing::refuse_form(&head.headers).map_err(Denial::Framing)?;
    }
    Ok(wanted)
}

/// Returns the redirect to the right spelling of a target that cannot be parsed, or the reason why
/// the right spelling is refused too.
fn other_spelling(head: &Parts) -> Option<Denial> {
    let right = right_spelling(head.uri.path())?;
    if right != token_service::PATH {
        match RegistryRequest::parse(&head.method, &right, head.uri.query()) {
            Ok(_) => {}
            Err(error @ RequestError::MethodNotAllowed { .. }) => {
                return Some(Denial::Request(error));
            }
            Err(_) => return None,
        }
    }
    let query = head.uri.query().map_or_else(String::new, |query| format!("?{query}"));
    Some(Denial::OtherSpelling(format!("{right}{query}").into()))
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
