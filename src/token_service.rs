//! The registry token service: who asks, and what the token is good for.

pub mod gate_token;
