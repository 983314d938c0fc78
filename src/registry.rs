//! The registry protocol as values: names, references, requests and the access that each request
//! needs.
//!
//! Everything here is pure. The request line of a client becomes a [`RegistryRequest`] or an error.
//! The request to the upstream is rendered from that value, so that the registry receives exactly
//! the request that was checked.

mod access;
mod catalog;
mod name;
mod operation;
mod parse;
mod query;
mod reference;
mod request;
mod scope;
mod spelling;

pub use access::{Access, Action, Actions};
pub use catalog::{CatalogError, CatalogPage, CatalogWalk};
pub use name::RepositoryName;
pub use operation::Operation;
pub use parse::RequestError;
pub use query::OpaqueQuery;
pub use reference::{Algorithm, Digest, Reference, Tag, UploadPath};
pub use request::{Mount, Page, RegistryRequest};
pub use scope::{CATALOG_SCOPE, Scope};
pub use spelling::right_spelling;
