//! The commands.

pub mod check_config;
pub mod print_config;
