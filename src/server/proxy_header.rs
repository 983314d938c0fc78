//! The header of the PROXY protocol, versions 1 and 2, in which a load balancer that forwards bytes
//! gives the address of its client (HAProxy, "The PROXY protocol", `doc/proxy-protocol.txt`). Pure
//! functions.
//!
//! The gate has its own parser because a header is an identity: the parser accepts one spelling,
//! and each error says what is wrong with the header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

/// The largest header that is read, in bytes. Version 2 allows 64 KiB. What load balancers add to
/// the addresses takes some hundred bytes, or up to 3 KiB with a client's certificate.
pub(super) const MAX_HEADER_BYTES: usize = 4096;

/// The largest header of version 1, in bytes, including its CRLF (2.1).
const MAX_V1_BYTES: usize = 107;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The number of bytes that tell whether a connection begins with a header.
pub(super) const SIGNATURE_BYTES: usize = V2.len();

/// The meaning of the bytes that a connection has brought so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// The beginning of a header. All bytes belong to it, and more must come.
    Partial,
    /// A header of `bytes` bytes. The bytes after it come from the client.
    Whole { source: HeaderSource, bytes: usize },
}

/// The origin of a connection, according to its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderSource {
    Client(SocketAddr),
    /// The proxy itself, for example for its health checks, or a client that the proxy cannot name.
    Proxy,
}

/// The reason why a connection does not begin with a valid header.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum HeaderError {
    #[error(
        "it does not begin with a PROXY header: make the proxy send one (HAProxy: send-proxy-v2), \
         or set http.proxy_protocol to false"
    )]
    Missing,
    #[error(
        "its PROXY header is too long: at most 107 bytes are allowed in version 1, and 4096 in \
         version 2"
    )]
    TooLong,
    #[error(
        "its PROXY header of version 1 is malformed: it must be PROXY, TCP4 or TCP6, two addresses \
         and two ports"
    )]
    MalformedLine,
    #[error("its PROXY header is of version {0}, which is neither 1 nor 2")]
    Version(u8),
    #[error("its PROXY header has the command {0}, which is neither LOCAL (0) nor PROXY (1)")]
    Command(u8),
    #[error(
        "its PROXY header has the address family {0:#04x}; only TCP over IPv4 (0x11) and IPv6 \
         (0x21) are supported"
    )]
    Family(u8),
    #[error("its PROXY header is too short for the addresses that it announces")]
    NoAddresses,
}

impl Header {
    /// Reads the beginning of a connection.
    ///
    /// # Errors
    /// [`HeaderError`] as soon as the bytes cannot become a header.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.starts_with(V1) {
            read_v1(bytes)
        } else if bytes.starts_with(V2) {
            read_v2(bytes)
        } else if V1.starts_with(bytes) || V2.starts_with(bytes) {
            Ok(Self::Partial)
        } else {
            Err(HeaderError::Missing)
        }
    }

    /// Returns whether these bytes begin a header.
    pub(super) fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(V1) || bytes.starts_with(V2)
    }
}

/// Reads a header of version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443␍␊` (2.1).
fn read_v1(bytes: &[u8]) -> Result<Header, HeaderError> {
    let within = bytes.get(..MAX_V1_BYTES).unwrap_or(bytes);
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < MAX_V1_BYTES {
            Ok(Header::Partial)
        } else {
            Err(HeaderError::TooLong)
        };
    };
    let line = within.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    let source = line.and_then(source_in_line).ok_or(HeaderError::MalformedLine)?;
    Ok(Header::Whole { source, bytes: end + 1 })
}

fn source_in_line(line: &str) -> Option<HeaderSource> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        // The rest of the line has no meaning.
        return Some(HeaderSource::Proxy);
    }
    let (source, destination) = (words.next()?, words.next()?);
    let (source_port, _) = (port(words.next()?)?, port(words.next()?)?);
    let source: IpAddr = match family {
        "TCP4" => {
            (source.parse::<Ipv4Addr>().ok()?, destination.parse::<Ipv4Addr>().ok()?).0.into()
        }
        "TCP6" => {
            (source.parse::<Ipv6Addr>().ok()?, destination.parse::<Ipv6Addr>().ok()?).0.into()
        }
        _ => return None,
    };
    words.next().is_none().then(|| HeaderSource::Client(SocketAddr::new(source, source_port)))
}

/// Parses a decimal number without a sign or leading zeros.
fn port(word: &str) -> Option<u16> {
    let plain =
        word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| plain)
}

/// Reads a header of version 2: version and command, family, length, addresses, and further data of
/// the proxy, which is ignored (2.2).
fn read_v2(bytes: &[u8]) -> Result<Header, HeaderError> {
    let Some((fixed, rest)) = bytes.get(V2.len()..).unwrap_or_default().split_first_chunk::<4>()
    else {
        return Ok(Header::Partial);
    };
    let [version_and_command, family, length @ ..] = *fixed;
    if version_and_command >> 4 != 2 {
        return Err(HeaderError::Version(version_and_command >> 4));
    }
    let length = usize::from(u16::from_be_bytes(length));
    let whole = V2.len() + fixed.len() + length;
    if whole > MAX_HEADER_BYTES {
        return Err(HeaderError::TooLong);
    }
    let Some(rest) = rest.get(..length) else { return Ok(Header::Partial) };
    let source = match version_and_command & 0xf {
        // The proxy speaks for itself, so the family does not matter.
        0 => HeaderSource::Proxy,
        1 => source_in_addresses(family, rest)?,
        command => return Err(HeaderError::Command(command)),
    };
    Ok(Header::Whole { source, bytes: whole })
}

fn source_in_addresses(family: u8, addresses: &[u8]) -> Result<HeaderSource, HeaderError> {
    // The addresses of both sides come first, then their ports.
    let client = match family {
        // The proxy has no code for the protocol of the connection.
        0x00 => return Ok(HeaderSource::Proxy),
        0x11 => addresses.first_chunk::<12>().map(|[a, b, c, d, _, _, _, _, port @ .., _, _]| {
            SocketAddr::new(Ipv4Addr::new(*a, *b, *c, *d).into(), u16::from_be_bytes(*port))
        }),
        0x21 => addresses.first_chunk::<36>().and_then(|both| {
            let source = both.first_chunk::<16>()?;
            let port = both.get(32..34)?.try_into().ok()?;
            Some(SocketAddr::new(Ipv6Addr::from(*source).into(), u16::from_be_bytes(port)))
        }),
        family => return Err(HeaderError::Family(family)),
    };
    client.map(HeaderSource::Client).ok_or(HeaderError::NoAddresses)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(text: &str) -> HeaderSource {
        HeaderSource::Client(text.parse().unwrap())
    }

    fn v2(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2, &[version_and_command, family], &length, rest].concat()
    }

    fn v4_addresses() -> Vec<u8> {
        vec![192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb]
    }

    fn v6_addresses() -> Vec<u8> {
        let both = ["2001:db8::7".parse::<Ipv6Addr>().unwrap(), Ipv6Addr::LOCALHOST]
            .map(|address| address.octets());
        [both.concat(), vec![0xdc, 0x04, 0x01, 0xbb]].concat()
    }

    #[test]
    fn headers_of_both_versions_and_address_families_are_read() {
        let (v4, v6) = (client("192.0.2.7:56324"), client("[2001:db8::7]:56324"));
        let with_more = [v4_addresses(), vec![5; 300]].concat();
        for (header, source) in [
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n".to_vec(), v4),
            (b"PROXY TCP6 2001:db8::7 ::1 56324 443\r\n".to_vec(), v6),
            (b"PROXY UNKNOWN\r\n".to_vec(), HeaderSource::Proxy),
            (b"PROXY UNKNOWN ffff::1 whatever\r\n".to_vec(), HeaderSource::Proxy),
            (v2(0x21, 0x11, &v4_addresses()), v4),
            (v2(0x21, 0x21, &v6_addresses()), v6),
            (v2(0x21, 0x11, &with_more), v4),
            (v2(0x20, 0x00, &[]), HeaderSource::Proxy),
            (v2(0x20, 0x11, &v4_addresses()), HeaderSource::Proxy),
            (v2(0x20, 0xff, &[1, 2, 3]), HeaderSource::Proxy),
            (v2(0x21, 0x00, &[]), HeaderSource::Proxy),
        ] {
            let whole = Header::Whole { source, bytes: header.len() };
            assert_eq!(Header::read(&[&header, &b"\x16\x03\x01\n"[..]].concat()), Ok(whole));
            for some in 0..header.len() {
                assert_eq!(
                    Header::read(&header[..some]),
                    Ok(Header::Partial),
                    "{some} bytes of {header:?}"
                );
            }
        }
    }

    #[test]
    fn invalid_proxy_headers_are_refused() {
        use HeaderError as E;
        let line = |rest: &str| format!("PROXY {rest}\r\n").into_bytes();
        for (bytes, error) in [
            (b"\x16\x03\x01".to_vec(), E::Missing),
            (b"GET / HTTP/1.1\r\n".to_vec(), E::Missing),
            (b"P0".to_vec(), E::Missing),
            (b"proxy TCP4".to_vec(), E::Missing),
            (line("TCP4 192.0.2.7 198.51.100.1 56324"), E::MalformedLine),
            (line("TCP4 192.0.2.7 198.51.100.1 56324 443 1"), E::MalformedLine),
            (line("TCP4  192.0.2.7 198.51.100.1 56324 443"), E::MalformedLine),
            (line("TCP4 192.0.2.7 198.51.100.1 56324 443 "), E::MalformedLine),
            (line("TCP4 192.0.2.7 198.51.100.1 +56324 443"), E::MalformedLine),
            (line("TCP4 192.0.2.7 198.51.100.1 056324 443"), E::MalformedLine),
            (line("TCP4 192.0.2.7 198.51.100.1 65536 443"), E::MalformedLine),
            (line("TCP4 2001:db8::7 ::1 1 2"), E::MalformedLine),
            (line("TCP6 192.0.2.7 198.51.100.1 1 2"), E::MalformedLine),
            (line("TCP6 fe80::1%1 ::1 1 2"), E::MalformedLine),
            (line("UDP4 192.0.2.7 198.51.100.1 1 2"), E::MalformedLine),
            (line("UNKNOWNS"), E::MalformedLine),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n".to_vec(), E::MalformedLine),
            (b"PROXY \xff\r\n".to_vec(), E::MalformedLine),
            ([b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 93]].concat(), E::TooLong),
            ([b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 92], b"\r\n".to_vec()].concat(), E::TooLong),
            (v2(0x11, 0x11, &v4_addresses()), E::Version(1)),
            (v2(0x22, 0x11, &v4_addresses()), E::Command(2)),
            (v2(0x21, 0x12, &v4_addresses()), E::Family(0x12)),
            (v2(0x21, 0x31, &[0; 216]), E::Family(0x31)),
            (v2(0x21, 0x41, &v4_addresses()), E::Family(0x41)),
            (v2(0x21, 0x11, &v4_addresses()[..11]), E::NoAddresses),
            (v2(0x21, 0x21, &v6_addresses()[..35]), E::NoAddresses),
            (v2(0x21, 0x11, &[0; MAX_HEADER_BYTES - 15]), E::TooLong),
        ] {
            assert_eq!(Header::read(&bytes), Err(error), "{bytes:?}");
        }
        let longest = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 91], b"\r\n".to_vec()].concat();
        assert_eq!(
            Header::read(&longest),
            Ok(Header::Whole { source: HeaderSource::Proxy, bytes: MAX_V1_BYTES })
        );
        let longest =
            v2(0x21, 0x11, &[v4_addresses(), vec![0; MAX_HEADER_BYTES - 16 - 12]].concat());
        assert_eq!(
            Header::read(&longest),
            Ok(Header::Whole { source: client("192.0.2.7:56324"), bytes: MAX_HEADER_BYTES })
        );
    }

    fn beginnings() -> impl Strategy<Value = Vec<u8>> {
        let signature =
            prop::sample::select(vec![&b""[..], V1, V2, b"PROXY TCP4 ", b"PROXY TCP6 "]);
        (signature, proptest::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(first, rest)| [first, &rest].concat())
    }

    proptest! {
        /// Checks that no input causes a panic, that the result does not depend on the pieces in
        /// which the bytes come, and that a header is never longer than the input or the limit.
        #[test]
        fn any_bytes_in_any_pieces_are_read_consistently_without_a_panic(
            bytes in beginnings(),
            cut in 0usize..200,
        ) {
            let all = Header::read(&bytes);
            let some = Header::read(&bytes[..cut.min(bytes.len())]);
            if some != Ok(Header::Partial) {
                prop_assert_eq!(&some, &all);
            }
            if let Ok(Header::Whole { bytes: length, .. }) = all {
                prop_assert!(length <= bytes.len() && length <= MAX_HEADER_BYTES);
            }
        }
    }
}
