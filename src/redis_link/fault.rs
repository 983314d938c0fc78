//! The reasons for which Redis cannot be used, in plain words, each with its remedy.

use std::fmt;
use std::io;

use redis::{ErrorKind, RedisError};
use secrecy::ExposeSecret;

use super::settings::RedisSettings;
use crate::net::tls_fault::{Concerns, TlsFault};
use crate::terminal::printable;

/// The reason for which Redis cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisFault {
    /// One word for the reason. Each has log lines of its own.
    pub(super) kind: &'static str,
    /// The key of the section `redis` that the reason concerns.
    pub key: &'static str,
    /// The reason in plain words.
    pub what: String,
    /// The remedy for the operator.
    pub remedy: String,
}

impl RedisFault {
    pub(super) fn new(
        kind: &'static str,
        key: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { kind, key, what: what.into(), remedy: remedy.into() }
    }

    /// The server gave no answer in time.
    pub(super) fn late(what: impl Into<String>) -> Self {
        let remedy = "check that the server runs, and the network to it, or set a longer \
                      redis.timeout";
        Self::new("late", "url", what, remedy)
    }

    /// The connection could not be made in time.
    pub(super) fn late_connection(to: &str, tls: bool) -> Self {
        // A server without TLS waits for the end of what it takes for a command.
        let remedy = if tls {
            "check that the server runs and uses TLS on this port, and the network to it"
        } else {
            "check that the server runs, and the network to it"
        };
        Self::new("late", "url", format!("no connection to {to} in time"), remedy)
    }

    /// The connection to a server cannot be made.
    pub(super) fn unreachable(address: &dyn fmt::Display, error: &io::Error) -> Self {
        if let Some(fault) = TlsFault::find(error) {
            let key = if fault.concerns == Concerns::Authorities { "ca" } else { "url" };
            // The words of other servers name their own schemes and keys.
            let text = fault.to_string().replace("http://", "redis://");
            let (what, remedy) = text.split_once("; ").unwrap_or((&text, "check the settings"));
            let what = format!("{address}: {what}");
            return Self::new("tls", key, what, remedy.replace("`ca`", "`redis.ca`"));
        }
        let remedy = "check the address, and that the server runs and can be reached from this \
                      machine";
        Self::new("unreachable", "url", format!("{address}: {error}"), remedy)
    }

    /// The connection has ended.
    pub(super) fn closed(address: &dyn fmt::Display) -> Self {
        let remedy = "check that the server runs, and that it uses TLS only if the URL is rediss";
        Self::new("closed", "url", format!("{address}: the connection has ended"), remedy)
    }

    /// The server sent something other than an answer.
    pub(super) fn garbage(address: &dyn fmt::Display, what: &str) -> Self {
        let remedy = "write the address of a Redis or Valkey, and rediss:// if it uses TLS";
        Self::new("garbage", "url", format!("{address}: {what}"), remedy)
    }

    /// Returns the fault of a server that refuses to work, by the code of its error; `None` if the
    /// error concerns only the one question.
    pub(super) fn refused(error: &RedisError) -> Option<Self> {
        let code = error.code()?;
        let detail = error.detail().unwrap_or_default();
        let forbidden = "the user of Redis may not run every command and script, or not on every \
                         key";
        let allow = "let its ACL allow +@all -@dangerous on the keys that begin with redis.prefix";
        let (kind, key, what, remedy) = match code {
            "WRONGPASS" => (
                "wrong_password",
                "password_file",
                "the server refuses the password, or the user name",
                "write a password that it accepts into the file of redis.password_file, and check \
                 redis.username",
            ),
            "NOAUTH" => (
                "no_password",
                "password_file",
                "the server asks for a password",
                "name a file with the password in redis.password_file",
            ),
            "ERR" if detail.contains("without any password configured") => (
                "password_unknown",
                "password_file",
                "the server has no password, and redis.password_file names one",
                "remove redis.password_file, or set a password at the server",
            ),
            "ERR" if detail.contains("invalid password") => (
                "wrong_password",
                "password_file",
                "the server refuses the password",
                "write a password that it accepts into the file of redis.password_file",
            ),
            "DENIED" => (
                "protected_mode",
                "password_file",
                "the server is in protected mode: without a password, it serves only its own \
                 machine",
                "give it a password (requirepass) and name a file with it in \
                 redis.password_file; in a network where only gates reach it, start it with \
                 --protected-mode no",
            ),
            "NOPERM" => ("forbidden", "username", forbidden, allow),
            // Of a command within a script.
            "ERR" if detail.contains("can't run this command") => {
                ("forbidden", "username", forbidden, allow)
            }
            "READONLY" => (
                "read_only",
                "url",
                "the server is a read-only replica",
                "write the address of the master in redis.url, or use redis.sentinel",
            ),
            "OOM" => (
                "full",
                "url",
                "the server is full and takes no more keys",
                "raise its maxmemory, or set its maxmemory-policy to volatile-ttl",
            ),
            "LOADING" => (
                "loading",
                "url",
                "the server is still loading its data",
                "wait until it has loaded them",
            ),
            "MASTERDOWN" => (
                "master_down",
                "url",
                "the server is a replica that has lost its master",
                "start the master, or write its address in redis.url",
            ),
            "CLUSTERDOWN" => (
                "cluster_down",
                "url",
                "the cluster is down, or has no node for a part of the keys",
                "see `redis-cli cluster info` at its nodes",
            ),
            "MISCONF" => (
                "misconfigured",
                "url",
                "the server takes no writes, because it cannot save its data",
                "see the log of the server, and its disk",
            ),
            "NOREPLICAS" => (
                "no_replicas",
                "url",
                "the server takes no writes, because it has too few replicas",
                "start its replicas, or lower its min-replicas-to-write",
            ),
            "BUSY" => (
                "busy",
                "url",
                "the server is held up by a script",
                "see its log; `redis-cli script kill` ends the script",
            ),
            "MOVED" | "ASK" => (
                "cluster",
                "url",
                "the server is a node of a cluster",
                "write redis.url as a list of nodes, even if it is a list of one",
            ),
            "ERR" if detail.contains("cluster support disabled") => (
                "no_cluster",
                "url",
                "the server is not a node of a cluster, and redis.url is a list",
                "write one URL that is not in a list, or set redis.sentinel",
            ),
            "ERR" if detail.contains("DB index is out of range") => (
                "no_database",
                "url",
                "the server has no database of this number",
                "write another number at the end of redis.url, or raise its setting databases",
            ),
            _ => return None,
        };
        Some(Self::new(kind, key, what, remedy))
    }

    /// Returns the fault of a question after which the link cannot be used; `None` if the error
    /// concerns only the one question.
    pub(super) fn of(error: &RedisError, address: &dyn fmt::Display) -> Option<Self> {
        match error.kind() {
            ErrorKind::Io => Some(Self::closed(address)),
            ErrorKind::Parse => {
                Some(Self::garbage(address, "the server does not answer as Redis does"))
            }
            _ => Self::refused(error),
        }
    }
}

/// Returns what an error says, without the password, which a hostile server could repeat.
pub(super) fn quoted(error: &RedisError, settings: &RedisSettings) -> String {
    let text: String = error.to_string().chars().take(400).collect();
    let text = match &settings.password {
        Some(password) => text.replace(password.expose_secret(), "…"),
        None => text,
    };
    printable(&text).chars().take(200).collect()
}

impl fmt::Display for RedisFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl std::error::Error for RedisFault {}
