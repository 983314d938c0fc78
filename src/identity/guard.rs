//! The limits and the state that protect providers from callers, and callers from a provider that
//! is down.

pub mod breaker;
pub mod failed_logins;
pub mod failure_budget;
pub mod fair_queue;
pub mod health;
pub mod question_rate;
pub mod shared_guards;
