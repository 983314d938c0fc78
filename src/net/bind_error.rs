//! Errors of listeners in the words of an operator: what is wrong, and what to do.

use std::io;
use std::net::{IpAddr, SocketAddr};

/// The first port that every program may listen on.
const FIRST_UNPRIVILEGED: u16 = 1024;

/// Returns the cause and the remedy of an error of a listener that could not be bound.
pub fn remedy(addr: SocketAddr, error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied if addr.port() < FIRST_UNPRIVILEGED => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE: give it to the program \
             (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE, Docker: --cap-add \
             NET_BIND_SERVICE, else: setcap cap_net_bind_service=+ep on the binary), or take a \
             port from 1024 on"
        }
        io::ErrorKind::PermissionDenied => {
            "a security policy of this machine, such as SELinux, forbids it: allow the port there, \
             or take another port"
        }
        io::ErrorKind::AddrInUse => {
            "another program listens on this port (`ss -ltnp` shows which): end it, or take \
             another port"
        }
        _ if lacks_interface(addr) => {
            "a link-local address needs the number of its interface, as in [fe80::1%2]:8443 (`ip \
             link` shows the numbers): add it, or take another address"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has this address (`ip address` shows them): take one of \
             this machine, or 0.0.0.0 or [::] for all"
        }
        _ if addr.is_ipv6() => "IPv6 may be off on this machine: take an IPv4 address",
        _ => "take another address or port",
    }
}

/// Returns whether this is a link-local IPv6 address, which every interface has, without its
/// interface.
fn lacks_interface(addr: SocketAddr) -> bool {
    match (addr, addr.ip()) {
        (SocketAddr::V6(whole), IpAddr::V6(ip)) => {
            ip.is_unicast_link_local() && whole.scope_id() == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_a_listener_has_a_remedy() {
        use io::ErrorKind::{
            AddrInUse, AddrNotAvailable, InvalidInput, PermissionDenied, Unsupported,
        };
        for (addr, kind, told) in [
            ("0.0.0.0:443", PermissionDenied, "CAP_NET_BIND_SERVICE"),
            ("[::]:1023", PermissionDenied, "a port from 1024 on"),
            ("0.0.0.0:1024", PermissionDenied, "a security policy"),
            ("0.0.0.0:8443", AddrInUse, "another program listens on this port"),
            ("192.0.2.1:8443", AddrNotAvailable, "no interface of this machine has this address"),
            ("[2001:db8::1]:8443", AddrNotAvailable, "no interface of this machine"),
            ("[fe80::1]:8443", InvalidInput, "[fe80::1%2]:8443"),
            ("[fe80::1]:8443", AddrNotAvailable, "[fe80::1%2]:8443"),
            ("[fe80::1%7]:8443", AddrNotAvailable, "no interface of this machine"),
            ("[::]:8443", Unsupported, "IPv6 may be off"),
            ("0.0.0.0:8443", InvalidInput, "take another address or port"),
        ] {
            let remedy = remedy(addr.parse().unwrap(), &kind.into());
            assert!(remedy.contains(told), "{addr}: {remedy}");
        }
    }
}
