//! Builds the settings of the Redis or Valkey through which several gates act as one.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Build;
use crate::config::format::{RedisPlace, RedisUrl, RedisUrls};
use crate::config::problem::shown;
use crate::config::raw;
use crate::net::host::is_loopback;
use crate::redis_link::{RedisAddress, RedisSettings, RedisShape, RedisTls};

const URL: &str = "redis.url";

/// The allowed values of `redis.timeout`. Requests wait for it, so it cannot be long.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(1);

/// The usual ports of a server and of a sentinel.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

impl Build<'_> {
    /// Builds the settings; `None` if they are wrong, and `None` inside if each gate is by itself.
    pub(super) fn redis(&mut self, raw: &raw::Raw) -> Option<Option<RedisSettings>> {
        let Some(redis) = &raw.redis else { return Some(None) };
        if raw.tokens.key_file.is_none() && !self.is_reported("tokens.key_file") {
            let message = "gates that act as one need the same keys, and `tokens.key_file` is \
                           missing; set it to a file with the same keys at each of them";
            self.problem("redis", message);
        }
        let timeout = redis.timeout.to_std();
        if !TIMEOUT.contains(&timeout) {
            let message = format!("`{}` is out of range; write 1ms to 1s", redis.timeout);
            self.problem("redis.timeout", message);
        }
        let password = match &redis.password_file {
            Some(file) => Some(self.secret("redis.password_file", file)?),
            None => None,
        };
        self.check_username(redis);
        let urls = redis.url.as_ref()?;
        let database = self.check_urls(urls, redis.sentinel.as_deref());
        let tls = self.redis_tls(redis, urls)?;
        Some(Some(RedisSettings {
            shape: shape(urls, redis.sentinel.as_deref()),
            database,
            tls,
            username: redis.username.clone(),
            password,
            prefix: redis.prefix.0.as_str().into(),
            timeout,
        }))
    }

    fn check_username(&mut self, raw: &raw::RedisSection) {
        let reported = self.is_reported("redis.password_file");
        if raw.username.is_some() && raw.password_file.is_none() && !reported {
            let message = "a user name needs `redis.password_file`, which is missing; set both, \
                           or remove this key";
            self.problem("redis.username", message);
        }
    }

    /// Checks what the URLs mean together, and returns the number of the database.
    fn check_urls(&mut self, urls: &RedisUrls, sentinel: Option<&str>) -> u32 {
        let first = urls.first();
        let database = first.and_then(|url| url.database).unwrap_or(0);
        for (path, url) in urls.places() {
            if let RedisPlace::Host { tls: false, host, .. } = &url.at
                && !is_loopback(host)
            {
                let message = "the password of Redis and what gates share cross the network in \
                               the clear; write rediss://…";
                self.warn(&path, message);
            }
            let in_list = matches!(urls, RedisUrls::List(_));
            let is_socket = matches!(url.at, RedisPlace::Socket(_));
            if is_socket && in_list {
                let message = "a list is of servers that reach each other, and this is a socket \
                               of one machine; write redis://HOST:PORT, or one URL instead of a \
                               list";
                self.problem(&path, message);
            } else if is_socket && sentinel.is_some() {
                let message = "a sentinel names the master by its host and port, so it cannot be \
                               behind a socket; write redis://HOST:PORT, or remove redis.sentinel";
                self.problem(&path, message);
            } else if let Some(first) = first.filter(|first| first.scheme() != url.scheme()) {
                let message = format!(
                    "the scheme is {}, and that of the first URL is {}; write the same scheme in \
                     every URL",
                    url.scheme(),
                    first.scheme()
                );
                self.problem(&path, message);
            }
            let own = url.database.unwrap_or(0);
            if in_list && sentinel.is_none() && own != 0 {
                let message = format!(
                    "the database is {own}, and a cluster has only database 0; write the URL \
                     without a database, or one URL instead of a list"
                );
                self.problem(&path, message);
            } else if sentinel.is_some() && own != database {
                let message = format!(
                    "the database is {own}, and that of the first URL is {database}; write the \
                     same database in every URL"
                );
                self.problem(&path, message);
            }
        }
        database
    }

    /// Builds the TLS settings; `None` if the file is wrong, and `None` inside without TLS.
    fn redis_tls(&mut self, raw: &raw::RedisSection, urls: &RedisUrls) -> Option<Option<RedisTls>> {
        let roots = match &raw.ca {
            Some(file) => Some(self.roots("redis.ca", file)?),
            None => None,
        };
        if urls.places().any(|(_, url)| url.scheme() == "rediss") {
            return Some(Some(RedisTls { roots }));
        }
        if let Some(file) = &raw.ca {
            let message = format!(
                "`{}` has no effect because the URL is not rediss; write rediss://… or remove \
                 this key",
                shown(file)
            );
            self.problem("redis.ca", message);
        }
        Some(None)
    }
}

impl RedisUrls {
    fn all(&self) -> &[RedisUrl] {
        match self {
            Self::One(url) => std::slice::from_ref(url),
            Self::List(urls) => urls,
        }
    }

    fn first(&self) -> Option<&RedisUrl> {
        self.all().first()
    }

    /// Returns each URL with the path of its value.
    fn places(&self) -> impl Iterator<Item = (String, &RedisUrl)> {
        let in_list = matches!(self, Self::List(_));
        self.all().iter().enumerate().map(move |(index, url)| {
            (if in_list { format!("{URL}[{index}]") } else { URL.to_owned() }, url)
        })
    }
}

fn shape(urls: &RedisUrls, sentinel: Option<&str>) -> RedisShape {
    let port = if sentinel.is_some() { SENTINEL_PORT } else { PORT };
    let addresses: Vec<_> = urls.all().iter().map(|url| address(url, port)).collect();
    match (urls, sentinel) {
        (_, Some(master)) => RedisShape::Sentinel { sentinels: addresses, master: master.into() },
        (RedisUrls::List(_), None) => RedisShape::Cluster(addresses),
        (RedisUrls::One(url), None) => RedisShape::Single(address(url, port)),
    }
}

fn address(url: &RedisUrl, usual_port: u16) -> RedisAddress {
    match &url.at {
        RedisPlace::Host { host, port, .. } => {
            RedisAddress::Host { host: host.as_str().into(), port: port.unwrap_or(usual_port) }
        }
        RedisPlace::Socket(path) => RedisAddress::Socket(PathBuf::from(path)),
    }
}
