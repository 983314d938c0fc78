//! Host names with ports, checked as strictly as the strictest reader does.

use std::net::Ipv6Addr;

/// Returns whether the text is `host[:port]`. The host is a name of letters, digits, `-`, `.` and
/// `_`, or an IPv6 address in brackets without a zone; the port has 1 to 5 digits and is at most
/// 65535.
pub(super) fn is_plain(text: &str) -> bool {
    let (is_host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, behind)) = rest.split_once(']') else { return false };
            let port =
                if behind.is_empty() { Some(None) } else { behind.strip_prefix(':').map(Some) };
            let Some(port) = port else { return false };
            (address.parse::<Ipv6Addr>().is_ok(), port)
        }
        None => {
            let (name, port) =
                text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
            (is_name(name), port)
        }
    };
    is_host && port.is_none_or(is_port)
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    text.bytes().all(allowed) && text.bytes().any(|byte| byte != b'.')
}

/// Returns whether the text is a port. Only digits are accepted; `str::parse` would also accept a
/// sign.
fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_hosts_are_accepted() {
        for host in [
            "localhost",
            "registry.example.com",
            "registry.example.com.",
            "a_b-c.d",
            "127.0.0.1",
            "1",
            "a:0",
            "a:5000",
            "a:65535",
            "a:00080",
            "[::1]",
            "[::1]:5000",
            "[::ffff:127.0.0.1]:1",
            "[2001:DB8::1]",
            "REGISTRY",
        ] {
            assert!(is_plain(host), "{host}");
        }
        for host in [
            "",
            ":",
            ":80",
            "a:",
            "a:x",
            "a:-1",
            "a:+1",
            "a:65536",
            "a:000080",
            "a:8 0",
            "a:80:80",
            ".",
            "...",
            ".:80",
            "a b",
            "a,b",
            "a/b",
            "a@b",
            "a%41",
            "\u{e9}",
            "[zz]",
            "[]",
            "[::1",
            "::1",
            "[::1]5000",
            "[::1]:",
            "[::1]:x",
            "[::1%25eth0]",
            "[::1%eth0]",
            "[127.0.0.1]",
            "[v1.a]",
            "[[::1]]",
            "a[::1]",
            "a*",
            "a!b",
            "a'b",
            "a;b",
        ] {
            assert!(!is_plain(host), "{host}");
        }
    }
}
