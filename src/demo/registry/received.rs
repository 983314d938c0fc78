//! The entry of a request in the registry's ledger, and the request body that is counted as it
//! arrives.

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
    /// The path and query, exactly as in the request line.
    pub target: String,
    pub headers: HeaderMap,
    body: Mutex<ReceivedBody>,
}

/// The progress of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedBody {
    pub bytes: u64,
    pub end: BodyEnd,
}

/// The end of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// The body has not ended yet.
    Open,
    /// The whole body arrived.
    Complete,
    /// The body broke off, or the registry did not read the rest of it.
    Broken,
}

impl Received {
    /// Returns the progress of the body.
    pub fn body(&self) -> ReceivedBody {
        *lock(&self.body)
    }
}

/// The body of a request, which records its progress in the ledger.
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

    /// Returns the next bytes, or `None` at the end of a complete body.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        while let Some(frame) = self.incoming.frame().await {
            // A frame without data holds trailers, which the registry ignores.
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

/// Records a body that has not ended as broken: a lost connection drops the request's future and
/// its body with it.
impl Drop for RequestBody {
    fn drop(&mut self) {
        self.record(|body| {
            if body.end == BodyEnd::Open {
                body.end = BodyEnd::Broken;
            }
        });
    }
}
