//! What the ledger of the registry keeps of a request, and the body that is counted on its way in.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use crate::demo::ledger::{Ledger, lock};

/// One request, as it reached the registry.
#[derive(Debug)]
pub struct Received {
    pub method: Method,
    /// The path and query, exactly as they were in the request line.
    pub target: String,
    pub headers: HeaderMap,
    body: Mutex<ReceivedBody>,
}

/// How far a body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedBody {
    pub bytes: u64,
    pub end: BodyEnd,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// Not yet.
    Open,
    /// All of it arrived.
    Complete,
    /// It broke off, or the registry did not want the rest.
    Broken,
}

impl Received {
    /// How far its body has come.
    pub fn body(&self) -> ReceivedBody {
        *lock(&self.body)
    }
}

/// The body of a request, which tells the ledger how it fares.
pub(super) struct RequestBody {
    incoming: Incoming,
    ledger: Arc<Ledger<Received>>,
    entry: Option<Arc<Received>>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, ledger: &Arc<Ledger<Received>>, head: &Parts) -> Self {
        let end = if incoming.is_end_stream() { BodyEnd::Complete } else { BodyEnd::Open };
        let entry = ledger.enter(|| Received {
            method: head.method.clone(),
            target: head.uri.to_string(),
            headers: head.headers.clone(),
            body: Mutex::new(ReceivedBody { bytes: 0, end }),
        });
        Self { incoming, ledger: Arc::clone(ledger), entry }
    }

    /// The next bytes, or `None` at the end of a complete body.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        while let Some(frame) = self.incoming.frame().await {
            // A frame that is no data holds trailers, which mean nothing here.
            if let Ok(data) = frame?.into_data() {
                self.record(|body| body.bytes += data.len() as u64);
                return Ok(Some(data));
            }
        }
        self.record(|body| body.end = BodyEnd::Complete);
        Ok(None)
    }

    fn record(&self, change: impl FnOnce(&mut ReceivedBody)) {
        if let Some(entry) = &self.entry {
            change(&mut lock(&entry.body));
            self.ledger.announce();
        }
    }
}

/// A connection that is lost takes the request's future, and its body, with it: so whatever has not
/// ended by now has broken off.
impl Drop for RequestBody {
    fn drop(&mut self) {
        self.record(|body| {
            if body.end == BodyEnd::Open {
                body.end = BodyEnd::Broken;
            }
        });
    }
}
