//! The integration tests, as one binary.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod commands;
mod config;
#[allow(dead_code)] // until each part has its test
mod harness;
mod identity;
mod layers;
mod routing;
mod spelling;
mod stand_ins;
