//! What `moorgate demo` runs beside the gate, and what the tests run it against: a small container registry and a
//! stand-in for GitLab's token endpoint. Both speak plain HTTP/1.1 on a listener that the caller hands over.

pub mod gitlab;
mod ledger;
pub mod registry;
mod serve;
mod web;

pub use ledger::Ledger;
