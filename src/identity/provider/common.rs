//! Parts that several providers are built from.

pub mod claims;
pub mod last_fault;
pub mod log_topic;
pub mod scope_lists;
pub mod sources;
