//! The kinds of URL in a configuration: the address at which clients reach the gate, servers that
//! the gate asks, and issuers of tokens.
//!
//! A URL that was read here has only one meaning: it contains no user name, query, fragment or dot
//! segment.

use std::fmt;
use std::str::FromStr;

use super::problem::shown;
use crate::net::endpoint::authority;
use crate::net::host::{is_loopback, parse_host, split_port};

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP without TLS.
    Http,
    /// HTTP over TLS.
    Https,
}

/// The address at which clients reach the gate: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalUrl {
    /// The scheme that clients use, either with the gate or with a proxy in front of it.
    pub scheme: Scheme,
    /// The host, with the port unless it is the scheme's default.
    pub authority: String,
    port: u16,
    service: String,
    loopback: bool,
}

/// The URL of a server that the gate asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerUrl {
    pub(super) scheme: Scheme,
    /// The host, in lower case. An IPv6 address has no brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The path; empty for the root. The trailing slash of a longer path is kept, because for some
    /// servers the path without it is a different address.
    pub(super) path: String,
}

/// An issuer of tokens (OpenID Connect Discovery 1.0, section 3). It is kept as written, because
/// the issuer in a token must equal it byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IssuerUrl(pub(super) String);

impl Scheme {
    /// Returns `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl ExternalUrl {
    /// Returns the gate's name in challenges and tokens: the authority, without the port if it is
    /// 443.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Returns the host, in lower case. An IPv6 address has no brackets.
    pub fn host(&self) -> &str {
        match self.authority.strip_prefix('[') {
            Some(address) => address.split(']').next().unwrap_or_default(),
            None => self.authority.split(':').next().unwrap_or_default(),
        }
    }

    /// Returns the port, also where it is the default of the scheme.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn is_loopback(&self) -> bool {
        self.loopback
    }
}

impl ServerUrl {
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    pub(super) fn authority(&self) -> String {
        authority(self.scheme == Scheme::Https, &self.host, self.port)
    }
}

impl FromStr for ExternalUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url: ServerUrl = text
            .parse()
            .map_err(|message: String| message.replace(ServerUrl::RIGHT, Self::RIGHT))?;
        if !url.path.is_empty() {
            return Err(format!("`{}` has a path; {}", shown(text), Self::RIGHT));
        }
        let authority = url.authority();
        let service = match authority.strip_suffix(":443") {
            Some(host) if url.port == 443 => host.to_owned(),
            _ => authority.clone(),
        };
        let (scheme, port, loopback) = (url.scheme, url.port, url.is_loopback());
        Ok(Self { scheme, authority, port, service, loopback })
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The message does not quote the text, which may contain a password.
        if text.contains('@') {
            return Err(format!("the URL contains a user name or an @; {}", Self::RIGHT));
        }
        let wrong = |what| format!("`{}` {what}; {}", shown(text), Self::RIGHT);
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("is not a URL"))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(wrong("is neither http nor https")),
        };
        if rest.contains(['?', '#']) {
            return Err(wrong("has a query or a fragment"));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if path == "/" { "" } else { path };
        if !is_path(path) {
            return Err(wrong("has a malformed path"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| wrong("has a malformed port"))?;
        let host = parse_host(host).ok_or_else(|| wrong("has a malformed host"))?;
        Ok(Self {
            scheme,
            host,
            port: port.unwrap_or(scheme.default_port()),
            path: path.to_owned(),
        })
    }
}

impl FromStr for IssuerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ServerUrl::from_str(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl ExternalUrl {
    const RIGHT: &str =
        "write the scheme, the host and, if needed, the port, e.g. https://registry.example.com";
}

impl ServerUrl {
    const RIGHT: &str = "write e.g. https://gitlab.example.com or http://127.0.0.1:5000";
}

/// Returns whether the path means the same to every server: it has no empty segment, no dot segment
/// and no percent-encoding.
fn is_path(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:".contains(&byte);
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed);
    let segments = path.strip_suffix('/').unwrap_or(path);
    segments.is_empty()
        || segments.strip_prefix('/').is_some_and(|path| path.split('/').all(is_segment))
}

impl fmt::Display for ExternalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority(), self.path)
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_urls_are_normalised_and_other_texts_are_refused() {
        for (text, authority, service) in [
            ("https://registry.example.com", "registry.example.com", "registry.example.com"),
            ("https://Registry.Example.COM:443/", "registry.example.com", "registry.example.com"),
            ("https://localhost:8443", "localhost:8443", "localhost:8443"),
            ("http://localhost", "localhost", "localhost"),
            ("http://registry:443", "registry:443", "registry"),
            ("https://[::1]:8443", "[::1]:8443", "[::1]:8443"),
        ] {
            let url: ExternalUrl = text.parse().expect(text);
            assert_eq!((url.authority.as_str(), url.service()), (authority, service), "{text}");
        }
        for text in [
            "registry.example.com",
            "https://a/b",
            "https://a?b",
            "ftp://a",
            "https://",
            "https://:8443",
        ] {
            let message = ExternalUrl::from_str(text).expect_err(text);
            assert!(message.contains("; write the scheme, the host"), "{message}");
        }
    }

    #[test]
    fn server_urls_are_normalised_and_other_texts_are_refused() {
        for (text, printed) in [
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("HTTPS://gitlab.example.com:443/gitlab/", "https://gitlab.example.com/gitlab/"),
            ("http://[::1]:80", "http://[::1]"),
            ("http://[::1]:80/", "http://[::1]"),
            ("http://my_registry:5000", "http://my_registry:5000"),
        ] {
            assert_eq!(text.parse::<ServerUrl>().expect(text).to_string(), printed);
        }
        for text in [
            "",
            "a",
            "//a",
            "http:/a",
            "http://a b",
            "http://a:0",
            "http://a:65536",
            "http://a:+1",
            "http://a:",
            "http://1.2.3",
            "http://1.2.3.999",
            "http://::1",
            "http://[::1",
            "http://-a",
            "http://a..b",
            "http://ä.example",
            "http://a/../b",
            "http://a//b",
            "http://a//",
            "http://a/b//",
            "http://a/%2e%2e",
            "http://a/b#c",
            "unix:///run/x",
        ] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn issuers_stay_as_written() {
        for text in [
            "https://gitlab.example.com",
            "https://Tenant.Example.com:443/",
            "https://a/v1/projects/x/",
        ] {
            assert_eq!(text.parse::<IssuerUrl>().expect(text).to_string(), text);
        }
        for text in ["", "gitlab.example.com", "https://a/b?c", "https://user@a"] {
            assert!(text.parse::<IssuerUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_about_a_url_does_not_show_its_password() {
        let message =
            ServerUrl::from_str("https://user:hunter2@gitlab.example.com").expect_err("userinfo");
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn only_loopback_hosts_count_as_loopback() {
        for (text, expected) in [
            ("http://localhost", true),
            ("http://127.8.0.1", true),
            ("http://[::1]", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(text.parse::<ServerUrl>().expect(text).is_loopback(), expected, "{text}");
        }
    }
}
