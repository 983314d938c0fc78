//! The addresses of Redis servers, and the beginning of the gate's keys there.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Format, word};
use crate::config::problem::shown;
use crate::net::host::{parse_host, split_port};

/// The address of a Redis server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct RedisUrl {
    pub(in crate::config) at: RedisPlace,
    /// The number of the database; `None` if the URL has none, which means 0.
    pub(in crate::config) database: Option<u32>,
}

/// The place of a Redis server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum RedisPlace {
    /// A host and a port.
    Host {
        /// `true` if the gate speaks TLS to it.
        tls: bool,
        /// The host, in lower case. An IPv6 address has no brackets.
        host: String,
        /// The port; `None` for the usual one.
        port: Option<u16>,
    },
    /// The absolute path of a Unix socket.
    Socket(String),
}

/// One server, or the list of several servers.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(in crate::config) enum RedisUrls {
    One(RedisUrl),
    List(Vec<RedisUrl>),
}

/// The beginning of every key that the gate writes to Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct KeyPrefix(pub(in crate::config) String);

impl RedisUrl {
    const RIGHT: &str = "write e.g. redis://127.0.0.1:6379, rediss://redis.example.com:6379/0 or \
         redis+unix:///run/redis/redis.sock";

    /// Returns the scheme as written in a URL.
    pub(in crate::config) fn scheme(&self) -> &'static str {
        match self.at {
            RedisPlace::Host { tls: false, .. } => "redis",
            RedisPlace::Host { tls: true, .. } => "rediss",
            RedisPlace::Socket(_) => "redis+unix",
        }
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    /// Reads a URL. No message quotes more of it than its scheme, because an operator may have
    /// written a password anywhere in it.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            return Err(format!(
                "the URL contains a user name or a password; write them in `redis.username` and \
                 in the file that `redis.password_file` names, and the URL without them; {}",
                Self::RIGHT
            ));
        }
        let wrong = |what: &str| format!("the URL {what}; {}", Self::RIGHT);
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        match scheme.to_ascii_lowercase().as_str() {
            "redis" => Self::of_host(false, rest),
            "rediss" => Self::of_host(true, rest),
            "redis+unix" => Self::of_socket(rest),
            _ => {
                let scheme = shown(scheme);
                return Err(format!(
                    "the scheme `{scheme}` is not redis, rediss (TLS) or redis+unix; {}",
                    Self::RIGHT
                ));
            }
        }
        .map_err(wrong)
    }
}

impl RedisUrl {
    fn of_host(tls: bool, rest: &str) -> Result<Self, &'static str> {
        if rest.contains(['?', '#']) {
            return Err("has a query or a fragment");
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = split_port(authority).ok_or("has a malformed port")?;
        let host = parse_host(host).ok_or("has a malformed host")?;
        let database = if path.is_empty() { None } else { Some(database(path)?) };
        Ok(Self { at: RedisPlace::Host { tls, host, port }, database })
    }

    fn of_socket(rest: &str) -> Result<Self, &'static str> {
        let (path, query) = rest.split_once('?').map_or((rest, None), |(p, q)| (p, Some(q)));
        if !path.starts_with('/') || path.ends_with('/') {
            return Err("has no absolute path of a socket");
        }
        if path.contains(['#', '%']) || path.contains(char::is_control) {
            return Err("has a #, a % or a control character in the path of the socket");
        }
        let database = match query {
            None => None,
            Some(query) => {
                let number = query.strip_prefix("db=");
                Some(database(number.ok_or("has a query that is not db= and a number")?)?)
            }
        };
        Ok(Self { at: RedisPlace::Socket(path.to_owned()), database })
    }
}

/// Reads the number of a database.
fn database(text: &str) -> Result<u32, &'static str> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Redis counts its databases with a signed number.
    let number = text.parse().ok().filter(|number| is_number && i32::try_from(*number).is_ok());
    number.ok_or("has a path that is not the number of a database")
}

impl FromStr for KeyPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Braces would take part in the choice of a node in a cluster, which the gate makes itself.
        word(text, "._:-").filter(|text| text.len() <= 64).map(Self).ok_or_else(|| {
            format!(
                "`{}` is not a prefix; write 1 to 64 characters of a-z A-Z 0-9 . _ : -, e.g. \
                 moorgate",
                shown(text)
            )
        })
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme())?;
        let before_database = match &self.at {
            RedisPlace::Host { host, port, .. } => {
                if host.contains(':') {
                    write!(f, "[{host}]")?
                } else {
                    f.write_str(host)?
                }
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                "/"
            }
            RedisPlace::Socket(path) => {
                f.write_str(path)?;
                "?db="
            }
        };
        match self.database {
            Some(database) => write!(f, "{before_database}{database}"),
            None => Ok(()),
        }
    }
}

impl JsonSchema for RedisUrls {
    fn schema_name() -> Cow<'static, str> {
        "redis-urls".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "array"],
            "format": RedisUrl::NAME,
            "items": RedisUrl::json_schema(generator),
            "minItems": 1,
            "examples": [RedisUrl::EXAMPLE],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_kinds_of_url_are_read_and_printed() {
        for text in [
            "redis://127.0.0.1",
            "redis://127.0.0.1:6380/2",
            "rediss://redis.example.com:6379/0",
            "rediss://[::1]:1",
            "redis+unix:///run/redis.sock",
            "redis+unix:///run/redis.sock?db=3",
        ] {
            assert_eq!(text.parse::<RedisUrl>().expect(text).to_string(), text);
        }
        let same: RedisUrl = "REDIS://Redis.Example.COM/".parse().expect("a URL");
        assert_eq!(same.to_string(), "redis://redis.example.com");
    }

    #[test]
    fn other_texts_are_refused_and_not_quoted() {
        for text in [
            "hunter2",
            "http://hunter2",
            "redis://user:hunter2@127.0.0.1",
            "rediss://:hunter2@127.0.0.1:6379",
            "redis://h:hunter2",
            "redis://hunter2..x",
            "redis://127.0.0.1/hunter2",
            "redis://127.0.0.1/-1",
            "redis://127.0.0.1/+1",
            "redis://127.0.0.1/2147483648",
            "redis://127.0.0.1?password=hunter2",
            "redis+unix://run/hunter2",
            "redis+unix:///",
            "redis+unix:///run/redis.sock?pass=hunter2",
            "redis+unix:///run/redis.sock?db=",
            "redis+unix:///run/hunter%32",
        ] {
            let message = text.parse::<RedisUrl>().expect_err(text);
            assert!(!message.contains("hunter2"), "{message}");
            assert!(message.contains("; write "), "{message}");
        }
        let message = "redis://:x@a".parse::<RedisUrl>().expect_err("a password");
        assert!(message.contains("`redis.password_file`"), "{message}");
        assert!(message.contains("`redis.username`"), "{message}");
    }

    #[test]
    fn a_prefix_has_no_braces() {
        for text in ["moorgate", "a", "team:gate-1._", &"x".repeat(64)] {
            assert!(text.parse::<KeyPrefix>().is_ok(), "{text}");
        }
        for text in ["", "a b", "{a}", "a*", &"x".repeat(65)] {
            assert!(text.parse::<KeyPrefix>().is_err(), "{text}");
        }
    }
}
