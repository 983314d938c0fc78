//! The link to a Redis or Valkey, through which several gates act as one.

mod settings;

pub use settings::{RedisAddress, RedisSettings, RedisShape, RedisTls};
