//! The integration tests, as one binary.

mod stand_ins;
