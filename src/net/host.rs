//! Hosts in addresses: names, and IP addresses in their one spelling.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Splits an authority into its host and its port, if it has one. `None` if the port is not a
/// number from 1 to 65535.
pub fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    // The colons within `[::1]` belong to the address.
    let colon = authority
        .rfind(':')
        .filter(|colon| authority.rfind(']').is_none_or(|bracket| bracket < *colon));
    let Some(colon) = colon else { return Some((authority, None)) };
    let port = authority.get(colon + 1..)?;
    let port = port
        .parse()
        .ok()
        .filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|port| *port != 0)?;
    Some((authority.get(..colon)?, Some(port)))
}

/// Returns the host in lower case and without brackets; `None` if it is neither a name nor an
/// address.
pub fn parse_host(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(address.to_string());
    }
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let well_formed = host.len() <= 253 && host.split('.').all(is_label);
    // Every client treats a name whose last label is a number as an IPv4 address.
    let numeric = host.rsplit('.').next().is_some_and(is_number);
    (well_formed && (!numeric || host.parse::<Ipv4Addr>().is_ok()))
        .then(|| host.to_ascii_lowercase())
}

/// Returns whether programs read a label as a number: decimal, octal or hexadecimal (WHATWG URL
/// standard, "ends in a number").
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    label.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Returns whether a host is this machine.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_have_one_spelling() {
        for (text, host) in [
            ("Registry.Example.COM", "registry.example.com"),
            ("my_registry", "my_registry"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "::1"),
            ("[0:0::1]", "::1"),
            ("0xample", "0xample"),
        ] {
            assert_eq!(parse_host(text).as_deref(), Some(host), "{text}");
        }
        for text in [
            "",
            "a..b",
            "-a",
            "a-",
            "a b",
            "ä",
            "::1",
            "[::1",
            "1",
            "127.1",
            "1.2.3.4.5",
            "0177.0.0.1",
            "127.0.0.01",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.0x1",
            "0X7F.1",
            "a.0x",
            "1.2.3.4.",
            "a.",
            "[fe80::1%25eth0]",
            "a%2e",
            "a@b",
        ] {
            assert_eq!(parse_host(text), None, "{text}");
        }
    }
}
