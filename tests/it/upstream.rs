//! Tests of the faults of a registry, and of their effects on clients.

mod answers;
mod breaks;
mod headers;
mod http10;
mod identity;
mod late_bodies;
mod leading_away;
mod leaving;
mod pooling;
mod refusals;
