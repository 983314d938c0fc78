//! The integration tests, as one binary.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod audit;
mod canary;
mod catalog;
mod check_online;
mod classes;
mod commands;
mod config;
mod explain;
mod failed_logins;
mod foreign;
mod fuzz;
mod gate_process;
mod harness;
mod hostile;
mod hostile_registry;
mod http2_client;
mod http2_flow;
mod identity;
mod layers;
mod limits;
mod media_types;
mod message_rules;
mod metrics;
mod other_spellings;
mod panics;
mod policy;
mod proxy_protocol;
mod readme;
mod redis_link;
mod redis_servers;
mod reload;
mod replicas;
mod revoke;
mod routing;
mod scripted_upstream;
mod spelling;
mod stand_ins;
mod status;
mod timing;
mod tls;
mod tokens;
mod traces;
mod upstream;
mod workloads;
