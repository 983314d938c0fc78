//! The first stage: a request is taken in, and its record begins.

use std::net::IpAddr;
use std::rc::Rc;

use http::request::Parts;
use http::{HeaderMap, Request, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use super::Gate;
use super::connection_state::ConnectionState;
use crate::body::Progress;
use crate::denial::Framing;
use crate::framing;
use crate::record::Record;
use crate::request_id::RequestId;

/// Facts about a request that are not in its message.
pub struct ConnectionInfo {
    /// The address of the other end of the connection.
    pub peer: IpAddr,
    /// `true` if the connection uses HTTP/2.
    pub http2: bool,
    /// `true` if the connection has carried something that two programs could read in two ways.
    pub ambiguous: bool,
    /// The state of the connection, shared by its requests.
    pub connection: Rc<ConnectionState>,
    /// The body progress of this request, shared with its connection.
    pub progress: Rc<Progress>,
}

/// A received request whose record has begun.
pub struct Received {
    pub(super) head: Parts,
    pub(super) body: Incoming,
    pub(super) client_address: IpAddr,
    pub(super) connection_info: ConnectionInfo,
    /// The framing error for which the request is refused without reading it further.
    pub(super) fault: Option<Framing>,
    pub(super) record: Box<Record>,
}

impl Gate {
    /// Takes in a request and begins its record at once, so that the request is recorded even if
    /// its client disconnects immediately.
    pub fn receive(&self, request: Request<Incoming>, connection_info: ConnectionInfo) -> Received {
        let (mut head, body) = request.into_parts();
        if body.is_end_stream() {
            connection_info.progress.end_request();
        }
        let client_address = self.trusted_proxies.client(connection_info.peer, &head.headers);
        let mut record = Box::new(Record::begin(
            self.recorder.clone(),
            connection_info.progress.clone(),
            RequestId::from_headers(&head.headers),
            client_address,
            head.method.clone(),
            head.uri.path().to_owned(),
        ));
        if let Some(tracer) = &self.tracer {
            record.set_trace(tracer.begin(&head.headers, protocol(head.version)));
        }
        let fault = if connection_info.ambiguous {
            Some(Framing::Head)
        } else if framing::has_too_many_fields(&head.headers) {
            // The fields are freed now: in a flood, many HTTP/2 requests may have been received
            // before the first one is served.
            head.headers = HeaderMap::new();
            Some(Framing::TooManyFields)
        } else {
            None
        };
        Received { head, body, client_address, connection_info, fault, record }
    }
}

/// Returns the version of HTTP as traces have it.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}
