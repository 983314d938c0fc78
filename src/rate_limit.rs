//! The primitives of rate limiting: the algorithm, the memory of what each caller owes, and the
//! clock that both count by.
//!
//! They know nothing of requests or of the config. [`limits`](crate::limits) and
//! [`identity`](crate::identity) build on them.

mod clock;
mod gcra;
mod table;

pub use clock::Clock;
pub use gcra::{LONGEST_WAIT, Nanos, Quota, Taken, nanos};
pub use table::{CallerKey, Table};
