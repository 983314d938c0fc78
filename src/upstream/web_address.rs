//! Absolute addresses that the registry names. Pure functions.

use super::location::{AddressForm, resolve};
use crate::net::endpoint::authority;
use crate::net::host::{is_loopback, parse_host, split_port};

/// An absolute `http` or `https` address, without user information and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WebAddress {
    pub(super) https: bool,
    /// A name in lower case or an address, IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The path and query, byte for byte. It begins with `/`.
    pub(super) target: String,
}

/// A reference to an address, resolved.
pub(super) struct Joined {
    pub(super) address: WebAddress,
    /// `true` if the reference names the host.
    pub(super) names_host: bool,
}

impl WebAddress {
    /// Parses an absolute address. Returns `None` if programs could read it in different ways: it
    /// has user information, another spelling of an IPv4 address, or a character that a URI cannot
    /// have.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = without_fragment(text);
        let AddressForm::Absolute { scheme, .. } = AddressForm::parse(text)? else { return None };
        let (_, rest) = text.split_once("://")?;
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        Self::of(scheme.eq_ignore_ascii_case("https"), authority, target)
    }

    fn of(https: bool, authority: &str, target: &str) -> Option<Self> {
        let (host, port) = split_port(authority)?;
        let port = port.unwrap_or(if https { 443 } else { 80 });
        let target = match target {
            target if target.starts_with('/') => target.to_owned(),
            query => format!("/{query}"),
        };
        Some(Self { https, host: parse_host(host)?, port, target })
    }

    /// Resolves a reference in an answer from this address (RFC 3986, section 5).
    pub(super) fn join(&self, reference: &str) -> Option<Joined> {
        let reference = without_fragment(reference);
        let here = |target| Self { target, ..self.clone() };
        let (address, names_host) = match AddressForm::parse(reference)? {
            AddressForm::Absolute { .. } => (Self::parse(reference)?, true),
            AddressForm::Host(rest) => {
                let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                (Self::of(self.https, authority, path)?, true)
            }
            AddressForm::Path(path) => (here(path.to_owned()), false),
            AddressForm::Relative(relative) => (here(resolve(&self.target, relative)), false),
        };
        Some(Joined { address, names_host })
    }

    /// Returns host and port as a `Host` header has them.
    pub(super) fn authority(&self) -> String {
        authority(self.https, &self.host, self.port)
    }

    /// Returns whether the gate may ask this server without TLS: it is this machine.
    pub(super) fn is_on_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// Returns whether two addresses have the same scheme, host and port (RFC 6454).
    pub(super) fn is_same_origin(&self, other: &Self) -> bool {
        (self.https, &self.host, self.port) == (other.https, &other.host, other.port)
    }

    /// Returns the whole address.
    pub(super) fn text(&self) -> String {
        format!("{}{}", self.origin(), self.target)
    }

    /// Returns the address for the log, without its query, which may contain a secret.
    pub(super) fn shown(&self) -> String {
        const MOST: usize = 300;
        let path = self.target.split('?').next().unwrap_or_default();
        format!("{}{path}", self.origin()).chars().take(MOST).collect()
    }

    /// Returns the scheme, host and port.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.authority())
    }
}

fn without_fragment(text: &str) -> &str {
    text.split('#').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_one_way_or_not_at_all() {
        for (text, read) in [
            ("https://A.example.com/x?y=1#z", "https://a.example.com/x?y=1"),
            ("HTTP://a:8080", "http://a:8080/"),
            ("https://a:443?x=/y", "https://a/?x=/y"),
            ("https://[::1]:9000/a%2Fb", "https://[::1]:9000/a%2Fb"),
        ] {
            assert_eq!(WebAddress::parse(text).expect(text).text(), read);
        }
        for text in [
            "",
            "/x",
            "//a/x",
            "ftp://a/",
            "https://",
            "https:///x",
            "https://u@a/",
            "https://u:p@a/",
            "https://a:0/",
            "https://a:99999/",
            "https://a b/",
            "https://a\\@b/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://[::1/",
            "https://a\u{e9}/",
            "https:a/",
            "https://a%2eb/",
            "javascript:alert(1)",
            "https://[fe80::1%25lo]/",
        ] {
            assert_eq!(WebAddress::parse(text), None, "{text}");
        }
    }

    #[test]
    fn references_are_resolved_against_the_address_that_answered() {
        let base = WebAddress::parse("https://a:8443/v2/x/blobs/d?q").unwrap();
        for (reference, resolved, names_host) in [
            ("https://b/y", "https://b/y", true),
            ("//b:1/y", "https://b:1/y", true),
            ("/y?z", "https://a:8443/y?z", false),
            ("../y", "https://a:8443/v2/x/y", false),
            ("?z", "https://a:8443/v2/x/blobs/d?z", false),
        ] {
            let joined = base.join(reference).expect(reference);
            assert_eq!((joined.address.text(), joined.names_host), (resolved.into(), names_host));
        }
        for reference in ["", "//u@b/y", "ftp://b/", "\\\\b\\y", "#x"] {
            assert!(base.join(reference).is_none(), "{reference}");
        }
    }

    proptest::proptest! {
        /// What was read is read again in the same way.
        #[test]
        fn an_address_has_one_reading(
            text in "(https?|HTTP)://[a-zA-Z0-9.:@%\\\\\\[\\]-]{0,20}[/?#]?[ -~]{0,20}",
            reference in "[ -~]{0,30}",
        ) {
            if let Some(address) = WebAddress::parse(&text) {
                let again = WebAddress::parse(&address.text());
                proptest::prop_assert_eq!(again, Some(address.clone()));
                if let Some(joined) = address.join(&reference) {
                    let again = WebAddress::parse(&joined.address.text());
                    proptest::prop_assert_eq!(again, Some(joined.address));
                }
            }
        }
    }

    #[test]
    fn the_log_shows_no_query() {
        let address = WebAddress::parse("https://a/b?X-Amz-Signature=secret").unwrap();
        assert_eq!(address.shown(), "https://a/b");
    }
}
