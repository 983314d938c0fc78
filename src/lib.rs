//! moorgate: an authenticating reverse proxy in front of an existing container registry.
//!
//! # The life of a request
//!
//! accept → TLS → parse → limit the address → authenticate → authorise → limit the caller → forward
//! → respond and record
//!
//! | stage | where | what happens |
//! |---|---|---|
//! | accept, TLS | [`server`] | A worker takes the connection and keeps it. Every wait has a deadline. |
//! | the stages in order | [`gate`] | The one file that names them all. |
//! | parse | [`framing`], [`registry`] | The message must be plain, and its target one operation in its one spelling. |
//! | limit | [`limits`] | By address before anybody looks at the credential, by user once the request is allowed. |
//! | authenticate | [`identity`] | The credential is looked up in the cache, else the providers are asked in order. |
//! | authorise | [`policy`] | The line that decides. Its [`Permit`](policy::Permit) is needed to forward anything. |
//! | forward | [`upstream`], [`body`] | What goes to the registry is rendered from the parsed request; bodies stream. |
//! | respond | [`denial`], [`respond`] | A refusal is a value until it becomes an answer. |
//! | record | [`record`] | One line and some counters, when the last byte has gone. |
//!
//! The parts that decide ([`registry`], [`policy`], [`denial`], [`framing`], header rules) are
//! pure: no sockets, no clock, no config. `tests/it/layers.rs` holds the table of who may know
//! whom.

pub mod admin;
pub mod body;
pub mod cli;
pub mod config;
pub mod demo;
pub mod denial;
pub mod framing;
pub mod gate;
pub mod identity;
pub mod limits;
pub mod log_throttle;
pub mod metrics;
pub mod net;
pub mod policy;
pub mod rate_limit;
pub mod record;
pub mod registry;
pub mod respond;
pub mod run;
pub mod server;
pub mod token_service;
pub mod upstream;
