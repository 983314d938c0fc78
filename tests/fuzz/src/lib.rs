//! The properties that must hold of each parser whose input comes from untrusted parties. Every
//! module has a `check` that panics where they do not hold.
//!
//! The fuzz targets call `check` with generated inputs, and `cargo test` calls it with the
//! committed seeds.

pub mod authorization;
pub mod config;
pub mod gate;
pub mod gate_token;
pub mod gitlab_reply;
pub mod grammar;
pub mod introspection_reply;
pub mod json;
pub mod jwt;
pub mod message;
pub mod request;
pub mod token_request;
pub mod traceparent;
