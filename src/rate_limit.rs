//! The primitives of rate limiting: the algorithm, the table of what each caller owes, and the
//! clock of both.
//!
//! The table of [`shared`] is one that several replicas of the gate share. They do not depend on
//! requests or on the config. [`limits`](crate::limits) and [`identity`](crate::identity) build on
//! them.

mod clock;
mod gcra;
pub mod shared;
mod table;

pub use clock::Clock;
pub use gcra::{LONGEST_WAIT, Nanos, Quota, Taken, nanos};
pub use table::{CallerKey, Table};
