//! The registry protocol as values: names, references, requests and what each request needs.
//!
//! Everything here is pure. A client's request line becomes a [`RegistryRequest`] or an error, and
//! what goes upstream is rendered from that value, so that the registry sees exactly what was
//! judged.

mod access;
mod catalog;
mod name;
mod operation;
mod parse;
mod query;
mod reference;
mod request;
mod scope;

pub use access::{Access, Action, Actions};
pub use catalog::{CatalogError, CatalogPage, CatalogWalk};
pub use name::RepositoryName;
pub use operation::Operation;
pub use parse::RequestError;
pub use query::OpaqueQuery;
pub use reference::{Algorithm, Digest, Reference, Tag, UploadId};
pub use request::{Mount, Page, RegistryRequest};
pub use scope::{CATALOG_SCOPE, Scope};
