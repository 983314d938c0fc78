//! The section `redis`: the Redis or Valkey through which several gates act as one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::format::{Duration, KeyPrefix, RedisUrls};

/// The Redis or Valkey through which several gates act as one; null: each gate by itself.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("examples" = [{ "url": "redis://127.0.0.1:6379" }]))]
pub(in crate::config) struct RedisSection {
    /// The server: redis://HOST:PORT/DATABASE, rediss:// with TLS, or redis+unix:///PATH?db=N. A
    /// list: nodes of a cluster or, with sentinel, the sentinels.
    #[schemars(required)]
    pub(in crate::config) url: Option<RedisUrls>,
    /// The name of the master that the sentinels in url watch; null: url has no sentinels.
    #[schemars(length(min = 1), extend("examples" = ["mymaster"]))]
    pub(in crate::config) sentinel: Option<String>,
    /// The user name of an ACL; null: the default user.
    #[schemars(length(min = 1), extend("examples" = ["moorgate"]))]
    pub(in crate::config) username: Option<String>,
    /// A file with the password, in one line; null: no password.
    #[schemars(length(min = 1), extend("format" = "file", "examples" = ["redis.password"]))]
    pub(in crate::config) password_file: Option<String>,
    /// A PEM file with the authorities that may issue the server's certificate; null: those of
    /// the system.
    #[schemars(length(min = 1), extend("format" = "file", "examples" = ["ca.pem"]))]
    pub(in crate::config) ca: Option<String>,
    /// The beginning of every key that the gate writes. Gates with the same prefix act as one.
    pub(in crate::config) prefix: KeyPrefix,
    /// The longest time for one question to Redis, 1ms to 1s. After it, the gate goes on alone.
    pub(in crate::config) timeout: Duration,
}

impl Default for RedisSection {
    fn default() -> Self {
        Self {
            url: None,
            sentinel: None,
            username: None,
            password_file: None,
            ca: None,
            prefix: KeyPrefix("moorgate".to_owned()),
            // Many times a round trip in one data centre, and less than a client notices.
            timeout: Duration::milliseconds(50),
        }
    }
}
