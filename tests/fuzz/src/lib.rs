//! What must hold of each parser that reads what strangers send. Every module has a `check` that
//! panics where it does not.
//!
//! The fuzz targets call them with whatever they come up with, and `cargo test` with the committed
//! seeds.

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
