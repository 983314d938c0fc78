//! Parts that several providers are built from.

pub mod claims;
pub mod http_client;
pub mod log_topic;
pub mod scope_lists;
pub mod sources;
pub mod strict_json;
