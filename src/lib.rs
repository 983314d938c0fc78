//! moorgate: an authenticating reverse proxy in front of an existing container registry.

pub mod config;
pub mod identity;
pub mod registry;
