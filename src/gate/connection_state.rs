//! The state that the requests of a connection share: whether the gate wants its client to leave,
//! and the uploads that have begun on it.

use std::cell::Cell;
use std::rc::Rc;

use http::request::Parts;
use http::{Method, StatusCode};

/// The state of one connection. From the beginning of a drain, its responses ask the client to
/// leave. An upload that has begun may end on the connection first: another gate may not know it,
/// and this one accepts no new connection soon.
#[derive(Debug, Default)]
pub struct ConnectionState {
    leaving: Cell<bool>,
    has_begun: Cell<bool>,
    uploads: Cell<u32>,
}

/// The part of an upload that a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UploadPart {
    /// The POST that begins the upload.
    Start,
    /// A PATCH.
    Chunk,
    /// The PUT that completes the upload, or the DELETE that cancels it.
    End,
}

/// A request that belongs to an upload. If the request ends without a response, a begun upload is
/// over.
#[derive(Debug)]
pub(super) struct UploadRequest {
    state: Rc<ConnectionState>,
    part: UploadPart,
    /// `true` if no upload was known on the connection before the request.
    is_first: bool,
    answered: bool,
}

impl ConnectionState {
    /// Records that the client should leave.
    pub fn leave(&self) {
        self.leaving.set(true);
    }

    /// Returns whether the client should leave now: no upload has begun that has not ended.
    pub fn is_last(&self) -> bool {
        self.leaving.get() && self.uploads.get() == 0
    }

    /// Returns whether an upload has begun that has not ended.
    pub fn has_upload(&self) -> bool {
        self.uploads.get() > 0
    }

    /// Returns whether the connection has had a request.
    pub fn has_begun(&self) -> bool {
        self.has_begun.get()
    }

    /// Records a request. Returns the part of an upload that it is, if it is one.
    pub(super) fn begin(self: &Rc<Self>, head: &Parts) -> Option<UploadRequest> {
        self.has_begun.set(true);
        let part = UploadPart::of(head)?;
        let is_first = self.uploads.get() == 0;
        if is_first || part == UploadPart::Start {
            self.uploads.set(self.uploads.get() + 1);
        }
        Some(UploadRequest { state: self.clone(), part, is_first, answered: false })
    }

    fn end_upload(&self) {
        self.uploads.set(self.uploads.get().saturating_sub(1));
    }
}

impl UploadPart {
    fn of(head: &Parts) -> Option<Self> {
        let path = head.uri.path();
        match head.method {
            Method::POST if path.ends_with("/blobs/uploads/") => Some(Self::Start),
            Method::PATCH | Method::PUT | Method::DELETE if !path.contains("/blobs/upload") => None,
            Method::PATCH => Some(Self::Chunk),
            Method::PUT | Method::DELETE => Some(Self::End),
            _ => None,
        }
    }
}

impl UploadRequest {
    /// Records the status of the response.
    pub(super) fn answered(mut self, status: StatusCode) {
        self.answered = true;
        let is_over = match self.part {
            UploadPart::Start => status != StatusCode::ACCEPTED,
            UploadPart::End => status.is_success() || status == StatusCode::NOT_FOUND,
            UploadPart::Chunk => status == StatusCode::NOT_FOUND,
        };
        // Of an upload that began elsewhere, the connection knows only that this request continues
        // it. A registry confirms that with a 202.
        if is_over || (self.is_first && status != StatusCode::ACCEPTED) {
            self.state.end_upload();
        }
    }
}

impl Drop for UploadRequest {
    fn drop(&mut self) {
        if !self.answered {
            self.state.end_upload();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const UPLOADS: &str = "/v2/a/blobs/uploads/";
    const UPLOAD: &str = "/v2/a/blobs/uploads/id?x";

    fn send(state: &Rc<ConnectionState>, method: &str, target: &str, status: Option<u16>) {
        let request = Request::builder().method(method).uri(target).body(()).unwrap();
        let begun = state.begin(&request.into_parts().0);
        if let (Some(begun), Some(status)) = (begun, status) {
            begun.answered(StatusCode::from_u16(status).unwrap());
        }
    }

    #[test]
    fn an_upload_lasts_from_its_post_to_its_put_or_delete() {
        for (requests, open) in [
            (&[("POST", UPLOADS, 202)][..], true),
            (&[("POST", UPLOADS, 202), ("PATCH", UPLOAD, 202)], true),
            (&[("POST", UPLOADS, 202), ("PATCH", UPLOAD, 202), ("PUT", UPLOAD, 201)], false),
            (&[("POST", UPLOADS, 202), ("DELETE", UPLOAD, 204)], false),
            (&[("POST", UPLOADS, 202), ("PATCH", UPLOAD, 404)], false),
            (&[("POST", UPLOADS, 202), ("PUT", UPLOAD, 400)], true),
            (&[("POST", UPLOADS, 202), ("PATCH", UPLOAD, 416), ("GET", UPLOAD, 204)], true),
            (&[("POST", UPLOADS, 202), ("POST", UPLOADS, 202), ("PUT", UPLOAD, 201)], true),
            (&[("POST", UPLOADS, 201)], false),
            (&[("POST", UPLOADS, 401)], false),
            // The upload has begun on another connection.
            (&[("PATCH", UPLOAD, 202)], true),
            (&[("PATCH", UPLOAD, 202), ("PUT", UPLOAD, 201)], false),
            (&[("PATCH", UPLOAD, 401)], false),
            (&[("PUT", UPLOAD, 201)], false),
            (&[("PUT", "/v2/a/manifests/v1", 201), ("GET", UPLOAD, 204)], false),
        ] {
            let state = Rc::new(ConnectionState::default());
            for (method, target, status) in requests {
                send(&state, method, target, Some(*status));
            }
            assert_eq!(state.has_upload(), open, "{requests:?}");
            assert!(!state.is_last());
            state.leave();
            assert_eq!(state.is_last(), !open, "{requests:?}");
        }
    }

    #[test]
    fn a_request_without_a_response_ends_its_upload() {
        let state = Rc::new(ConnectionState::default());
        send(&state, "POST", UPLOADS, None);
        assert!(!state.has_upload() && state.has_begun());
        send(&state, "POST", UPLOADS, Some(202));
        send(&state, "PATCH", UPLOAD, None);
        assert!(!state.has_upload());
    }
}
