//! moorgate: an authenticating reverse proxy in front of an existing container registry.

pub mod cli;
pub mod config;
pub mod demo;
pub mod identity;
pub mod registry;
