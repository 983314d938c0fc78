//! Network building blocks: addresses of clients, sockets that record their progress, TLS towards
//! servers, and the limit on open files.

pub mod client_address;
pub mod client_tls;
pub mod endpoint;
pub mod monitored_io;
pub mod open_files;
pub mod tls_fault;
