//! The text of an address, without an allocation. Each request writes it into its log line and into
//! a header.

use std::io::Write as _;
use std::net::IpAddr;
use std::ops::Deref;

/// The length of the longest text, that of an IPv4-mapped IPv6 address, in bytes.
const MAX_BYTES: usize = 45;

/// An IP address as text, as [`IpAddr`] shows it.
pub struct AddressText {
    bytes: [u8; MAX_BYTES],
    length: usize,
}

impl AddressText {
    /// Returns the text of an address.
    pub fn of(address: IpAddr) -> Self {
        let mut bytes = [0; MAX_BYTES];
        let mut rest = &mut bytes[..];
        match address {
            // The formatter of the standard library takes ten times as many instructions.
            IpAddr::V4(address) => {
                for (at, octet) in address.octets().into_iter().enumerate() {
                    if at > 0 {
                        let _ = rest.write_all(b".");
                    }
                    let digits =
                        [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
                    let leading = usize::from(octet < 100) + usize::from(octet < 10);
                    // The array is long enough for every address.
                    let _ = rest.write_all(digits.get(leading..).unwrap_or_default());
                }
            }
            address => {
                let _ = write!(rest, "{address}");
            }
        }
        let length = MAX_BYTES - rest.len();
        Self { bytes, length }
    }
}

impl Deref for AddressText {
    type Target = str;

    fn deref(&self) -> &str {
        // The text of an address is ASCII.
        let text = self.bytes.get(..self.length).unwrap_or_default();
        str::from_utf8(text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_look_as_usual() {
        for address in [
            "0.0.0.0",
            "1.10.100.9",
            "99.109.200.255",
            "::",
            "2001:db8::1",
            "::ffff:255.255.255.255",
            "1111:2222:3333:4444:5555:6666:7777:8888",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(*AddressText::of(address), address.to_string());
        }
    }
}
