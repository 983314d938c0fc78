//! Lists of hosts that a config allows: names, patterns of names, addresses and networks.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

use super::host::{parse_host, split_port};
use super::reachable::is_globally_reachable;

/// An entry of a list of hosts: `storage.example.com`, `*.example.com:8443`, `127.0.0.1:9000` or
/// `10.0.0.0/8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedHost {
    /// A host name; `any_below`: every name below it, and not the name itself.
    Name { name: String, any_below: bool, port: Option<u16> },
    /// An address or a network.
    Network { network: IpNet, port: Option<u16> },
}

/// The hosts that a config allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostList(Vec<ListedHost>);

impl FromStr for ListedHost {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(network) = text.parse::<IpNet>() {
            let is_exact = network.trunc() == network;
            return is_exact.then_some(Self::Network { network, port: None }).ok_or(());
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network { network: address.into(), port: None });
        }
        let (host, port) = split_port(text).ok_or(())?;
        let (host, any_below) = match host.strip_prefix("*.") {
            Some(host) => (host, true),
            None => (host, false),
        };
        let name = parse_host(host).ok_or(())?;
        match name.parse::<IpAddr>() {
            Ok(address) if !any_below => Ok(Self::Network { network: address.into(), port }),
            Ok(_) => Err(()),
            Err(_) => Ok(Self::Name { name, any_below, port }),
        }
    }
}

impl ListedHost {
    /// Returns whether the entry is one host, and not a pattern or a network.
    pub fn is_one_host(&self) -> bool {
        match self {
            Self::Name { any_below, .. } => !any_below,
            Self::Network { network, .. } => network.prefix_len() == network.max_prefix_len(),
        }
    }

    /// Returns whether the entry allows almost every host: a network of more than an eighth of all
    /// addresses, or every name below a name of one label.
    pub fn is_wide(&self) -> bool {
        match self {
            Self::Name { name, any_below, .. } => *any_below && !name.contains('.'),
            Self::Network { network, .. } => network.prefix_len() < 4,
        }
    }

    fn port(&self) -> Option<u16> {
        match self {
            Self::Name { port, .. } | Self::Network { port, .. } => *port,
        }
    }

    fn is_of(&self, host: &str) -> bool {
        match self {
            Self::Name { name, any_below: false, .. } => name == host,
            Self::Name { name, any_below: true, .. } => host
                .strip_suffix(&**name)
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|below| !below.is_empty()),
            Self::Network { network, .. } => {
                host.parse::<IpAddr>().is_ok_and(|address| network.contains(&address))
            }
        }
    }
}

impl HostList {
    /// Creates a list.
    pub fn new(hosts: Vec<ListedHost>) -> Self {
        Self(hosts)
    }

    /// Returns whether the host is listed, with any port where the entry names none.
    pub fn lists_host(&self, host: &str, port: u16) -> bool {
        self.0.iter().any(|entry| entry.is_of(host) && entry.port().is_none_or(|it| it == port))
    }

    /// Returns whether the host is listed with this port, which is 443 where the entry names none.
    pub fn lists_port(&self, host: &str, port: u16) -> bool {
        self.0.iter().any(|entry| entry.is_of(host) && entry.port().unwrap_or(443) == port)
    }

    /// Returns whether the gate may connect to an address of a listed host: it is globally
    /// reachable, or the list names it or its network. An entry with a port allows that port alone.
    pub fn allows_address(&self, address: SocketAddr) -> bool {
        let (address, used) = (address.ip().to_canonical(), address.port());
        let is_within = |entry: &ListedHost| match entry {
            ListedHost::Network { network, port } => {
                network.contains(&address) && port.is_none_or(|port| port == used)
            }
            ListedHost::Name { .. } => false,
        };
        is_globally_reachable(address) || self.0.iter().any(is_within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> HostList {
        HostList::new(entries.iter().map(|entry| entry.parse().expect(entry)).collect())
    }

    #[test]
    fn entries_have_one_reading() {
        for text in ["*.r2.cloudflarestorage.com", "a:9000", "[::1]:9000", "::1", "10.0.0.0/8"] {
            assert!(text.parse::<ListedHost>().is_ok(), "{text}");
        }
        for text in [
            "",
            "*",
            "*.",
            "a.*",
            "*a",
            "**.a",
            "https://a",
            "a/b",
            "a:0",
            "a:",
            "a:x",
            "u@a",
            "10.0.0.1/8",
            "*.10.0.0.1",
            "0x7f.1",
            "a b",
            "a.",
        ] {
            assert!(text.parse::<ListedHost>().is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_match_whole_labels_below_a_name() {
        let hosts = list(&["*.example.com", "Exact.example.org", "*.ports.example.com:8443"]);
        for (host, port, listed) in [
            ("a.example.com", 443, true),
            ("b.a.example.com", 443, true),
            ("example.com", 443, false),
            ("aexample.com", 443, false),
            (".example.com", 443, false),
            ("a.example.com.evil.test", 443, false),
            ("a.example.com", 8443, false),
            ("a.ports.example.com", 8443, true),
            ("exact.example.org", 443, true),
            ("a.exact.example.org", 443, false),
        ] {
            assert_eq!(hosts.lists_port(host, port), listed, "{host}:{port}");
        }
        assert!(hosts.lists_host("exact.example.org", 8080));
        assert!(!hosts.lists_host("a.ports.example.com.evil.test", 8443));
    }

    #[test]
    fn addresses_must_be_listed_as_such() {
        let hosts = list(&["localhost:9000", "127.0.0.1:9000", "10.0.0.0/8", "fd00::/8"]);
        assert!(hosts.lists_port("127.0.0.1", 9000) && !hosts.lists_port("127.0.0.1", 443));
        assert!(hosts.lists_port("10.1.2.3", 443) && !hosts.lists_port("8.8.8.8", 443));
        for (address, allowed) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("127.0.0.2", false),
            ("10.9.9.9", true),
            ("8.8.8.8", true),
            ("169.254.169.254", false),
            ("::1", false),
            ("fd00::1", true),
        ] {
            let address = SocketAddr::new(address.parse().unwrap(), 9000);
            assert_eq!(hosts.allows_address(address), allowed, "{address}");
        }
        assert!(!hosts.allows_address("127.0.0.1:9001".parse().unwrap()));
        assert!(hosts.allows_address("10.0.0.1:1".parse().unwrap()));
    }
}
