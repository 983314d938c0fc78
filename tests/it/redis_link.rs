//! The link to Redis, against real servers in every arrangement.

mod away;
mod shapes;

use std::sync::Arc;
use std::time::Duration;

use moorgate::metrics::Metrics;
use moorgate::redis_link::{
    RedisAddress, RedisAway, RedisLink, RedisScript, RedisSettings, RedisShape,
};
use tokio::runtime::Handle;

use crate::redis_servers::{PASSWORD, RedisServer};

/// Longer than any wait of the link.
const PATIENCE: Duration = Duration::from_secs(60);

/// Not so short that a busy machine takes it for an outage.
const TIMEOUT: Duration = Duration::from_millis(500);

fn at(server: &RedisServer) -> RedisAddress {
    RedisAddress::Host { host: "127.0.0.1".into(), port: server.port }
}

fn settings(shape: RedisShape) -> RedisSettings {
    RedisSettings {
        shape,
        database: 0,
        tls: None,
        username: Some("gate".to_owned()),
        password: Some(PASSWORD.into()),
        prefix: "moorgate".into(),
        timeout: TIMEOUT,
    }
}

/// A link, and a script that counts.
struct Linked {
    link: Arc<RedisLink>,
    count: RedisScript,
}

impl Linked {
    fn start(settings: RedisSettings) -> Self {
        let link = RedisLink::start(settings, Arc::new(Metrics::new()), &Handle::current());
        Self { link, count: RedisScript::new("return redis.call('INCR', KEYS[1])") }
    }

    async fn up(settings: RedisSettings) -> Self {
        let linked = Self::start(settings);
        linked.waits_for(true).await;
        linked
    }

    async fn waits_for(&self, up: bool) {
        let mut told = self.link.subscribe();
        let change = tokio::time::timeout(PATIENCE, told.wait_for(|is_up| *is_up == up)).await;
        change.unwrap_or_else(|_| panic!("the link never got up = {up}")).unwrap();
    }

    async fn count(&self, key: &str) -> Result<i64, RedisAway> {
        self.link.call("count", &self.count, &[format!("moorgate:{key}")], &[]).await
    }
}
