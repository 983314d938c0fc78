//! Faults of the registry, and what users see of them.

mod answers;
mod breaks;
mod headers;
mod http10;
mod late_bodies;
mod leading_away;
mod leaving;
mod pooling;
mod refusals;
