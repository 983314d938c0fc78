//! moorgate: an authenticating reverse proxy in front of an existing container registry.

pub mod demo;
pub mod registry;
