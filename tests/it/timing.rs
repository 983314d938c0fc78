//! Deadlines, drain and what the record says of them. A deadline that fires is shown by one that is
//! short where all others are a minute; one that must not fire, by a wait that is longer than it.

mod a_thousand;
mod connections;
mod deadlines;
mod deadlines_http2;
mod drain;
mod patience;
mod record;
