//! The client's address of a request that came through proxies. Pure functions.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use http::header::{self, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks of the proxies that are trusted to report the client's address.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(pub Vec<IpNet>);

impl TrustedProxies {
    /// Returns the client's address: the right-most address in `X-Forwarded-For` that is not a
    /// trusted proxy. `Forwarded` is read only if `X-Forwarded-For` is missing. The result is the
    /// peer's own address if the peer is not trusted, or if the header cannot be read or names only
    /// trusted proxies. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if self.0.is_empty() || !self.trusts(peer) {
            return peer;
        }
        let told = if headers.contains_key(X_FORWARDED_FOR) {
            self.right_most(headers, X_FORWARDED_FOR, |entry| entry.trim().parse_address())
        } else {
            self.right_most(headers, header::FORWARDED, forwarded_for)
        };
        told.unwrap_or(peer)
    }

    fn right_most(
        &self,
        headers: &HeaderMap,
        name: HeaderName,
        read: impl Fn(&str) -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        for line in headers.get_all(name).iter().rev() {
            for entry in line.to_str().ok()?.rsplit(',') {
                let address = read(entry)?.to_canonical();
                if !self.trusts(address) {
                    return Some(address);
                }
            }
        }
        None
    }

    /// Returns whether the address is that of a trusted proxy.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Returns the address that stands for one client: an IPv4 address, or an IPv6 network of /64,
/// which one subscriber has. An IPv4-mapped IPv6 address counts as the IPv4 address.
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

/// Returns the `for` of one element of `Forwarded` (RFC 7239, 4):
/// `for="[2001:db8::1]:4711";proto=https`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut nodes = pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case("for"));
    let (_, node) = nodes.next()?;
    node.trim().trim_matches('"').parse_address()
}

trait ParseAddress {
    fn parse_address(&self) -> Option<IpAddr>;
}

impl ParseAddress for str {
    /// Parses an address, with or without a port. IPv6 may have brackets.
    fn parse_address(&self) -> Option<IpAddr> {
        let bracketed = self.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let with_port = || self.parse::<SocketAddr>().ok().map(|socket| socket.ip());
        bracketed.unwrap_or(self).parse().ok().or_else(with_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let proxies =
            TrustedProxies(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(client("192.0.2.1", &[("x-forwarded-for", "198.51.100.1")]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "198.51.100.1")]), "198.51.100.1");
        assert_eq!(
            client("::ffff:10.0.0.1", &[("x-forwarded-for", "198.51.100.1")]),
            "198.51.100.1"
        );
        assert_eq!(client("::ffff:192.0.2.1", &[]), "192.0.2.1");
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_a_trusted_proxy() {
        assert_eq!(
            client("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, 2.2.2.2, 10.9.9.9")]),
            "2.2.2.2"
        );
        assert_eq!(
            client("10.0.0.1", &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")]),
            "2.2.2.2"
        );
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "10.1.1.1")]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "[2001:db8::1]:99")]), "2001:db8::1");
        assert_eq!(client("fd00::1", &[("x-forwarded-for", "2001:db8::1")]), "2001:db8::1");
    }

    #[test]
    fn the_peer_is_the_client_if_the_header_is_unreadable() {
        for value in ["unknown", "", "1.1.1.1, nonsense", "1.1.1.1,"] {
            assert_eq!(client("10.0.0.1", &[("x-forwarded-for", value)]), "10.0.0.1", "{value}");
        }
    }

    #[test]
    fn forwarded_is_read_if_x_forwarded_for_is_absent() {
        assert_eq!(
            client(
                "10.0.0.1",
                &[("forwarded", "for=1.1.1.1, For=\"[2001:db8::1]:4711\";proto=https")]
            ),
            "2001:db8::1"
        );
        assert_eq!(client("10.0.0.1", &[("forwarded", "for=_hidden")]), "10.0.0.1");
        assert_eq!(
            client("10.0.0.1", &[("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "2.2.2.2")]),
            "2.2.2.2"
        );
    }

    #[test]
    fn addresses_of_one_network_are_one_client() {
        let network = |text: &str| client_network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("2001:db8:1:3::1"), "2001:db8:1:3::");
        assert_eq!(network("192.0.2.1"), "192.0.2.1");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
