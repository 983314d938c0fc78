//! Credentials as clients present them. Pure.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::denial::{Denial, Framing};

/// A credential as presented in `Authorization` (RFC 9110, 11.6.2). Secrets are never printed and
/// are zeroed when dropped.
#[derive(Clone)]
pub enum Credential {
    /// No credential: the request has no header, or its value is `Basic Og==`, which clients send
    /// with the same meaning.
    Anonymous,
    /// A user name and a password (RFC 7617).
    Basic { user: String, password: SecretString },
    /// A Bearer token (RFC 6750).
    Bearer(SecretString),
}

/// The way in which a caller presented a credential: `credential_kind` in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    Anonymous,
    Basic,
    Bearer,
    /// A token of the gate's own token service, as Bearer.
    GateToken,
    /// A token of the gate's own token service, in exchange for a gate token.
    RefreshToken,
}

impl CredentialKind {
    /// Returns the word in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Basic => "basic",
            Self::Bearer => "bearer",
            Self::GateToken => "gate_token",
            Self::RefreshToken => "refresh_token",
        }
    }
}

impl Credential {
    /// Reads the single `Authorization` header.
    ///
    /// # Errors
    /// - [`Denial::Framing`] if there are two headers.
    /// - [`Denial::MalformedCredential`] if the scheme is not Basic or Bearer, or if the value does
    ///   not follow the grammar of its scheme. A value that is not UTF-8, that contains a control
    ///   character or that has an empty password is refused here, so no provider is asked about it.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Denial> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(Self::Anonymous) };
        if values.next().is_some() {
            return Err(Denial::Framing(Framing::TwoAuthorizations));
        }
        let value = value
            .to_str()
            .map_err(|_| Denial::MalformedCredential("it contains characters other than ASCII"))?;
        let (scheme, rest) = value
            .split_once(' ')
            .ok_or(Denial::MalformedCredential("there is nothing after the scheme"))?;
        let rest = rest.trim_matches(' ');
        if scheme.eq_ignore_ascii_case("basic") {
            Self::basic(rest)
        } else if scheme.eq_ignore_ascii_case("bearer") {
            Self::bearer(rest)
        } else {
            Err(Denial::MalformedCredential("the supported schemes are Basic and Bearer"))
        }
    }

    fn basic(encoded: &str) -> Result<Self, Denial> {
        let malformed = |why| Err(Denial::MalformedCredential(why));
        let Ok(decoded) = BASE64_STANDARD.decode(encoded).map(Zeroizing::new) else {
            return malformed("what follows Basic is not base64");
        };
        let Ok(text) = std::str::from_utf8(&decoded) else {
            return malformed("the user name and password are not UTF-8");
        };
        let Some((user, password)) = text.split_once(':') else {
            return malformed("there is no colon after the user name");
        };
        Self::of_user(user, password).map_err(Denial::MalformedCredential)
    }

    /// Builds a credential from a user name and a password, which come from a header or from a
    /// form. Providers receive both kinds as Basic, so both must be valid there (RFC 7617, 2).
    /// Clients send an empty user name with an empty password to mean "no credential": the result
    /// is [`Credential::Anonymous`].
    ///
    /// # Errors
    /// The reason why the two are not a valid credential.
    pub fn of_user(user: &str, password: &str) -> Result<Self, &'static str> {
        // A provider would read the part behind the colon as the beginning of the password.
        if user.contains(':') {
            return Err("there is a colon in the user name");
        }
        if user.chars().chain(password.chars()).any(char::is_control) {
            return Err("there is a control character in the user name or password");
        }
        match (user, password) {
            ("", "") => Ok(Self::Anonymous),
            (_, "") => Err("the password is empty"),
            (user, password) => {
                Ok(Self::Basic { user: user.to_owned(), password: SecretString::from(password) })
            }
        }
    }

    fn bearer(token: &str) -> Result<Self, Denial> {
        // The grammar of `token68` (RFC 9110, 11.2).
        let word = token.trim_end_matches('=');
        let allowed = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
        };
        if word.is_empty() || !word.bytes().all(allowed) {
            return Err(Denial::MalformedCredential("what follows Bearer is not a token"));
        }
        Ok(Self::Bearer(SecretString::from(token)))
    }

    /// Returns the scheme of the credential.
    pub fn kind(&self) -> CredentialKind {
        match self {
            Self::Anonymous => CredentialKind::Anonymous,
            Self::Basic { .. } => CredentialKind::Basic,
            Self::Bearer(_) => CredentialKind::Bearer,
        }
    }

    /// Returns the parts that together identify the credential: kind, user name and secret.
    pub(super) fn parts(&self) -> (u8, &str, &str) {
        match self {
            Self::Anonymous => (0, "", ""),
            Self::Basic { user, password } => (1, user, password.expose_secret()),
            Self::Bearer(token) => (2, "", token.expose_secret()),
        }
    }
}

/// Creates the `Authorization` value for a user name and a password (RFC 7617), marked as
/// sensitive.
pub fn basic(user: &str, password: &SecretString) -> Option<HeaderValue> {
    let plain = Zeroizing::new(format!("{user}:{}", password.expose_secret()));
    let encoded = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(plain.as_bytes())));
    let mut value = HeaderValue::from_str(&encoded).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Credential, Denial> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        Credential::from_headers(&headers)
    }

    fn read_basic(plain: &[u8]) -> Result<Credential, Denial> {
        read(&format!("Basic {}", BASE64_STANDARD.encode(plain)))
    }

    #[test]
    fn authorization_schemes_are_read_in_any_case() {
        for scheme in ["Basic", "basic", "BASIC"] {
            let Ok(Credential::Basic { user, password }) = read(&format!("{scheme} dTpwOnE="))
            else {
                panic!("{scheme}")
            };
            assert_eq!((&*user, password.expose_secret()), ("u", "p:q"));
        }
        for scheme in ["Bearer", "bearer", "BEARER"] {
            assert!(matches!(read(&format!("{scheme} abc.def-_~+/==")), Ok(Credential::Bearer(_))));
        }
    }

    #[test]
    fn an_empty_or_missing_credential_is_anonymous() {
        assert!(matches!(read("Basic Og=="), Ok(Credential::Anonymous)));
        assert!(matches!(Credential::from_headers(&HeaderMap::new()), Ok(Credential::Anonymous)));
    }

    #[test]
    fn malformed_authorization_values_are_refused() {
        for plain in [&b"nocolon"[..], b"u:", b"u:p\0", b"u\n:p", b"u:\xff\xfe"] {
            assert!(matches!(read_basic(plain), Err(Denial::MalformedCredential(_))), "{plain:?}");
        }
        for value in [
            "Basic",
            "Basic ",
            "Basic !!!!",
            "Basic dTpw=",
            "Basic dTpw dTpw",
            "Basic dTpwOnE",
            "Digest x",
            "Negotiate abc",
        ] {
            assert!(matches!(read(value), Err(Denial::MalformedCredential(_))), "{value}");
        }
        for value in ["Bearer ", "Bearer a b", "Bearer =", "Bearer a=b", "Bearer a,b"] {
            assert!(matches!(read(value), Err(Denial::MalformedCredential(_))), "{value}");
        }
    }

    #[test]
    fn two_headers_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(header::AUTHORIZATION, "Basic dTpw".parse().unwrap());
        headers.append(header::AUTHORIZATION, "Basic dTpw".parse().unwrap());
        assert!(matches!(
            Credential::from_headers(&headers),
            Err(Denial::Framing(Framing::TwoAuthorizations))
        ));
    }

    #[test]
    fn debug_output_shows_only_the_kind_of_a_credential() {
        for (credential, kind) in [
            (Ok(Credential::Anonymous), "anonymous"),
            (read_basic(b"user:canary"), "basic"),
            (read("Bearer canary"), "bearer"),
        ] {
            assert_eq!(format!("{:?}", credential.unwrap()), kind);
        }
    }
}
