//! The providers: each type in a module of its own, and what they share in [`common`].

pub mod common;
pub mod gitlab;
pub mod htpasswd;
pub mod introspection;
pub mod jwks;
pub mod jwt;
pub mod registry_token;
#[cfg(test)]
mod test_server;
