//! A small container registry (OCI distribution 1.1), for the demo and as the upstream of the
//! tests.
//!
//! It does not authenticate callers, because the gate in front of it does. Blobs stream to and from
//! a temporary folder, which is deleted with the registry. Manifests and the index are in memory.
//! Like Distribution, the registry writes absolute `Location`s, based on the headers in which a
//! proxy reports the URL that clients use, and its uploads carry a `_state` that the client must
//! send back.
//!
//! | resource | operations | file |
//! |---|---|---|
//! | `/v2/_catalog`, `NAME/tags/list`, `NAME/referrers/DIGEST` | GET | `lists.rs` |
//! | `/v2/NAME/manifests/REFERENCE` | GET, HEAD, PUT, DELETE | `manifests.rs` |
//! | `/v2/NAME/blobs/DIGEST` | GET, HEAD, DELETE | `blobs.rs` |
//! | `/v2/NAME/blobs/uploads/` | POST | `uploads.rs` |
//! | `/v2/NAME/blobs/uploads/ID` | GET, PATCH, PUT, DELETE | `uploads.rs` |

mod blobs;
mod hash;
mod lists;
mod manifests;
mod range;
mod received;
mod refusal;
mod resource;
mod seed;
mod store;
mod upload;
mod uploads;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;

use super::ledger::Ledger;
use super::serve::Server;
use super::web::{self, Body, Query};
use received::RequestBody;
use refusal::Refusal;
use resource::Resource;
use store::Store;

pub use received::{BodyEnd, Received, ReceivedBody};

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A running registry. When it is dropped, it stops and deletes its blobs.
pub struct Registry {
    server: Server,
    store: Arc<Store>,
    ledger: Arc<Ledger<Received>>,
}

impl Registry {
    /// Starts the registry on the current tokio runtime.
    ///
    /// # Errors
    /// Returns an error if the listener cannot be used or a temporary folder cannot be created.
    pub fn start(listener: std::net::TcpListener) -> io::Result<Self> {
        let store = Arc::new(Store::new()?);
        let ledger = Arc::new(Ledger::new());
        let (shared_store, shared_ledger) = (Arc::clone(&store), Arc::clone(&ledger));
        let service = service_fn(move |request| {
            let (store, ledger) = (Arc::clone(&shared_store), Arc::clone(&shared_ledger));
            async move { Ok::<_, Infallible>(answer(&store, &ledger, request).await) }
        });
        Ok(Self { server: Server::start(listener, service)?, store, ledger })
    }

    /// Returns the address that the registry listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the ledger of all requests. It is empty until [`keep`](Ledger::keep) is called on
    /// it.
    pub fn ledger(&self) -> Arc<Ledger<Received>> {
        Arc::clone(&self.ledger)
    }

    /// Closes every connection, and returns when all of them are closed.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}

/// The result of an operation.
type Answer = Result<Response<Body>, Refusal>;

/// A request with the state of the registry, as every operation receives it.
struct Exchange<'a> {
    store: &'a Arc<Store>,
    head: &'a Parts,
    query: Query,
    body: RequestBody,
}

async fn answer(
    store: &Arc<Store>,
    ledger: &Arc<Ledger<Received>>,
    request: Request<Incoming>,
) -> Response<Body> {
    let (head, incoming) = request.into_parts();
    let body = RequestBody::new(incoming, ledger, &head);
    let exchange = Exchange { store, head: &head, query: Query::parse(head.uri.query()), body };
    let mut response = exchange.perform().await.unwrap_or_else(Refusal::into_response);
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

impl Exchange<'_> {
    async fn perform(self) -> Answer {
        match (Resource::parse(self.head.uri.path())?, self.head.method.as_str()) {
            (Resource::Base, "GET" | "HEAD") => {
                Ok(web::json(StatusCode::OK, &serde_json::json!({})))
            }
            (Resource::Catalog, "GET") => self.catalog(),
            (Resource::Tags(name), "GET") => self.tags(&name),
            (Resource::Referrers(name, digest), "GET") => self.referrers(&name, &digest),
            (Resource::Manifest(name, reference), "GET" | "HEAD") => {
                self.manifest_get(&name, &reference)
            }
            (Resource::Manifest(name, reference), "PUT") => {
                self.manifest_put(&name, &reference).await
            }
            (Resource::Manifest(name, reference), "DELETE") => {
                self.manifest_delete(&name, &reference)
            }
            (Resource::Blob(name, digest), "GET" | "HEAD") => self.blob_get(&name, &digest).await,
            (Resource::Blob(name, digest), "DELETE") => self.blob_delete(&name, &digest),
            (Resource::Uploads(name), "POST") => self.upload_start(&name).await,
            (Resource::Upload(name, id), "PATCH") => self.upload_chunk(&name, &id).await,
            (Resource::Upload(name, id), "PUT") => self.upload_finish(&name, &id).await,
            (Resource::Upload(name, id), "GET") => self.upload_status(&name, &id).await,
            (Resource::Upload(name, id), "DELETE") => self.upload_cancel(&name, &id),
            (_, method) => Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "UNSUPPORTED",
                format!("this path does not support {method}"),
            )),
        }
    }

    /// Returns the absolute URL of a path, as the registry's clients reach it. The registry trusts
    /// the headers of a proxy in front of it.
    fn location(&self, path: &str) -> String {
        let header = |name| self.head.headers.get(name).and_then(|value| value.to_str().ok());
        let scheme = header(FORWARDED_PROTO).unwrap_or("http");
        let host = header(FORWARDED_HOST).or_else(|| header(HOST)).unwrap_or_default();
        format!("{scheme}://{host}{path}")
    }

    fn is_head(&self) -> bool {
        self.head.method == Method::HEAD
    }
}
