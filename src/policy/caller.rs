//! The caller of a request, as rules see it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::identity::Verified;

/// A verified caller, and the address from which it sends its request.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub verified: &'a Verified,
    /// The address of the client; `None` if it is not known, or is only that of a trusted proxy.
    /// No rule with `from` is for such a caller.
    pub address: Option<IpAddr>,
}

impl Caller<'_> {
    /// Returns whether the caller's address is in one of the networks. An IPv4-mapped IPv6 address
    /// counts as the IPv4 address.
    pub(super) fn is_in(&self, networks: &[IpNet]) -> bool {
        let address = self.address.map(|address| address.to_canonical());
        address.is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
    }
}

/// Gives the caller no address, so that a forgotten address allows nothing.
impl<'a> From<&'a Verified> for Caller<'a> {
    fn from(verified: &'a Verified) -> Self {
        Self { verified, address: None }
    }
}
