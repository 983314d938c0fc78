//! Network building blocks: addresses of clients, sockets that record their progress, TLS towards
//! servers, the limit on open files, and errors of listeners.

pub mod address_text;
pub mod bind_error;
pub mod client_address;
pub mod client_tls;
pub mod dial;
pub mod endpoint;
pub mod held_writes;
pub mod host;
pub mod host_list;
pub mod monitored_io;
pub mod open_files;
pub mod reachable;
pub mod read_ahead;
pub mod tls_fault;
