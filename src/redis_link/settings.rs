//! The settings of the link.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use secrecy::SecretString;

/// The settings of the link.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// The servers and their arrangement.
    pub shape: RedisShape,
    /// The number of the database. It is 0 in a cluster.
    pub database: u32,
    /// The TLS settings; `None`: the connections are plain.
    pub tls: Option<RedisTls>,
    /// The user name of an ACL; `None`: the default user.
    pub username: Option<String>,
    /// The password; `None`: the server is not shown any.
    pub password: Option<SecretString>,
    /// The beginning of every key.
    pub prefix: Arc<str>,
    /// The longest time for one question.
    pub timeout: Duration,
}

/// The arrangement of the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisShape {
    /// One server.
    Single(RedisAddress),
    /// A master that sentinels know by its name.
    Sentinel {
        /// The sentinels, never empty.
        sentinels: Vec<RedisAddress>,
        /// The name of the master.
        master: Arc<str>,
    },
    /// Some nodes of a cluster, never empty, which know the others.
    Cluster(Vec<RedisAddress>),
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RedisAddress {
    /// A host, IPv6 without brackets, and a port.
    Host {
        /// The name or the address.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// The path of a Unix socket.
    Socket(PathBuf),
}

/// The TLS settings of the link.
#[derive(Clone, Debug)]
pub struct RedisTls {
    /// The certificate authorities that may have signed the server's certificate; `None` for those
    /// of the system.
    pub roots: Option<Arc<RootCertStore>>,
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}
