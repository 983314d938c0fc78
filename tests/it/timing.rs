//! Tests of the deadlines, of the drain and of their records. A test that a deadline fires makes
//! that one short and all others a minute. A test that a deadline does not fire waits for longer
//! than it.

mod a_thousand;
mod connections;
mod deadlines;
mod deadlines_http2;
mod drain;
mod leaving;
mod patience;
mod record;
mod rest;
